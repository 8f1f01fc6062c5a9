"""Every published form of a set reads the same; bad rows are named; leaks are found whatever the order."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections import deque
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import InputError
from shoestring.files.tables import Column, is_number, read_table
from shoestring.match.data.leaks import exact_leaks, find_leaks, normalised
from shoestring.match.data.pairs import LABEL, Pairs, read_pairs, read_texts

ROWS = [("花呗怎么还款", "如何还花呗", 1), ("今天下雨吗", "明天,下雪吗", 0), ('他说"好"', "他同意了", 1)]
PLAIN = [*zip(*ROWS, strict=True)]


def lines(separator: str, header: str = "", numbered: bool = False, end: str = "\n") -> str:
    body = [
        separator.join([str(at)] * numbered + [one, two, str(label)])
        for at, (one, two, label) in enumerate(ROWS)
    ]
    return end.join([header] * bool(header) + body) + end


FORMS = {
    "LCQMC.valid.data": lines("\t"),
    "atec.csv": "\ufeff" + lines("\t", numbered=True, end="\r\n").replace("花呗怎么", "\ufeff花呗怎么"),
    "pawsx.tsv": lines("\t", "id\tsentence1\tsentence2\tlabel", numbered=True),
    "sts.txt": lines("||", numbered=True),
    "afqmc.jsonl": "".join(
        json.dumps({"sentence1": one, "sentence2": two, "label": str(label)}) + "\n"
        for one, two, label in ROWS
    ),
    "bq.csv": "\ufeffsentence1,sentence2,label\n花呗怎么还款,如何还花呗,1\n"
    '今天下雨吗,"明天,下雪吗",0\n"他说""好""",他同意了,1\n',
}


@pytest.mark.parametrize("name", FORMS)
def test_every_published_form_reads_the_same(tmp_path, name):
    path = tmp_path / name
    path.write_text(FORMS[name], "utf-8")
    found = read_pairs(path)
    assert (list(found.first), list(found.second), found.labels.tolist()) == tuple(map(list, PLAIN))


def test_other_encodings_compression_parquet_and_data_sets(tmp_path):
    from datasets import Dataset

    (tmp_path / "gb.data").write_bytes(lines("\t").encode("gb18030"))
    (tmp_path / "a.data.gz").write_bytes(gzip.compress(lines("\t").encode()))
    table = {"q1": PLAIN[0], "q2": PLAIN[1], "same": PLAIN[2]}
    pq.write_table(pa.table({name: list(column) for name, column in table.items()}), tmp_path / "a.parquet")
    Dataset.from_dict(table).save_to_disk(tmp_path / "set")
    named = {"first": "q1", "second": "q2", "label": "same"}
    for name, columns in (("gb.data", {}), ("a.data.gz", {}), ("a.parquet", named), ("set", named)):
        assert read_pairs(tmp_path / name, **columns).second == list(PLAIN[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("甲\t乙\t1\n甲\t\t1\n", "line 2: empty text"), ("甲\t乙\t1\n\n甲\t乙\tx\n", "line 3: label 'x' is no number"),
        ("甲\t乙\t1\n甲\t乙\tnan\n", "line 2: label 'nan'"),
        ("甲\t乙\t1\n甲\t乙\t1_0\n", "line 2: label '1_0'"), ("甲\t乙\t1\n1\n", "line 2: this row has"), ("", "empty"),
        ("text1\ttext1\tlabel\n甲\t乙\t1\n", "2 columns are called 'text1'"),
        ("a\tb\tlabel\n甲\t乙\t1\n", "which column\\? say --first NAME; there are: a, b, label"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(tmp_path, text, message):
    path = tmp_path / "bad.tsv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        read_pairs(path)


@pytest.mark.parametrize(
    ("ending", "row"),
    [("data", "{}\t乙\t1\n"), ("jsonl", '{{"text1": "{}", "label": 1}}\n'), ("csv.gz", "{},乙,1\n")],
)
def test_a_table_is_read_as_it_is_asked_for(tmp_path, ending, row):
    """The broken bytes at its end are met after all other rows; 12 MB are never in memory at once."""
    whole = (row.format("甲" * 400) * 10_000).encode() + b"\xff\n"
    (tmp_path / f"a.{ending}").write_bytes(gzip.compress(whole) if ending.endswith("gz") else whole)
    rows = read_table(tmp_path / f"a.{ending}", [Column(None, LABEL, -1, "--label", is_number)])
    tracemalloc.start()
    assert sum(1 for _ in islice(rows, 9_000)) == 9_000
    with pytest.raises(InputError, match=r"line 10,001, byte .*: ff is not utf-8"):
        deque(rows, maxlen=0)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path):
    (tmp_path / "a.tsv").write_text("甲\t乙\t1\n甲\t \t1\n丙\t丁\t\n丙\t丁\t0\n", "utf-8")
    found = read_pairs(tmp_path / "a.tsv", skip_bad=True)
    assert len(found) == 2
    assert dict(found.skipped) == {"empty text": 1, "no label": 1}


def test_texts_without_labels(tmp_path):
    (tmp_path / "a.tsv").write_text("甲\t乙\n丙\t丁\n", "utf-8")
    assert read_texts(tmp_path / "a.tsv") == [("甲", "乙"), ("丙", "丁")]


def test_labels_of_one_side_are_refused():
    with pytest.raises(InputError, match="all 2 labels are above"):
        Pairs(["a", "b"], ["c", "d"], np.ones(2)).binary(0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), min_size=8, max_size=40))
def test_the_parts_of_a_split_share_no_text(rows):
    pairs = Pairs(*zip(*rows, strict=True), np.arange(len(rows)))
    one, two = pairs.split(0.3)
    assert not {*one.first, *one.second} & {*two.first, *two.second}
    assert sorted([*one.labels, *two.labels]) == list(range(len(rows)))


def test_leaks_do_not_mind_order_width_case_and_punctuation():
    train = Pairs(
        ["花呗，怎么还款？", "ＡＢ c", "别的事情"], ["如何还", "另一", "没有关系"], np.array([1.0, 0, 1])
    )
    test = Pairs(["如何还！", "ab C"], ["花呗怎么还款", "另一"], np.array([1.0, 1]))
    found = exact_leaks(test, train)
    assert [(leak.row, leak.other, leak.contradicts) for leak in found] == [(0, 0, False), (1, 1, True)]
    assert normalised("！？") == "！？".translate({0xFF01: "!", 0xFF1F: "?"})


def test_near_duplicates_are_found_and_verified():
    long = "请问花呗的最低还款额度到底应该怎么计算才对"
    a = Pairs(
        [long, "完全不同的一句话"], ["花呗最低还款怎么计算呢", "和别的没有关系"], np.array([1.0, 0]), "a"
    )
    b = Pairs(["花呗最低还款怎么计算"], [long + "呢"], np.array([1.0]), "b")
    _, between, _ = find_leaks([a, b], near=0.8)
    assert not between.exact
    (leak,) = between.near
    assert (leak.row, leak.other) == (0, 0)
    assert 0.8 <= leak.similarity < 1
    assert not find_leaks([a, b], near=1.0)[1].near


def test_the_leak_of_the_real_atec_files(data):
    """7,605 pairs: one begins with a byte order mark in both files, and is missed if one of them loses it."""
    folder = data / "pairs" / "ATEC"
    train, test = read_pairs(folder / "atec_nlp_sim_train.csv"), read_pairs(folder / "ATEC.test.data")
    found = exact_leaks(train, test)
    assert len(found) == 7605
    assert test.check() is None
    both = [{tuple(sorted(pair)) for pair in each} for each in (train, test)]
    assert len(both[0] & both[1]) == 7605


def test_the_command_counts_and_shows_leaks(match, tmp_path):
    (tmp_path / "a.data").write_text(lines("\t"), "utf-8")
    (tmp_path / "b.data").write_text("如何还花呗\t花呗怎么还款\t0\n其他\t事情\t0\n", "utf-8")
    done = match("leaks", "a.data", "b.data", "--json", "-o", "leaks.jsonl")
    sets = json.loads(done.stdout)["sets"]
    assert [(each["pairs of"], each["in"], each["exact"], each["contradicting"]) for each in sets] == [
        ("a.data", "a.data", 0, 0), ("a.data", "b.data", 1, 1), ("b.data", "b.data", 0, 0),
    ]  # fmt: skip
    assert json.loads((tmp_path / "leaks.jsonl").read_text("utf-8"))["row"] == 0
