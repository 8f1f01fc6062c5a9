"""Tables as people have them: Excel's, other locales', a quotation mark too few. Each was seen in the field."""

import csv
import io
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring._errors import InputError
from shoestring.files import Reading, documents
from shoestring.files.delimited import Bad, layout, records, written
from shoestring.match.data.pairs import read_pairs

TABLES = Path(__file__).parent / "tables"
READ = {  # file -> pairs and labels
    "header-capitals.csv": ([("A", "B"), ("C", "D")], [1, 0]),
    "header-chinese.csv": ([("苹果", "香蕉"), ("梨", "桃")], [1, 0]),
    "header-quora.csv": ([("How are you?", "How do you do?"), ("What, exactly?", "Why?")], [1, 0]),
    "true-false.csv": ([("a", "b"), ("c", "d")], [1, 0]),
    "semicolons.csv": ([("a", "b"), ("c", "d")], [1, 0]),
    "excel-quoted.tsv": ([('甲, "乙"', "丙")], [1]),
    "bom-utf16.csv": ([("苹果", "香蕉")], [0]),
}
REFUSED = {  # file -> the message, rows left
    "quote-in-the-middle.csv": (r"line 3: the quotation mark here runs over 31 rows", 32),
    "one-tab-too-many.tsv": (r"line 2: this row has 4 columns, line 1 has 3", 2),
    "short-row.tsv": (r"line 2: this row has 2 columns, line 1 has 3", 2),
    "cr-only.csv": (r"end in CR alone", None),
    "array.json": (r"a JSON array; save it as one object a line", None),
}


@pytest.mark.parametrize("name", READ)
def test_what_people_have_is_read(name):
    pairs = read_pairs(TABLES / name)
    assert (list(pairs), pairs.labels.tolist()) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_by_line_or_left_out_and_counted(name):
    message, left = REFUSED[name]
    with pytest.raises(InputError, match=message):
        read_pairs(TABLES / name)
    if left is not None:
        pairs = read_pairs(TABLES / name, skip_bad=True)
        assert (len(pairs), sum(pairs.skipped.values())) == (left, 1)
        assert ("丁", "多") not in list(pairs)


@pytest.mark.parametrize(
    ("header", "labels"),
    [
        ("#1 ID\t#1 String\t#2 String\tQuality", "10"),  # MRPC
        ("query1\tquery2\tlabel", ["同义", "不同义"]),
        ("query\ttitle\tlabel", ["对", "错"]),
        ("文本1\t文本2\t標籤", ["Y", "N"]),
    ],
)
def test_names_and_labels_of_published_sets(tmp_path, header, labels):
    names = header.split("\t")
    rows = [
        dict(zip(names[-3:], (text, text * 2, label), strict=True))
        for text, label in zip("ab", labels, strict=True)
    ]
    lines = [header, *("\t".join(row.get(name, "7") for name in names) for row in rows)]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    pairs = read_pairs(tmp_path / "a.tsv")
    assert (list(pairs), pairs.labels.tolist()) == ([("a", "aa"), ("b", "bb")], [1, 0])


def test_three_classes_become_grades():
    assert read_pairs(TABLES / "nli.tsv").labels.tolist() == [0, 2, 1]


def test_two_kinds_of_labels_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,1\nc,d,yes\n")
    with pytest.raises(InputError, match=r"line 2: label 'yes' beside '1' in line 1"):
        read_pairs(tmp_path / "a.csv")


def test_an_unclosed_quote_swallows_no_document():
    with pytest.raises(
        InputError, match=r"line 2: the quotation mark that opens a cell here is never closed"
    ):
        list(documents(TABLES / "unclosed-quote.csv"))
    assert list(documents(TABLES / "unclosed-quote.csv", Reading(errors="skip"))) == ["世界"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "foo,bar,baz\na,b,1\n", "line 1: 'baz' is no label; if this row is a header, say what"),
        ("a.csv", "text1,text1,label\na,b,1\n", "2 columns are called 'text1'"),
        (
            "a.csv",
            "question1,question2,sentence1,sentence2,label\na,b,c,d,1\n",
            "'question1' and 'sentence1' could both be meant; say --first NAME",
        ),
        (
            "a.csv",
            "query,title,passage,label\na,b,c,1\n",
            "'title' and 'passage' could both be meant; say --second",
        ),
        (
            "a.csv",
            "text1,text2,label,score\na,b,1,0.5\n",
            "'label' and 'score' could both be meant; say --label NAME",
        ),
        ("a.xlsx", "PK", "a spreadsheet; save it as CSV UTF-8"),
        ("a.tsv", 'a\tb\t1\n"c ""x"""\td\t0\n' * 1 + "e\tf\t1\n", ""),
    ],
)
def test_other_tables(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    if message:
        with pytest.raises(InputError, match=message):
            read_pairs(tmp_path / name)
    else:
        assert list(read_pairs(tmp_path / name))[1] == ('c "x"', "d")


def test_cells_longer_than_the_csv_module_takes(tmp_path):
    (tmp_path / "a.csv").write_text(f'text1,text2,label\n"{"x" * 200_000}","b, c",1\n')
    assert len(read_pairs(tmp_path / "a.csv").first[0]) == 200_000


cells = st.text(st.sampled_from('ab,;\t"\n\r|句 '), max_size=6)
tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=8)
)


def _read(text: str, kind: str) -> list:
    form, lines = layout(io.StringIO(text, newline="\n"), kind)
    return [row for _, row in records(lines, form, "a")]


@given(tables)
def test_what_the_csv_module_writes_reads_back_or_is_refused(table):
    """The reader shares no line with csv's writer; it may refuse what looks like a missing mark, never change it."""
    table = [["id", "text", "label", "more"][: len(table[0])], *table]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    found = _read(out.getvalue(), "csv")
    assert found == table or any(isinstance(row, Bad) for row in found)


@given(st.lists(st.lists(cells.filter(bool), min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_we_write_as_tsv_reads_back(table):
    table = [["a", "b"], *table]
    found = _read("".join(map(written, table)), "tsv")
    assert found == [[cell.translate(dict.fromkeys((9, 10, 13), " ")) for cell in row] for row in table]


def test_a_lost_quotation_mark_never_shortens_a_table_in_silence():
    """A mark is taken out of a sound table, anywhere: a row may be refused or differ, none disappears unseen."""
    generator = random.Random(0)
    outcomes: Counter[str] = Counter()
    for _ in range(300):
        rows = [[f"甲{generator.random():.3f}", f"乙, {generator.random():.3f}", "1"] for _ in range(20)]
        out = io.StringIO(newline="")
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
            [["text1", "text2", "label"], *rows]
        )
        text = out.getvalue()
        marks = [at for at, each in enumerate(text) if each == '"' and at > 30]
        lost = generator.choice(marks)
        found = _read(text[:lost] + text[lost + 1 :], "csv")
        bad = sum(isinstance(row, Bad) for row in found)
        assert len(found) == 21 or bad, text
        outcomes["refused" if bad else "another cell"] += 1
    assert outcomes["refused"] > 150
