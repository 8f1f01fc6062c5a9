"""Inputs that somebody who had not seen the code sent through the command line, and that came out wrong in silence."""

import pytest

from shoestring._errors import InputError
from shoestring.count.output import read
from shoestring.files import Reading, documents
from shoestring.files.tables import Column, read_table


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.tsv"])
def test_a_single_column_without_a_header_loses_no_line(tmp_path, name):
    (tmp_path / name).write_text("第一行很好\n第二行\n第三行\n", "utf-8")
    with pytest.raises(InputError, match="its first line is '第一行很好'; if that is the name"):
        list(documents(tmp_path / name))
    assert list(documents(tmp_path / name, Reading(field="第一行很好"))) == ["第二行", "第三行"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("日本語の文章".encode("iso2022_jp"), "ISO-2022 escapes"),
        ("我们来到北京".encode("hz"), "HZ escapes"),
        ("hello world\nfoo\n".encode("utf-32-le"), "UTF-32 without a mark"),
        ("hello world\nfoo\n".encode("utf-32-be"), "UTF-32 without a mark"),
    ],
)
def test_what_only_looks_like_ascii_is_refused(tmp_path, data, says):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match=says):
        list(documents(tmp_path / "a.txt"))


def test_a_table_of_counts_with_a_mark_has_the_same_first_word(tmp_path):
    (tmp_path / "w.tsv").write_bytes(b"\xef\xbb\xbffoo\t1\r\nbar\t2\r\n")
    assert [row[0] for piece in read(tmp_path / "w.tsv") for row in piece.rows()] == ["foo", "bar"]


@pytest.mark.parametrize("count", ["-1", "99999999999999999999", "1.5"])
def test_a_count_that_cannot_be_is_refused(tmp_path, count):
    (tmp_path / "w.tsv").write_text(f"foo\t{count}\n")
    with pytest.raises(InputError, match="line 1: not word, count"):
        list(read(tmp_path / "w.tsv"))


COLUMNS = (Column(None, ("first",), 0, "--first"), Column(None, ("second",), 1, "--second"))


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nfirst;second\na,b;c\n",
        "\ufeffsep=;\r\nfirst;second\r\na,b;c\r\n",
        "sep=|\nfirst|second\na,b|c\n",
        'first|second\n"a,b"|c\n',
        "first|second\na,b|c\n",
    ],
)
def test_separators_that_a_file_declares_or_shows(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, "utf-8", newline="")
    lines = text.count("\n")
    assert list(read_table(tmp_path / "t.csv", COLUMNS)) == [(lines, ["a,b", "c"])]


def test_pipes_that_only_some_rows_have_separate_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("text\na|b\nc\n", "utf-8")
    assert list(documents(tmp_path / "t.csv")) == ["a|b", "c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"text": "a"},\n {"text": "b"}]\n', "a JSON array; save it as"),
        ('[\n {"text": "a"}\n]\n', "a JSON array; save it as"),
        ('{\n "text": "a"\n}\n', "one JSON object over several lines"),
    ],
)
@pytest.mark.parametrize("errors", ["strict", "replace", "skip"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_one_json_document_is_never_counted_as_text(tmp_path, text, says, errors, name):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(InputError, match=says):
        list(documents(tmp_path / name, Reading(errors=errors)))


def test_a_file_given_twice_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "link.txt").symlink_to("a.txt")
    a = tmp_path / "a.txt"
    for sources in ([a, a], [tmp_path, a], [a, str(tmp_path / "*.txt")], [a, tmp_path / "link.txt"]):
        with pytest.raises(InputError, match="given twice"):
            list(documents(sources))
    assert list(documents(tmp_path)) == ["a", "a"]


GB = "北京清华大学的学生们都很喜欢自然语言处理这门课程。\n".encode("gb18030")


@pytest.mark.parametrize("size", [1, 200_000])  # within what decides the encoding, and long after it
def test_a_line_of_utf_8_among_gb18030_is_refused_wherever_it_stands(tmp_path, size):
    many = GB * (1 + size // len(GB)) * 2
    (tmp_path / "a.txt").write_bytes(many + "中国人民\n".encode() + GB)
    line = many.count(b"\n") + 1
    with pytest.raises(InputError, match=f"line {line:,} is UTF-8, others look like gb18030"):
        list(documents(tmp_path / "a.txt"))
    assert len(list(documents(tmp_path / "a.txt", Reading(encoding="gb18030")))) == line + 1


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        (
            "Der Müller fährt über die Brücke nach Köln und trinkt süßen Kaffee mit Öl.\n",
            "cp437 cp850 mac_roman",
        ),
        ("Les élèves français étaient déjà là, très pressés; hélas, où est-ce.\n", "cp437 cp850 mac_roman"),
        ("¿Dónde está el niño? ¡Mañana será otro día! Él comió jamón en la habitación.\n", "cp437 cp850"),
        ("Мама мыла раму, а потом пошла гулять в парк с детьми.\n", "cp866 mac_cyrillic"),
        ("Zażółć gęślą jaźń, a potem idź do domu i śpij spokojnie, mój drogi.\n", "cp852"),
    ],
)
def test_texts_of_dos_and_old_macs_are_not_taken_for_windows(tmp_path, text, encodings):
    for encoding in encodings.split():
        (tmp_path / "a.txt").write_bytes((text * 5).encode(encoding))
        with pytest.raises(InputError, match="too little says what it is"):
            list(documents(tmp_path / "a.txt"))
