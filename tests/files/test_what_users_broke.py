"""Inputs that somebody who had not seen the code sent through the command line, and that came out wrong in silence."""

import pytest

from shoestring._errors import InputError
from shoestring.count.output import read
from shoestring.files import Reading, documents


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
