"""User words with spaces and punctuation: whole where they are asked for, jieba's cut everywhere else, warned of else.

The words are those that people asked jieba for in its issues: C++, node.js, 19-9, {UM}, 马克·吐温.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from importlib.util import find_spec

import pytest

from count_corpus import jieba, odd_text, rows, sentences
from shoestring._errors import OptionError
from shoestring.count import Cutter, count_words
from shoestring.count.cutting.whole import keeping

ASKED_FOR = [
    "C++",
    "node.js",
    "19-9",
    "{UM}",
    "马克·吐温",
    "New York",
    "New York City",
    "A/B测试",
    "。好",
    "(R)",
]
LOST = [word for word in ASKED_FOR if word not in ("C++", "node.js", "19-9")]


def write(path, words):
    path.write_text("".join(f"{word} 5\n" for word in words), encoding="utf-8")
    return path


def by_hand(text: str, cut, words) -> list[str]:
    """The definition, a place at a time: leftmost, then longest, never within a run of letters and digits."""
    tokens, at, since = [], 0, 0
    while at < len(text):
        for word in sorted(words, key=len, reverse=True):
            inside = re.match(r"[a-zA-Z0-9]{2}", text[at - 1 : at + 1]) if at else None
            after = re.match(r"[a-zA-Z0-9]{2}", text[at + len(word) - 1 : at + len(word) + 1])
            if text.startswith(word, at) and not inside and not after:
                tokens += [*cut(text[since:at]), word]
                at = since = at + len(word)
                break
        else:
            at += 1
    return tokens + cut(text[since:])


@pytest.mark.parametrize("engine", ["kernel", "jieba"])
def test_whole_words_are_whole_and_the_rest_is_as_jieba_cuts_it(engine, monkeypatch):
    if engine == "jieba":
        monkeypatch.setattr("shoestring.count.cutting.dictionary.kernel_table", lambda *words: None)
    cutter, plain = Cutter(words=ASKED_FOR, whole=True), jieba_with(ASKED_FOR)
    for word in ASKED_FOR:
        assert word in cutter.cut(f"他说{word}很好"), word
    rng = random.Random(3)
    for _ in range(200 if engine == "kernel" else 30):
        text = "".join(
            rng.choice(["x", "9", " ", "好", *rng.choices(LOST, k=2), odd_text(rng)[:9]]) for _ in range(9)
        )
        for hmm in (True, False):
            wanted = by_hand(text, lambda piece, hmm=hmm: plain.lcut(piece, HMM=hmm) if piece else [], LOST)
            assert cutter.cut(text, hmm) == wanted, text
            assert keeping(lambda piece, hmm=hmm: plain.lcut(piece, HMM=hmm), LOST)(text) == wanted


def jieba_with(words):
    import jieba as module

    tokenizer = module.Tokenizer()
    for word in words:
        tokenizer.add_word(word)
    return tokenizer


@pytest.mark.parametrize("df", [False, True])
@pytest.mark.parametrize("engine", ["auto", "jieba"])
def test_they_are_counted_whole(engine, df, tmp_path):
    words, rng = write(tmp_path / "words.txt", LOST), random.Random(1)
    lines = [
        line + rng.choice(LOST) + rng.choice(["好", "x", ""]) + rng.choice(LOST) for line in sentences(200)
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    found = count_words(
        tmp_path / "a.txt",
        user_dict=str(words),
        whole_words=True,
        engine=engine,
        df=df,
        part_bytes=9000,
        workers=2,
    )
    plain, counts, documents = jieba_with([]), Counter(), Counter()
    for word in LOST:
        plain.add_word(word, 5)
    for line in lines:
        tokens = by_hand(line, plain.lcut, LOST)
        counts.update(tokens)
        documents.update(set(tokens))
    assert list(found.items()) == rows(counts)
    assert found.documents == (documents if df else {})


def test_a_word_that_can_never_match_is_warned_of(tmp_path, shoestring):
    write(tmp_path / "words.txt", ["马克·吐温", "云计算"])
    (tmp_path / "a.txt").write_text("马克·吐温\n", encoding="utf-8")
    done = shoestring("count", "a.txt", "--user-dict", "words.txt")
    assert "1 user word can never match" in done.stderr
    assert "'马克·吐温'; --whole-words keeps it" in done.stderr
    done = shoestring("count", "a.txt", "--user-dict", "words.txt", "--whole-words")
    assert "马克·吐温" in done.stdout
    assert "never" not in done.stderr
    with pytest.warns(UserWarning, match="whole=True keeps it"):
        Cutter(words=["马克·吐温"])
    with pytest.raises(OptionError, match="--user-dict"):
        count_words(tmp_path / "a.txt", whole_words=True)


@pytest.mark.skipif(find_spec("shoestring.count._kernel") is None, reason="no kernel")
def test_frequencies_of_any_size_stay_in_the_kernel():
    words = [
        (f"{chr(0x4E00 + each % 20000)}{chr(0x5000 + each // 20000)}词", 10**6 + each)
        for each in range(70000)
    ]
    cutter = Cutter(words=words)
    assert "_kernel" in repr(cutter._cut)
    for frequency in (2**53 - 1, 2**53 + 1, 2**60 + 1):
        large = Cutter(words=[("清华大", frequency), ("大学", 7)])
        theirs = jieba_with([])
        theirs.add_word("清华大", frequency)
        theirs.add_word("大学", 7)
        assert "_kernel" in repr(large._cut)
        for text in [*sentences(60), "我来到北京清华大学"]:
            assert large.cut(text) == theirs.lcut(text)
    assert jieba().lcut("好") == ["好"]
