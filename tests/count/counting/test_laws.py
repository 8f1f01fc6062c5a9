"""Counting: parts, workers, runs, shards and engines in any combination give the table of the naive loop."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import reduce
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from count_corpus import counted, odd_text, rows, sentences
from shoestring import files
from shoestring.count import FrequencyTable, Job, count_words
from shoestring.count.analysis.merging import merged
from shoestring.count.counting.columns import ESCAPES, Columns
from shoestring.count.counting.pipeline import Count
from shoestring.count.counting.tally import DictTally, NativeTally

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None
ENGINES = ["kernel", "rjieba", "jieba"] if HAS_KERNEL else ["rjieba", "jieba"]
KINDS = [DictTally, NativeTally] if HAS_KERNEL else [DictTally]


@pytest.fixture(scope="module")
def expected():
    return counted(sentences(1500))


def table(job: Job, *sources, **settings) -> list[tuple[str, int, int]]:
    counting = Count(job, sources, **settings)
    try:
        counting.run()
        return [row for piece in counting.pieces() for row in piece.rows()]
    finally:
        counting.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_counts_what_the_naive_loop_counts(engine, corpus, expected):
    counts = count_words(corpus, engine=engine, workers=1)
    assert list(counts.items()) == rows(expected)


def test_without_hmm(corpus):
    assert count_words(corpus, hmm=False) == FrequencyTable(counted(sentences(1500), False))


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_and_part_sizes_change_nothing(workers, corpus, expected):
    for size in (10_000_000, 7_001):
        assert [row[:2] for row in table(Job(workers=workers, part_bytes=size), corpus)] == rows(expected)


def test_processes_count_the_same(corpus, expected):
    job = Job(engine="rjieba", workers=2, part_bytes=60_000)
    assert [row[:2] for row in table(job, corpus)] == rows(expected)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(5_000, 400_000), st.booleans())
def test_any_split_into_byte_ranges_counts_the_whole(corpus, expected, size, spilled):
    job = Job(workers=2, part_bytes=size, memory=1 << 20 if spilled else 1 << 30)
    assert [row[:2] for row in table(job, corpus)] == rows(expected)


def test_odd_texts_are_counted_as_jieba_cuts_them(tmp_path):
    rng = random.Random(5)
    texts = [text for text in (odd_text(rng) for _ in range(400)) if text]
    import json

    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    documents = Counter(word for text in texts for word in counted([text]))
    wanted = [(word, count, documents[word]) for word, count in rows(counted(texts))]
    assert table(Job(df=True, workers=2, part_bytes=5000), path) == wanted


def test_document_frequencies(corpus):
    documents = Counter(word for text in sentences(1500) for word in counted([text]))
    for engine in ENGINES:
        for memory in (1 << 20, 1 << 30):
            found = table(Job(engine=engine, df=True, memory=memory, part_bytes=30_000, workers=1), corpus)
            assert {word: inside for word, _, inside in found} == documents


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_merged_are_the_whole(shards, corpus, expected, tmp_path):
    paths = []
    for index in range(1, shards + 1):
        counts = count_words(corpus, shard=(index, shards), part_bytes=20_000)
        paths.append(tmp_path / f"{index}{('.tsv', '.csv', '.parquet')[index % 3]}")
        counts.save(paths[-1])
    for memory in (1 << 16, 1 << 30):
        assert [row[:2] for piece in merged(paths, memory) for row in piece.rows()] == rows(expected)


def test_min_count_top_and_stop_words(corpus, expected, tmp_path):
    stop = tmp_path / "stop.txt"
    stop.write_text("的\n，\n酒店\nnone of these\n", encoding="utf-8")
    kept = rows({word: count for word, count in expected.items() if word not in ("的", "，", "酒店")})
    for engine in ENGINES:
        for memory in (1 << 20, 1 << 30):
            job = Job(engine=engine, stopwords=str(stop), memory=memory, part_bytes=30_000, workers=1)
            assert [row[:2] for row in table(job, corpus)] == kept
            assert [row[:2] for row in table(replace(job, min_count=3), corpus)] == [
                r for r in kept if r[1] >= 3
            ]
            assert [row[:2] for row in table(replace(job, min_count=2, top=7), corpus)] == kept[:7]


@pytest.mark.parametrize("tokenizer", ["char", "whitespace"])
@pytest.mark.parametrize("df", [True, False])
def test_characters_and_white_space(tokenizer, df, tmp_path):
    rng = random.Random(6)
    lines = [odd_text(rng).replace("\n", " ") for _ in range(300)] + [
        "a\0 b\0\0 \0",
        "long" * 20 + " x",
        "\x1c\x85 \u3000",
    ]
    path = tmp_path / "odd.txt"
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n")
    split = list if tokenizer == "char" else str.split
    texts = [line for line in lines if line]
    wanted = rows(Counter(token for text in texts for token in split(text)))
    inside = Counter(token for text in texts for token in set(split(text)))
    found = table(Job(tokenizer, df=df, part_bytes=3000, workers=2), path)
    assert found == [(word, count, inside[word] if df else 0) for word, count in wanted]


def test_a_function_of_the_user(corpus, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def halves(text):\n    return [text[: len(text) // 2], text[len(text) // 2 :]]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    from mine import halves

    wanted = Counter(part for text in sentences(1500) for part in halves(text) if part)
    found = table(Job("mine:halves", workers=2, part_bytes=60_000), corpus)
    assert [row[:2] for row in found] == rows(wanted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_runs_of_characters_equal_a_dict(tmp_path, data):
    pytest.importorskip("numpy")
    alphabet = st.sampled_from("ab中国\0\t \r😀𠀀é")
    lines = data.draw(st.lists(st.text(alphabet, max_size=12), min_size=1, max_size=30))
    low = data.draw(st.integers(1, 4))
    high = data.draw(st.integers(low, 4))
    path = tmp_path / "text.txt"
    path.write_bytes("\n".join([*lines, "x"]).encode())
    reading = files.Reading(encoding="utf-8")  # a few NUL would pass for the zeros of UTF-16
    documents = list(files.documents(path, reading))
    wanted = Counter(
        text[at : at + length]
        for text in documents
        for length in range(low, high + 1)
        for at in range(len(text) - length + 1)
    )
    size = data.draw(st.integers(1, 200))
    job = Job("ngram", ngrams=(low, high), workers=2, part_bytes=size, memory=1 << 20, reading=reading)
    counts = count_words(path, job) if wanted else None
    assert counts is None or list(counts.items()) == rows(wanted)


def test_runs_of_real_text(corpus):
    pytest.importorskip("numpy")
    wanted = Counter(
        run for text in sentences(1500) for run in (text[at : at + 4] for at in range(len(text) - 3))
    )
    job = Job("char", ngrams=(4, 4), workers=2, memory=1 << 22, part_bytes=30_000)
    assert list(count_words(corpus, job).items()) == rows(wanted)
    assert list(count_words(corpus, replace(job, min_count=5)).items()) == [
        r for r in rows(wanted) if r[1] >= 5
    ]


@pytest.mark.parametrize("memory", [1 << 20, 1 << 30])
def test_documents_of_runs_of_characters(memory, corpus):
    pytest.importorskip("numpy")
    per_text = [
        [text[at : at + length] for length in (1, 2, 3) for at in range(len(text) - length + 1)]
        for text in sentences(300)
    ]
    wanted = Counter(run for runs in per_text for run in runs)
    inside = Counter(run for runs in per_text for run in set(runs))
    path = corpus.with_name("some.txt")
    path.write_text("\n".join(sentences(300)), encoding="utf-8")
    job = Job("ngram", ngrams=(1, 3), df=True, workers=2, memory=memory, part_bytes=10_000)
    assert table(job, path) == [(run, count, inside[run]) for run, count in rows(wanted)]


counts = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 2**40), max_size=20)


@given(st.lists(counts, min_size=1, max_size=4), st.randoms())
def test_addition_of_tables_is_associative_and_commutative(parts, rng):
    tables = [FrequencyTable(part) for part in parts]
    total = reduce(FrequencyTable.__add__, tables)
    rng.shuffle(tables)
    right = tables[-1]
    for each in reversed(tables[:-1]):
        right = each + right
    assert list(total.items()) == list(right.items()) == rows(reduce(Counter.__add__, map(Counter, parts)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(parts=st.lists(counts, max_size=4), data=st.data())
def test_tallies_add_discard_and_sort_alike(kind, parts, data):
    tally, wanted = kind(True), Counter()
    for part in parts:
        wanted.update(part)
        tally.add(Columns.of(((word, count, count) for word, count in part.items()), True))
    gone = data.draw(st.lists(st.sampled_from(sorted(wanted)), unique=True)) if wanted else []
    tally.discard([*gone, "not there at all"])
    for word in gone:
        del wanted[word]
    assert tally.tokens() == wanted.total()
    assert list(tally.columns(False).rows()) == [
        (word, count, count) for word, count in sorted(wanted.items())
    ]
    assert list(tally.columns(True, 2, 5).rows()) == [(w, c, c) for w, c in rows(wanted) if c >= 2][:5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", [50, 9000])
def test_tallies_sort_words_that_begin_alike_and_counts_of_every_size(kind, many):
    rng = random.Random(many)
    ends = ["".join(rng.choices("甲乙aé\0\x0e\t\\\n\r😀", k=rng.randrange(1, 9))) for _ in range(many)]
    words = dict.fromkeys(rng.choice(["", "甲乙", "abcdefg", "abcdefgh", "\0\0"]) + end for end in ends)
    wanted = {
        word: rng.choice([1, 2, 3, 2046, 2047, 2048, 1 << 20, rng.getrandbits(40) + 1]) for word in words
    }
    tally = kind(True)
    tally.add(Columns.of(((word, count, count % 7) for word, count in wanted.items()), True))
    by_word = [(word, count, count % 7) for word, count in sorted(wanted.items())]
    by_count = sorted(by_word, key=lambda row: -row[1])
    assert list(tally.columns(False).rows()) == by_word
    assert list(tally.columns(True, 3, 4000).rows()) == [row for row in by_count if row[1] >= 3][:4000]
    lines = "".join(f"{word.translate(ESCAPES)}\t{count}\t{inside}\n" for word, count, inside in by_count)
    columns = tally.columns(True)
    assert columns.tsv(0, len(columns)).decode() == lines


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=counts)
def test_what_is_written_is_read_again(suffix, tmp_path, counts):
    table = FrequencyTable(counts, dict.fromkeys(counts, 1))
    table.save(tmp_path / f"table{suffix}")
    assert FrequencyTable.read(tmp_path / f"table{suffix}") == table


@settings(max_examples=50, deadline=None)
@given(counts=counts)
def test_columns_and_arrow_are_the_same_bytes(counts):
    pytest.importorskip("pyarrow")
    columns = FrequencyTable(counts).columns()
    again = Columns.from_arrow(columns.arrow())
    assert list(again.rows()) == list(columns.rows())
    part = columns.slice(len(columns) // 3, len(columns))
    assert list(part.rows()) == list(columns.rows())[len(columns) // 3 :]
    assert list(Columns.from_arrow(columns.arrow().slice(len(columns) // 3)).rows()) == list(part.rows())


def test_frequency_table_reads_like_a_mapping(corpus, expected):
    found = count_words(corpus)
    assert (found.total, found.distinct) == (expected.total(), len(expected))
    assert found.top(3) == rows(expected)[:3]
    assert found["酒店"] == expected["酒店"]
    assert found["no such word"] == 0
    assert found.to_arrow().column("count").to_pylist() == [count for _, count in rows(expected)]
    assert found.report.documents == 1500
