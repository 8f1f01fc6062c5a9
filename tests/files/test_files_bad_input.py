"""What is wrong with the data is said in one clear line; nothing hangs, and memory stays bounded."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import tracemalloc
import zipfile

import pytest

from shoestring._errors import InputError
from shoestring.files import Reading, Report, documents, parts, read, read_bytes

zstandard = pytest.importorskip("zstandard")
COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
LINES = [f"line {number} 中文 {number * 7919 % 10007}" for number in range(20_000)]
DATA = "\n".join(LINES).encode()
LONG = 200 << 20


def refused(sources, reading=None) -> str:
    with pytest.raises(InputError) as caught:
        list(documents(sources, reading))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_and_close_names(tmp_path):
    (tmp_path / "corpus.txt").write_text("a")
    assert refused(tmp_path / "corpsu.txt").endswith(f"did you mean {tmp_path}/corpus.txt?")
    assert "the folder" in refused(tmp_path / "none" / "a.txt")
    assert "no file matches this pattern" in refused(f"{tmp_path}/*.csv")


def test_an_empty_file_has_no_document(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("\n\n")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b""))
    for name in ("a.txt", "b.txt", "c.txt.gz", ""):
        assert "no document in there" in refused(tmp_path / name)
    with pytest.raises(InputError, match="no document in there"):
        parts(tmp_path / "a.txt")
    (tmp_path / "d.txt").write_text("x")
    assert list(documents(tmp_path)) == ["x"]


def test_a_folder_without_text(tmp_path):
    for name in ("a.png", "b.png", "c.npy"):
        (tmp_path / name).write_bytes(b"\x89\0\1")
    assert "no text in this folder, only 2 .png, 1 .npy; files that end in .txt" in refused(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "only nothing" in refused(tmp_path / "empty")


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_truncated_end(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    data = COMPRESS[ending](DATA)
    path.write_bytes(data[: len(data) * 2 // 3])
    assert f"{path}: the {ending} data end early, after" in refused(path)
    report = Report()
    kept = list(documents(path, Reading(salvage=True), report))
    assert kept == LINES[: len(kept)]
    assert kept or ending in (".bz2", ".xz", ".zst")
    assert report.truncated == 1
    assert "1 damaged end given up" in report.lines()[0]


def test_salvage_keeps_what_the_standard_library_can_still_read(tmp_path):
    path = tmp_path / "a.txt.gz"
    data = gzip.compress(DATA)
    path.write_bytes(data[: len(data) * 2 // 3])
    readable = []
    with pytest.raises(EOFError), gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        readable.extend(file)
    kept = list(documents(path, Reading(salvage=True)))
    assert len(kept) >= len(readable) - 1 > 1000


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_wrong_byte_or_check_sum(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    pack = zstandard.ZstdCompressor(write_checksum=True).compress if ending == ".zst" else COMPRESS[ending]
    data = bytearray(pack(DATA))
    at = -6 if ending == ".gz" else -2 if ending == ".zst" else len(data) // 2
    data[at] ^= 255
    path.write_bytes(data)
    assert f"the {ending} data are damaged" in refused(path)
    report = Report()
    kept = list(documents(path, Reading(salvage=True), report))
    noticed = 8_000 if ending == ".xz" else len(kept)  # its check comes at the end of the block
    assert kept[:noticed] == LINES[:noticed]
    assert report.truncated == 1
    assert ending != ".gz" or len(kept) > 19_000


@pytest.mark.parametrize("ending", COMPRESS)
def test_junk_after_the_end_but_not_padding(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(COMPRESS[ending](DATA + b"\n") + b"junk at the tail")
    assert f"something else follows the end of the {ending} data" in refused(path)
    assert list(documents(path, Reading(salvage=True))) == LINES
    path.write_bytes(COMPRESS[ending](DATA) + bytes(1024))
    assert list(documents(path)) == LINES


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_is_not_compressed_at_all(tmp_path, ending):
    (tmp_path / f"a.txt{ending}").write_bytes(b"just text")
    assert "damaged" in refused(tmp_path / f"a.txt{ending}")


def test_broken_archives(tmp_path):
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.parquet"):
        (tmp_path / name).write_bytes(b"not an archive at all")
        assert str(tmp_path / name) in refused(tmp_path / name)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(DATA)
        archive.addfile(info, io.BytesIO(DATA))
    (tmp_path / "cut.tar").write_bytes(held.getvalue()[:100_000])
    assert "damaged" in refused(tmp_path / "cut.tar")
    kept = list(documents(tmp_path / "cut.tar", Reading(salvage=True)))
    assert kept == LINES[: len(kept)]
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", DATA)
    data = bytearray((tmp_path / "b.zip").read_bytes())
    data[1000] ^= 1
    (tmp_path / "b.zip").write_bytes(data)
    assert "b.zip/a.txt: the archive is damaged (Bad CRC-32" in refused(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.csv", "id,body\n1,x\n"), ("a.tsv", "id\tbody\n1\tx\n"), ("a.jsonl", '{"id": "1", "body": "x"}\n')],
)
def test_a_wrong_column_lists_the_columns(tmp_path, name, data):
    (tmp_path / name).write_text(data)
    assert refused(tmp_path / name, Reading(field="bdoy")).split(";")[1] == " there are: id, body"
    assert "say field=...; there are: id, body" in refused(tmp_path / name)


def test_an_unclosed_quote_is_found_before_memory_is_full(tmp_path):
    (tmp_path / "a.csv").write_text('text\n"open\n' + "x\n" * 100_000)
    message = refused(tmp_path / "a.csv", Reading(max_document_bytes=10_000))
    assert "is not closed within 10,000 characters; is it missing?" in message


def test_a_line_of_200_megabytes_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.write(b"short\n")
        file.truncate(LONG)  # a sparse file: zeros to the end
    tracemalloc.start()
    message = refused(path, Reading(max_document_bytes=8 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "long.txt: line 2: the line is longer than max_document_bytes=8,388,608; raise that" in message
    assert peak < 24 << 20
    cut = parts(path, Reading(encoding="utf-8"), size=1 << 20)
    assert [(part.start, part.stop) for part in cut] == [
        (0, LONG)
    ]  # a long line is cut by nobody, read by one
    with pytest.raises(InputError, match="longer than max_document_bytes"):
        list(read(cut[0]))
    with pytest.raises(InputError, match="longer than max_document_bytes"):
        read_bytes(cut[0])


def test_an_over_long_line_can_be_dropped(tmp_path):
    path = tmp_path / "long.txt"
    path.write_bytes(b"a\n" + b"x" * (3 << 20) + b"\nb\n\xff\n")
    report = Report()
    reading = Reading(encoding="utf-8", max_document_bytes=1 << 20, errors="skip")
    assert list(documents(path, reading, report)) == ["a", "b"]
    assert report.places["skipped", str(path)] == (2, 2)
    with pytest.raises(InputError, match="line 4"):
        list(documents(path, Reading(encoding="utf-8", errors="strict")))


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_an_unreadable_file_and_folder(open_folder, as_nobody):
    secret, folder = open_folder / "secret.txt", open_folder / "folder"
    secret.write_text("x")
    folder.mkdir()
    secret.chmod(0)
    folder.chmod(0)
    with as_nobody():
        for path in (secret, folder):
            assert refused(path) == f"{path}: cannot be read: Permission denied"
    folder.chmod(0o700)  # so that its owner can remove it


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"printf 'a\\nb\\n' > '{tmp_path}/pipe'"])
    assert [text for part in parts(tmp_path / "pipe") for text in read(part)] == ["a", "b"]
    writer.wait()


def test_a_folder_of_many_small_files_is_read_whole(tmp_path):
    for number in range(5_000):
        (tmp_path / f"{number:05}.txt").write_bytes(b"x\n")
    assert sum(1 for _ in documents(tmp_path)) == 5_000
    assert len(parts(tmp_path)) == 5_000
