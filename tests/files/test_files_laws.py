"""However a file is cut, packed or encoded, the same documents come out, each once and in order."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import InputError
from shoestring.files import Reading, Report, documents, parts, read, read_bytes

zstandard = pytest.importorskip("zstandard")

characters = st.characters(
    exclude_categories=["Cs"]
)  # every character, LF, CR, NUL, NEL and U+FEFF among them
texts = st.text(st.one_of(characters, st.sampled_from("\n\r中𠀀é\ufeff")), min_size=1, max_size=200)
any_bytes = st.lists(
    st.one_of(
        st.binary(max_size=3), st.sampled_from([b"\n", b"\r\n", "中".encode(), b"\xe4\xb8", b"\x81\x30"])
    )
).map(b"".join)
ASCII_LF = ["utf-8", "gb18030"]
ENCODINGS = [*ASCII_LF, "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def lines_of(text: str) -> list[str]:
    """The rule of lines, by the standard library: `open(newline="\\n")` ends lines at LF only."""
    stripped = text.removeprefix("\ufeff")
    lines = list(io.StringIO(stripped, newline="\n"))
    lines = [line[:-1].removesuffix("\r") if line.endswith("\n") else line for line in lines]
    return [line for line in lines if line]


def all_of(sources, reading, report=None) -> list[str]:
    """`documents`, of nothing too."""
    found = []
    with suppress(InputError):
        found.extend(documents(sources, reading, report))
    return found


def in_parts(sources, reading, size) -> list[str]:
    return [text for part in parts(sources, reading, size) for text in read(part, reading)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("laws")


@given(text=texts, encoding=st.sampled_from(ENCODINGS), size=st.integers(1, 60))
@settings(max_examples=400, deadline=None)
def test_ranges_yield_every_document_once_in_order(folder, text, encoding, size):
    path, reading = folder / "a.txt", Reading(encoding=encoding)
    data = text.encode(encoding)
    path.write_bytes(data)
    wanted = lines_of(data.decode(encoding))
    assert all_of(path, reading) == wanted
    assert in_parts(path, reading, size) == wanted


@given(data=any_bytes.filter(bool), size=st.integers(1, 40), encoding=st.sampled_from(ASCII_LF))
@settings(max_examples=400, deadline=None)
def test_ranges_of_broken_text_agree_with_the_whole_in_every_count(folder, data, size, encoding):
    path = folder / "b.txt"
    path.write_bytes(data)
    for errors in ("replace", "skip"):
        reading, whole, cut = Reading(encoding=encoding, errors=errors), Report(), Report()
        wanted = all_of(path, reading, whole)
        assert [text for part in parts(path, reading, size) for text in read(part, reading, cut)] == wanted
        assert cut == whole
        if encoding == "utf-8" and errors == "replace":
            assert wanted == lines_of(data.decode("utf-8", "replace"))


@given(data=any_bytes.filter(bool), size=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_bytes_of_plain_parts_are_the_file_in_complete_lines(folder, data, size):
    path = folder / "c.txt"
    path.write_bytes(data)
    pieces = [read_bytes(part) for part in parts(path, Reading(encoding="utf-8"), size)]
    assert b"".join(pieces) == data.removeprefix(b"\xef\xbb\xbf")
    filled = [piece for piece in pieces if piece]
    assert all(piece.endswith(b"\n") for piece in filled[:-1])


def packed(data: bytes, ending: str) -> bytes:
    if ending in PACK:
        return PACK[ending](data)
    held = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("a.txt", data)
    else:
        with tarfile.open(fileobj=held, mode="w") as archive:
            info = tarfile.TarInfo("a.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


@given(text=texts, encoding=st.sampled_from(ENCODINGS), ending=st.sampled_from([*PACK, ".zip", ".tar"]))
@settings(max_examples=200, deadline=None)
def test_packing_changes_nothing(folder, text, encoding, ending):
    data, reading = text.encode(encoding), Reading(encoding=encoding)
    (folder / "d.txt").write_bytes(data)
    path = folder / (f"d{ending}" if ending in (".zip", ".tar") else f"d.txt{ending}")
    path.write_bytes(packed(data, ending))
    assert all_of(path, reading) == all_of(folder / "d.txt", reading)


@given(text=texts, broken=st.integers(0, 10**6), ending=st.sampled_from(list(PACK)))
@settings(max_examples=200, deadline=None)
def test_salvage_keeps_a_beginning_of_whole_lines(folder, text, broken, ending):
    data = PACK[ending](text.encode() * 20)
    path = folder / f"e.txt{ending}"
    path.write_bytes(data[: 1 + broken % (len(data) - 1)])
    kept = all_of(path, Reading(encoding="utf-8", salvage=True))
    assert kept == lines_of(text * 20)[: len(kept)]


@given(records=st.lists(st.text(max_size=20), min_size=1), size=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_ranges_of_jsonl_yield_every_document_once(folder, records, size):
    path = folder / "f.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=size % 2 == 0) + "\n" for text in records]
    path.write_text("".join(lines), encoding="utf-8")
    reading = Reading(encoding="utf-8")
    assert in_parts(path, reading, size) == all_of(path, reading) == [text for text in records if text]


@given(text=texts)
@settings(max_examples=100, deadline=None)
def test_a_limit_refuses_exactly_the_longer_lines(folder, text):
    path = folder / "g.txt"
    path.write_bytes(text.encode())
    reading = Reading(encoding="utf-8", max_document_bytes=8, errors="skip")
    raw = text.removeprefix("\ufeff").encode().split(b"\n")
    wanted = [line for line in lines_of(text) if len(line.encode()) < 8]
    long, report = sum(len(line) > 8 for line in raw), Report()
    found = list(documents(path, reading, report)) if wanted else []
    assert [line for line in found if len(line.encode()) < 8] == wanted
    assert not wanted or report.skipped == long
