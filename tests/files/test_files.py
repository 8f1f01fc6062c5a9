"""What is read from each format, archive and encoding; oracles are the standard library's own readers."""

import bz2
import csv
import doctest
import gzip
import io
import json
import lzma
import pickle
import subprocess
import sys
import tarfile
import zipfile
import zlib
from importlib import import_module
from pkgutil import iter_modules

import pytest

from shoestring import files
from shoestring._errors import InputError, OptionError
from shoestring.files import Reading, Report, detect, documents, parts, read, read_bytes

zstandard = pytest.importorskip("zstandard")
COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
LINES = ["白日依山尽", "a\x85b\u2028c\x0bd\x0ce", "nul\0nul", "", " ", "𠀀 end"]
TEXT = "\n".join(LINES) + "\n"
WANTED = [line for line in LINES if line]


@pytest.mark.parametrize(
    "module",
    ["", *(f".{each.name}" for each in iter_modules(files.__path__))],
    ids=lambda name: name or "files",
)
def test_the_examples_in_the_docstrings_run(module):
    assert doctest.testmod(import_module("shoestring.files" + module)).failed == 0


def test_a_line_ends_at_lf_and_takes_one_cr_along(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb\r\r\nc\rd\n\r\n\ne\r")
    assert list(documents(path)) == ["a", "b\r", "c\rd", "e\r"]


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_is_the_same_and_members_concatenate(tmp_path, ending):
    pack = COMPRESS[ending]
    (tmp_path / f"one.txt{ending}").write_bytes(pack(TEXT.encode()))
    (tmp_path / f"two.txt{ending}").write_bytes(pack(TEXT[:9].encode()) + pack(TEXT[9:].encode()))
    assert list(documents(tmp_path / f"one.txt{ending}")) == WANTED
    assert list(documents(tmp_path / f"two.txt{ending}")) == WANTED


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_few_bytes_that_stand_for_one_huge_line_do_not_fill_the_memory(tmp_path, ending):
    path = tmp_path / f"zeros.txt{ending}"
    with path.open("wb") as file:
        engine = {
            ".gz": lambda: zlib.compressobj(wbits=31),
            ".bz2": bz2.BZ2Compressor,
            ".xz": lambda: lzma.LZMACompressor(preset=0),
            ".zst": zstandard.ZstdCompressor().compressobj,
        }[ending]()
        for _ in range(200):
            file.write(engine.compress(b"0" * (1 << 20)))
        file.write(engine.flush())
    message, grown = in_a_fresh_process(path)
    assert "line 1: the line is longer than max_document_bytes=1,048,576" in message
    assert int(grown) < 48 << 10  # KiB


def in_a_fresh_process(path):
    code = (
        "import resource, sys\n"
        "from shoestring.files import documents, Reading\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(documents(sys.argv[1], Reading(max_document_bytes=1 << 20)))\n"
        "except Exception as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def make_tree(folder):
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n", encoding="utf-8")
    (folder / "b" / "c.md").write_text("two\n", encoding="utf-8")
    (folder / "b" / "wiki_00").write_text("three\n", encoding="utf-8")
    (folder / "b" / "x.bin").write_bytes(b"\0\1\2")
    (folder / "b" / ".hidden.txt").write_text("no\n", encoding="utf-8")
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "four"}\n'))
    return ["one", "two", "three", "four"]


def test_a_folder_is_read_in_order_without_what_is_hidden_or_binary(tmp_path):
    wanted = make_tree(tmp_path / "data")
    assert list(documents(tmp_path / "data")) == wanted
    assert [text for part in parts(tmp_path / "data") for text in read(part)] == wanted
    assert list(documents(f"{tmp_path}/data/*.txt")) == ["one"]
    assert list(documents(f"{tmp_path}/data/**/*.md")) == ["two"]


@pytest.mark.parametrize(
    "name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2", "a.tar.zst"]
)
def test_an_archive_is_read_like_its_folder(tmp_path, name):
    wanted = make_tree(tmp_path / "data")
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in sorted((tmp_path / "data").rglob("*")):
                archive.write(each, each.relative_to(tmp_path))
    else:
        held = io.BytesIO()
        mode = {"tgz": "gz", "tar": "", "zst": ""}.get(name.split(".")[-1], name.split(".")[-1])
        with tarfile.open(fileobj=held, mode=f"w:{mode}") as archive:
            for each in sorted((tmp_path / "data").rglob("*")):
                archive.add(each, each.relative_to(tmp_path), recursive=False)
        data = held.getvalue()
        path.write_bytes(zstandard.compress(data) if name.endswith("zst") else data)
    assert list(documents(path)) == wanted
    assert [text for part in parts(path, size=4) for text in read(part)] == wanted


def test_a_zip_is_cut_between_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(10):
            archive.writestr(f"{number}.txt", f"document {number}\n" * 10)
    cut = parts(tmp_path / "a.zip", size=250)
    assert [(part.start, part.stop, part.member) for part in cut[:2]] == [(0, 3, "0.txt"), (3, 6, "3.txt")]
    assert [text for part in cut for text in read(part)] == list(documents(tmp_path / "a.zip"))


def test_links_that_turn_in_a_circle_are_walked_once(tmp_path):
    make_tree(tmp_path / "data")
    (tmp_path / "data" / "b" / "loop").symlink_to(tmp_path / "data")
    assert len(list(documents(tmp_path / "data"))) == 4


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]
)
@pytest.mark.parametrize(
    "text", ["白日依山尽，黄河入海流。\r\n" * 9, "plain words only\n" * 9, "第1章 我们的人 a\n\n"]
)
def test_the_encoding_is_recognised(tmp_path, encoding, text):
    if (encoding, text[0]) == ("utf-32", "p") or encoding != "utf-32":
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        wanted = [line for line in text.replace("\r\n", "\n").split("\n") if line]
        assert list(documents(tmp_path / "a.txt")) == wanted


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
@pytest.mark.parametrize("cut", range(4))
def test_a_sample_may_end_within_a_character(encoding, cut):
    data = "人民日报：我们在北京的人民大会堂。𠀀".encode(encoding)
    assert detect(data[: len(data) - cut], complete=False) == encoding


def test_one_broken_byte_does_not_change_the_encoding():
    assert detect("人民日报".encode() + b"\xff" + "人民".encode()) == "utf-8"
    text = "人民日报：我们在北京的人民大会堂。\n".encode("gb18030")
    assert detect(text + b"\xff\n" + text) == "gb18030"


@pytest.mark.parametrize("encoding", ["shift_jis", "big5", "cp1252", "iso2022_jp", "hz", "utf-7"])
def test_a_given_encoding_is_obeyed(tmp_path, encoding):
    text = {"cp1252": "forêt", "hz": "中文~x", "big5": "許功蓋"}.get(encoding, "日本")
    (tmp_path / "a.txt").write_bytes("\n".join([text] * 3).encode(encoding))
    assert list(documents(tmp_path / "a.txt", Reading(encoding=encoding))) == [text] * 3


def test_broken_bytes_are_replaced_and_counted_where_they_are(tmp_path):
    data = "好\n".encode() + b"a\xffb\xe4\xb8\n" + "好".encode()
    (tmp_path / "a.txt").write_bytes(data)
    report = Report()
    assert "\n".join(documents(tmp_path / "a.txt", report=report)) == data.decode("utf-8", "replace")
    assert report.broken_bytes == 3
    assert report.lines() == [f"3 broken bytes replaced in {tmp_path}/a.txt (first at byte 5)"]
    assert (report.documents, report.bytes, report.files) == (3, len(data), 1)


def test_skip_drops_the_broken_document_and_strict_says_where(tmp_path):
    (tmp_path / "a.txt").write_bytes("好\n".encode() + b"a\xffb\n" + "好\n".encode())
    report = Report()
    assert list(documents(tmp_path / "a.txt", Reading(errors="skip"), report)) == ["好", "好"]
    assert report.lines() == [f"1 document dropped in {tmp_path}/a.txt (first at byte 4)"]
    for size in (3, 1000):
        cut, reading = parts(tmp_path / "a.txt", size=size), Reading(errors="strict")
        with pytest.raises(InputError, match=r"a\.txt: line 2, byte 5: ff is not utf-8; give the right"):
            [list(read(part, reading)) for part in cut]


def test_broken_utf_16_is_counted_refused_or_dropped(tmp_path):
    data = "\ufeff好\n".encode("utf-16-le") + b"a\0\x00\xd8\n\0" + "好\n".encode("utf-16-le")
    (tmp_path / "a.txt").write_bytes(data)
    report = Report()
    assert list(documents(tmp_path / "a.txt", report=report)) == ["好", "a\ufffd", "好"]
    path = f"{tmp_path}/a.txt"
    assert report.lines() == [
        f"not UTF-8 and read as utf-16: {path}", f"2 broken bytes replaced in {path} (first at byte 8)"
    ]  # fmt: skip
    assert list(documents(tmp_path / "a.txt", Reading(errors="skip"))) == ["好", "好"]
    with pytest.raises(InputError, match="line 2, byte 8"):
        list(documents(tmp_path / "a.txt", Reading(errors="strict")))


def test_jsonl_takes_the_named_field_and_replaces_lone_surrogates(tmp_path):
    records = [
        {"id": 1, "text": "中\n文"},
        {"text": "\ud800x"},
        {"text": "😀\\u"},
        {"text": None},
        {"text": ""},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    report = Report()
    assert list(documents(tmp_path / "a.jsonl", report=report)) == ["中\n文", "\ufffdx", "😀\\u"]
    assert report.surrogates == 1
    at = len(json.dumps(records[0])) + 1
    assert report.lines() == [f"1 lone surrogate replaced in {tmp_path}/a.jsonl (first at byte {at})"]


def test_jsonl_says_which_line_is_wrong_or_drops_it(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"t": "x"}\n{"t": 1}\n{"t"\n[]\n{"u": "x"}\n{"t": "y"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: line 2: field 't' is no text, but 1; or drop such"):
        list(documents(tmp_path / "a.jsonl"))
    report = Report()
    assert list(documents(tmp_path / "a.jsonl", Reading(errors="skip"), report)) == ["x", "y"]
    assert (report.skipped, report.places["skipped", f"{tmp_path}/a.jsonl"]) == (4, (4, 11))


def test_ranges_of_jsonl_take_the_field_that_the_whole_file_takes(tmp_path):
    lines = ['{"title": "a"}', '{"title": "b", "text": "no"}', '{"title": "c", "text": "no"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert [t for part in parts(tmp_path / "a.jsonl", size=20) for t in read(part)] == ["a", "b", "c"]


def test_csv_is_what_the_csv_module_reads(tmp_path):
    rows = [["id", "text"], ["1", 'quo"te, comma'], ["2", "two\r\nlines"], ["3", ""], ["4", "长" * 200_000]]
    with open(tmp_path / "a.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)
    assert list(documents(tmp_path / "a.csv")) == [row[1] for row in rows[1:] if row[1]]
    assert list(documents(tmp_path / "a.csv", Reading(field="id"))) == ["1", "2", "3", "4"]


def test_tsv_has_no_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('label\ttext\n1\t"open\n0\tclosed"\n')
    assert list(documents(tmp_path / "a.tsv")) == ['"open', 'closed"']


def test_short_rows_are_refused_by_line_or_dropped(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"a\nb"\n2\n3,c\n')
    with pytest.raises(InputError, match=r"a\.csv: line 4: this row has 1 columns, line 1 has 2"):
        list(documents(tmp_path / "a.csv"))
    assert list(documents(tmp_path / "a.csv", Reading(errors="skip"))) == ["a\nb", "c"]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_parquet_gives_one_column(tmp_path, ending):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    held = io.BytesIO()
    texts = [f"文{number}" if number % 7 else None for number in range(1000)]
    table = {"id": range(1000), "text": texts, "kind": pyarrow.array(["x"] * 1000).dictionary_encode()}
    parquet.write_table(pyarrow.table(table), held)
    path = tmp_path / f"a.parquet{ending}"
    path.write_bytes(COMPRESS[ending](held.getvalue()) if ending else held.getvalue())
    assert list(documents(path)) == [text for text in texts if text]
    assert set(documents(path, Reading(field="kind"))) == {"x"}
    with pytest.raises(InputError, match=r"no text column 'id'; there are: id \(int64\), text \(string\)"):
        list(documents(path, Reading(field="id")))


def test_a_file_can_be_one_document(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff一\r\n\r\n二\n".encode())
    third = "三人行，则必有我师，是故弟子不必不如师。"
    (tmp_path / "b.txt").write_bytes(third.encode("gb18030"))
    reading = Reading(document="file")
    assert list(documents(tmp_path, reading)) == ["一\n\n二\n", third]
    cut = parts(tmp_path, reading, size=2)
    assert [text for part in cut for text in read(part, reading)] == ["一\n\n二\n", third]


def test_standard_input_and_fsspec_addresses(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    code = "import sys; from shoestring.files import documents; print(list(documents('-')))"
    done = subprocess.run([sys.executable, "-c", code], input=b"a\nb", check=True, capture_output=True)
    assert done.stdout.strip() == b"['a', 'b']"
    memory = fsspec.filesystem("memory")
    memory.pipe({"/corpus/a.txt": b"a\nb\n", "/corpus/c.txt.gz": gzip.compress(b"c")})
    assert list(documents("memory://corpus")) == ["a", "b", "c"]
    assert list(documents("memory://corpus/*.gz")) == ["c"]
    assert [text for part in parts("memory://corpus/a.txt", size=1) for text in read(part)] == ["a", "b"]


def test_parts_are_picklable_and_plain_ones_give_their_bytes(tmp_path):
    data = b"\xef\xbb\xbf" + TEXT.encode() * 10
    (tmp_path / "a.txt").write_bytes(data)
    cut = pickle.loads(pickle.dumps(parts(tmp_path / "a.txt", size=50)))
    assert all(part.plain for part in cut)
    assert sum(part.size for part in cut) == len(data)
    assert b"".join(map(read_bytes, cut)) == data[3:]
    (tmp_path / "b.txt").write_bytes(TEXT.encode("gb18030") * 9)
    assert not any(part.plain for part in parts(tmp_path / "b.txt", size=50))


def test_reports_add_up():
    one, two = Report(documents=1), Report(documents=2)
    one.note("broken_bytes", "a", 9, 2)
    two.note("broken_bytes", "a", 4)
    assert (one + two).lines() == ["3 broken bytes replaced in a (first at byte 4)"]
    assert (one + two).documents == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"errors": "ignore"},
        {"encoding": "utf8x"},
        {"encoding": "rot13"},
        {"document": "page"},
        {"format": "doc"},
        {"max_document_bytes": 0},
    ],
)
def test_unknown_settings_are_refused(settings):
    with pytest.raises(OptionError, match=next(iter(settings))):
        Reading(**settings)


def test_the_standard_library_is_enough_for_text(tmp_path):
    (tmp_path / "a.txt").write_text("好\n", encoding="utf-8")
    code = "from shoestring.files import documents, parts\n"
    code += f"list(documents({str(tmp_path)!r})); parts({str(tmp_path)!r})"
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    forbidden = {"torch", "transformers", "pyarrow", "numpy", "fsspec", "zstandard", "chardet"}
    assert not forbidden & set(done.stdout.split())
