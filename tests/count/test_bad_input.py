"""Broken data, full disks, killed processes: one clear line or the exact counts, never a hang, never half a file."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from importlib.util import find_spec

import pytest

from count_corpus import counted, rows, sentences
from shoestring import files
from shoestring._errors import InputError, OptionError
from shoestring.count import FrequencyTable, Job, count_words

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None
TEXT = "我来到北京清华大学。\r\n他来到了网易杭研大厦\n小明硕士毕业于中国科学院计算所"
LINES = TEXT.replace("\r\n", "\n").split("\n")


def reading(**settings) -> files.Reading:
    return files.Reading(**{"errors": "strict", "max_document_bytes": None, **settings})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("engine", ["auto", "jieba"])
def test_encodings_and_bom(encoding, engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode(encoding))
    assert list(count_words(path, engine=engine).items()) == rows(counted(LINES))


@pytest.mark.parametrize("engine", ["auto", "jieba"])
def test_broken_bytes_are_refused_replaced_or_skipped(engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("好的\n中\n".encode() * 40 + b"\xe4\xb8\n" + "北京\n".encode())
    with pytest.raises(InputError, match=r"a\.txt: line 81, byte 440: e4 b8"):
        count_words(path, engine=engine, reading=reading(encoding="utf-8"))
    replaced = count_words(path, engine=engine, reading=reading(encoding="utf-8", errors="replace"))
    assert replaced.report.broken_bytes == 2
    assert replaced["\ufffd"] >= 1
    skipped = count_words(path, engine=engine, reading=reading(encoding="utf-8", errors="skip"))
    assert skipped.report.skipped == 1
    assert list(skipped.items()) == rows(counted(["好的", "中"] * 40 + ["北京"]))


def test_damaged_gzip_is_refused_or_salvaged(tmp_path):
    whole = gzip.compress(("\n".join(sentences(300)) + "\n").encode())
    cases = {"cut": whole[: len(whole) // 2], "crc": whole[:-8] + b"\0" * 8}
    for name, data in cases.items():
        path = tmp_path / f"{name}.txt.gz"
        path.write_bytes(data)
        with pytest.raises(InputError, match=name):
            count_words(path)
        kept = count_words(path, reading=reading(salvage=True))
        assert list(kept.items()) == rows(counted(sentences(300)[: kept.report.documents]))
        assert kept.report.truncated == 1
    both = tmp_path / "two.txt.gz"
    both.write_bytes(whole * 2)
    assert list(count_words(both).items()) == rows(counted(sentences(300) * 2))


def test_nul_line_ends_within_lines_and_lone_surrogates(tmp_path):
    lines = ["中\0国\x85人民\u2028银行\x0b好\rx", "\0\0", "a\r"]
    path = tmp_path / "a.txt"
    path.write_bytes("\n".join(lines).encode())
    assert list(count_words(path).items()) == rows(counted(lines))
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "中国\\ud800人民"}\n{"text": "a\\nb"}\n')
    found = count_words(path)
    assert list(found.items()) == rows(counted(["中国\ufffd人民", "a\nb"]))
    assert found.report.surrogates == 1


def test_a_long_line(tmp_path):
    line = "，".join(sentences(1500)) * 4
    path = tmp_path / "a.txt"
    path.write_text(line + "\n好\n", encoding="utf-8")
    found = count_words(path, part_bytes=1000, workers=2)
    assert found["酒店"] == counted([line])["酒店"]
    assert found.total == counted([line]).total() + 1


@pytest.mark.slow
def test_a_line_of_200_megabytes(tmp_path):
    path = tmp_path / "a.txt"
    block = ("，".join(sentences(1000)) + "。").encode()
    with open(path, "wb") as file:
        for _ in range(200_000_000 // len(block)):
            file.write(block)
    assert count_words(path)["酒店"] == counted([block.decode()])["酒店"] * (200_000_000 // len(block))


def test_empty_files_and_nothing_at_all(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(InputError, match="no document"):
        count_words(tmp_path / "empty.txt")
    (tmp_path / "lines.txt").write_bytes(b"\n\r\n\n")
    with pytest.raises(InputError, match="no document"):
        count_words([tmp_path / "empty.txt", tmp_path / "lines.txt"])
    (tmp_path / "one.txt").write_text("好", encoding="utf-8")
    assert count_words(tmp_path).top() == [("好", 1)]


def test_many_tiny_files(tmp_path):
    for index in range(3000):
        (tmp_path / f"{index}.txt").write_text(f"文件{index % 7}\n", encoding="utf-8")
    found = count_words(tmp_path, workers=2)
    assert (found["文件"], found.report.files, found.report.documents) == (3000, 3000, 3000)


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path):
    for index in range(100_000):
        (tmp_path / f"{index}.txt").write_text("好", encoding="utf-8")
    assert count_words(tmp_path).top() == [("好", 100_000)]


def test_unreadable_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("好")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(InputError, match=r"a\.txt: cannot be read"):
        count_words(path)


def test_settings_out_of_range_say_what_is_allowed():
    for settings in (
        {"tokenizer": "mecab"}, {"engine": "x"}, {"ngrams": (3, 2)}, {"tokenizer": "ngram", "ngrams": (1, 5)},
        {"shard": (3, 2)}, {"shard": (1, 2), "top": 5}, {"workers": -1}, {"memory": 10}, {"min_count": 0},
    ):  # fmt: skip
        with pytest.raises(OptionError):
            Job(**settings)


def test_broken_tables_are_named(tmp_path):
    for content, message in (("a\t1\nb\n", "line 2"), ("a\tx\n", "line 1"), ("a\t1\t2\t3\n", "line 1")):
        (tmp_path / "a.tsv").write_text(content)
        with pytest.raises(InputError, match=message):
            FrequencyTable.read(tmp_path / "a.tsv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match="parquet"):
        FrequencyTable.read(tmp_path / "a.parquet")


def test_command_line_counts_shows_and_reports(tmp_path, shoestring):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8", newline="")
    done = shoestring("count", "a.txt", "-o", "out.tsv", "--json")
    values = json.loads(done.stdout)
    wanted = counted(LINES)
    assert (values["documents"], values["tokens"], values["distinct"]) == (3, wanted.total(), len(wanted))
    assert (tmp_path / "out.tsv").read_text("utf-8") == "".join(
        f"{word}\t{count}\n" for word, count in rows(wanted)
    )
    shown = shoestring("count", "a.txt", "--top", 2, "--json")
    assert json.loads(shown.stdout)["top"] == [{"word": w, "count": c} for w, c in rows(wanted)[:2]]
    piped = shoestring("count", "-", "-o", "piped.tsv", input=TEXT)
    assert piped.returncode == 0, piped.stderr
    assert (tmp_path / "piped.tsv").read_bytes() == (tmp_path / "out.tsv").read_bytes()


def test_shards_and_merge_on_the_command_line(tmp_path, shoestring):
    (tmp_path / "a.txt").write_text("\n".join(sentences(200)), encoding="utf-8")
    for index in (1, 2):
        assert shoestring("count", "a.txt", "--shard", f"{index}/2", "-o", f"{index}.parquet").returncode == 0
    done = shoestring("count", "merge", "1.parquet", "2.parquet", "-o", "both.tsv")
    assert done.returncode == 0, done.stderr
    assert FrequencyTable.read(tmp_path / "both.tsv") == FrequencyTable(counted(sentences(200)))
    assert Counter(dict(FrequencyTable.read(tmp_path / "both.tsv").items())) == counted(sentences(200))
