"""What lies beside texts comes back from a file as it was stored, and a folder and Qdrant filter alike."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import Hashing
from pyarrow import Table, parquet
from qdrant_client import QdrantClient

from shoestring._errors import InputError, OptionError
from shoestring.files import Reading
from shoestring.match.search import index as module
from shoestring.match.search import qdrant
from shoestring.match.search.index import Index
from shoestring.match.search.metadata import plain, text
from shoestring.match.search.qdrant import QdrantIndex
from shoestring.match.search.sources import Met, keyed

NAMES = st.sampled_from(["p", "a.b", "a b", "a[0]", '"p"', "标签", ""])
ONE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8"), max_size=3),
    st.sampled_from(["3", "true", "null", "3.0"]), st.dates(), st.datetimes(), st.decimals(allow_nan=False),
    st.integers(-3, 3).map(np.int64), st.floats(width=32).map(np.float32),
).filter(lambda value: not (isinstance(value, float | np.floating) and math.isinf(value)))  # fmt: skip
VALUES = st.one_of(
    ONE, st.lists(ONE, max_size=3), st.lists(ONE, max_size=2).map(tuple), st.dictionaries(NAMES, ONE)
)


def alike(stored, asked) -> bool:
    """The rule, told otherwise: as written, but a stored number has the worth of what JSON reads as one."""
    if isinstance(stored, int | float) and not isinstance(stored, bool):
        with suppress(ValueError):
            asked = json.loads(text(asked), parse_int=Fraction, parse_float=Fraction, parse_constant=str)
            return isinstance(asked, Fraction) and asked == Fraction(json.dumps(stored))
    return text(stored) == text(asked)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=3), st.lists(ONE, max_size=2)
)
def test_what_is_stored_comes_back_is_the_same_again_and_is_found(tmp_path_factory, every, asked):
    folder = tmp_path_factory.mktemp("index")
    documents = [(str(at), (f"text {at}", metadata)) for at, metadata in enumerate(every)]
    index, server = Index(folder, Hashing()), QdrantIndex(QdrantClient(":memory:"), "texts", Hashing())
    index.put(documents)
    assert index.put(documents)["unchanged"] == len(every)
    server.add([document for _, document in documents])
    stored = [dict(metadata) for _, (_, metadata) in index.documents()]
    assert (
        stored == [plain(metadata) for metadata in every] == json.loads(json.dumps(stored, allow_nan=False))
    )
    lists = [
        {name: value if isinstance(value, list) else [value] for name, value in each.items()}
        for each in stored
    ]
    for name, value in {(key, text(one)) for each in lists for key in each for one in [*each[key], *asked]}:
        wanted = {at for at, each in enumerate(lists) if any(alike(one, value) for one in each.get(name, ()))}
        for each in (index, server):
            assert {hit.id for hit in each.search(["text"], 9, where={name: value})[0]} == wanted


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("3", [3, 3.0, "3"]), ("3.0", [3, 3.0, "3.0"]), (3, [3, 3.0, "3"]), (3.0, [3, 3.0, "3.0"]), ("30e-1", [3, 3.0]),
        ("03", ["03"]), ("1.10", [1.1, "1.10"]), (True, [True, "true"]), ("1", []), ("-0", [0, -0.0]),
        ("9007199254740993", [9007199254740993]), ("1e99999999", []), ("３", []), ("0.1", [0.1]), ("9" * 30, []),
    ],
)  # fmt: skip
def test_a_number_is_found_however_it_is_written_and_text_only_as_it_is(tmp_path, asked, found):
    """As pandas makes 3 to 3.0 where a value is missing, and codes such as 03 or 1.10 are no numbers."""
    values = [3, 3.0, "3", "3.0", "03", 1.1, "1.1", "1.10", True, "true", 0, -0.0, 2**53, 2**53 + 1, 0.1]
    documents = [(f"text {at}", {"p": value}) for at, value in enumerate(values)]
    folder, server = (
        Index(tmp_path / "index", Hashing()),
        QdrantIndex(QdrantClient(":memory:"), "a", Hashing()),
    )
    for index in (folder, server):
        index.add(documents)
        hits = index.search(["text"], 99, where={"p": asked})[0]
        assert sorted(json.dumps(hit.metadata["p"]) for hit in hits) == sorted(map(json.dumps, found))


@pytest.mark.parametrize("value", [math.nan, (1, 2), {1: 2}, datetime.date(2026, 1, 2), np.float32(0.1)])
def test_an_interrupted_build_goes_on_with_such_values(tmp_path, monkeypatch, value):
    monkeypatch.setattr(module, "ROWS", 2)

    def texts(count):
        yield from ((f"text {at}", {"value": value}) for at in range(count))
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(tmp_path / "index", Hashing()).build(texts(3))
    assert Index(tmp_path / "index", Hashing()).build(texts(5)) == (2, 3)


def test_a_parquet_table_s_dates_and_gaps_are_stored(tmp_path):
    columns = {
        "text": ["甲", "乙"], "id": [1, 2], "day": [datetime.date(2026, 1, 2), None], "size": [1, None],
        "price": [decimal.Decimal("1.50"), decimal.Decimal("2.00")], "share": [math.nan, 0.5], "raw": [b"x", b"y"],
    }  # fmt: skip
    parquet.write_table(Table.from_pydict(columns), tmp_path / "a.parquet")

    def read(metadata):
        return keyed([str(tmp_path / "a.parquet")], Met(), Reading(), metadata, "id")

    index = Index(tmp_path / "index", Hashing())
    index.put(read("day,size,price,share"))
    assert [dict(metadata) for _, (_, metadata) in index.documents()] == [
        {"day": "2026-01-02", "size": 1, "price": "1.50", "share": None},
        {"day": None, "size": None, "price": "2.00", "share": 0.5},
    ]
    assert len(index.search(["甲"], 9, where={"day": "2026-01-02"})[0]) == 1
    with pytest.raises(InputError, match="metadata 'raw': b'x' has no place in JSON"):
        index.put(read("raw"))


@pytest.mark.parametrize(
    "values", [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ({"a": 1}, {"a": True}), ([1], [1.0])]
)
def test_what_is_written_otherwise_is_another_though_python_takes_it_for_equal(tmp_path, monkeypatch, values):
    monkeypatch.setattr(module, "ROWS", 1)
    before, after = values
    index = Index(tmp_path / "index", Hashing())
    index.put([("key", ("text", {"value": before}))])
    assert index.put([("key", ("text", {"value": after}))])["replaced"] == 1
    ((_, (_, metadata)),) = index.documents()
    assert json.dumps(metadata) == json.dumps({"value": after})

    def cut_short():
        yield "text", {"value": before}
        raise KeyboardInterrupt

    for each in (
        Index(tmp_path / "again", Hashing()),
        QdrantIndex(QdrantClient(":memory:"), "texts", Hashing()),
    ):
        monkeypatch.setattr(qdrant, "ROWS", 1)
        with pytest.raises(KeyboardInterrupt):
            each.build(cut_short())
        with pytest.raises(InputError, match="another text 1"):
            each.build([("text", {"value": after})])


def test_two_names_that_are_one_as_text_and_a_wish_for_several_values_are_refused(tmp_path):
    for index in (
        Index(tmp_path / "index", Hashing()),
        QdrantIndex(QdrantClient(":memory:"), "texts", Hashing()),
    ):
        for metadata in ({1: "a", "1": "b"}, {"of": {None: 1, "None": 2}}):
            with pytest.raises(InputError, match="two names are written"):
                index.add([("text", metadata)])
        index.add([("text", {"tags": ["a", "b"]})])
        for wanted in (["a", "b"], ("a",), [], np.array(["a"])):
            with pytest.raises(OptionError, match="is a list; give one value"):
                index.search(["text"], where={"tags": wanted})
        assert len(index.search(["text"], where={"tags": "a"})[0]) == 1
