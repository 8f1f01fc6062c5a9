"""Keyness, the laws of frequencies, the experiment, a Dask cluster."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from collections import Counter
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from count_corpus import counted, rows, sentences
from shoestring._errors import InputError, OptionError
from shoestring.count import FrequencyTable, Job
from shoestring.count.analysis import experiment as bench
from shoestring.count.analysis import keyness, laws
from shoestring.count.counting.pipeline import Count

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None


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
