"""Runs of characters: the kernel's keys are numpy's, and both are what counting by hand gives."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.count import Job
from shoestring.count.counting.pipeline import Count

np = pytest.importorskip("numpy")
packed = pytest.importorskip("shoestring.count.counting.packed")

ENGINES = [None] if find_spec("shoestring.count._kernel") is None else [None, packed._kernel()]
LENGTHS = st.integers(1, 4).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, 4)))
TEXT = st.text(st.one_of(st.sampled_from("甲乙丙a \r\n\0"), st.characters(codec="utf-8")), max_size=40)
PIECES = st.lists(st.tuples(TEXT.map(str.encode), st.booleans()), min_size=1, max_size=4)


def by_hand(pieces: list[tuple[bytes, bool]], lengths: tuple[int, int]) -> list[tuple[str, int, int]]:
    counts: Counter[str] = Counter()
    for data, lines in pieces:
        text = data.decode()
        for line in text.replace("\r\n", "\n").split("\n") if lines else [text]:
            for length in range(lengths[0], lengths[1] + 1):
                counts.update(line[at : at + length] for at in range(len(line) - length + 1))
    return sorted((run, count, 0) for run, count in counts.items())


@pytest.fixture(scope="module", params=ENGINES, ids=["numpy", "kernel"][: len(ENGINES)])
def engine(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_kernel", lambda: request.param)
        yield


@settings(max_examples=150, deadline=None)
@given(pieces=PIECES, lengths=LENGTHS)
def test_a_chunk_has_the_runs_of_its_lines(pieces, lengths, engine):
    assert list(packed.table(pieces, lengths).rows()) == by_hand(pieces, lengths)


@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(PIECES, min_size=1, max_size=4), lengths=LENGTHS, memory=st.sampled_from([1, 1 << 20]))
def test_merged_runs_have_the_sum_of_their_chunks(chunks, lengths, memory, engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for number, pieces in enumerate(chunks):
        packed.write_run(folder / str(number), pieces, lengths[1])
    merged = packed.merged(sorted(folder.iterdir()), lengths, memory)
    found = [row for rows in merged for piece in packed.decode(*rows) for row in piece.rows()]
    assert found == by_hand([piece for pieces in chunks for piece in pieces], lengths)


def test_texts_end_runs_and_their_lines_do_not(engine, tmp_path):
    texts = ["甲乙\n丙", "甲乙", "丙甲\r", "乙", "\r\n甲", "丁\n"] * 3
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    counting = Count(Job("ngram", ngrams=(1, 3)), tmp_path / "a.jsonl")
    counting.run()
    found = sorted(row for piece in counting.pieces() for row in piece.rows())
    counting.close()
    assert found == by_hand([(text.encode(), False) for text in texts], (1, 3))


def test_many_keys_are_in_order(engine):
    text = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x4E00 + 3000, 200_000)))
    alphabet, keys, counts = packed.count_chunk([(text.encode(), True)], 4)
    assert len(alphabet) == len(set(text))
    assert counts.sum() == len(text)
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    wanted = Counter(text[at : at + 4] for at in range(len(text)))
    assert {
        word: count for piece in packed.decode(keys, counts, alphabet) for word, count, _ in piece.rows()
    } == wanted


def test_more_characters_than_a_key_has_room_for_are_refused(engine):
    text = "".join(chr(code) for code in range(0x20, 0x11000) if not 0xD800 <= code < 0xE000)
    with pytest.raises(packed.InputError, match="different characters"):
        packed.count_chunk([(text.encode(), False)], 2)


def test_what_is_not_utf_8_is_not_measured(engine):
    assert packed.measure("好\r\n\n中".encode()) == (5, 2)
    assert packed.measure("好".encode()[:2]) is None
