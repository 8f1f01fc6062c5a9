"""Folders as they are found: links to nothing, links in a circle, a thousand levels deep; lines as long as files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import pytest

from shoestring._errors import InputError
from shoestring.files import Reading, Report, documents, parts, read

cutting = sys.modules["shoestring.files.parts"]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_to_nothing_is_left_out_and_named(tmp_path):
    (tmp_path / "a.txt").write_text("一\n", encoding="utf-8")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / "again").symlink_to(tmp_path)
    report = Report()
    assert list(documents(tmp_path, report=report)) == ["一"]
    assert report.lines() == [f"{tmp_path}/gone.txt: a link to nothing, left out"]
    report = Report()
    assert len(parts(tmp_path, report=report)) == 1
    assert report.links == 1
    with pytest.raises(InputError, match=r"gone\.txt: "):
        list(documents(tmp_path / "gone.txt"))  # who names it wants it


@pytest.mark.skipif(sys.platform != "linux", reason="a path of 3,000 characters")
def test_folders_1500_deep(tmp_path):
    top = tmp_path / "top"
    deepest = str(top)
    try:
        for _ in range(1500):
            os.mkdir(deepest)
            deepest += "/d"
        with open(f"{deepest[:-2]}/a.txt", "wb") as file:
            file.write(b"deep\n")
        assert list(documents(top)) == ["deep"]
    finally:  # what is this deep is beyond shutil.rmtree, and so beyond pytest's own cleaning
        subprocess.run(["rm", "-rf", str(top)], check=True)


def test_every_byte_is_looked_at_twice_at_most_however_long_the_lines_are(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3_000_000 + b"\n" + b"short\n" * 9 + b"y" * 1_000_000)
    looked = 0

    class Counted:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def read(self, size=-1):
            nonlocal looked
            data = self.file.read(size)
            looked += len(data)
            return data

    real = cutting.opened

    class Opened:
        def __init__(self, path):
            self.opening = real(path)

        def __enter__(self):
            return Counted(self.opening.__enter__())

        def __exit__(self, *error):
            return self.opening.__exit__(*error)

    monkeypatch.setattr(cutting, "opened", Opened)
    reading = Reading(encoding="utf-8", max_document_bytes=None)
    cut = parts(path, reading, size=10_000)
    found = [text for part in cut for text in read(part, reading)]
    assert found == ["x" * 3_000_000, *["short"] * 9, "y" * 1_000_000]
    assert looked < 2.5 * path.stat().st_size
    assert sum(part.size for part in cut) == path.stat().st_size


class Forwards:
    """A pipe: members written to it have their lengths behind them."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data
        return len(data)

    def flush(self):
        pass

    getvalue = property(lambda self: lambda: self.data)


@pytest.mark.parametrize(("method", "target"), [
    (zipfile.ZIP_STORED, io.BytesIO), (zipfile.ZIP_DEFLATED, io.BytesIO), (zipfile.ZIP_DEFLATED, Forwards),
])  # fmt: skip
def test_salvage_keeps_what_a_cut_zip_begins_with(tmp_path, method, target):
    lines = [f"第{number}行，{number * number}" for number in range(2000)]
    target = target()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name in ("a.txt", "b.txt", "picture.png.gz", "c.txt"):
            archive.writestr(name, "\n".join(lines) + "\n")
    whole, path = target.getvalue(), tmp_path / "cut.zip"
    for kept in (len(whole), len(whole) - 30, len(whole) * 2 // 3, len(whole) // 3, len(whole) // 9):
        path.write_bytes(whole[:kept])
        report, reading = Report(), Reading(encoding="utf-8", salvage=True)
        found = list(documents(path, reading, report))
        assert [text for part in parts(path, reading) for text in read(part, reading)] == found
        assert found == (lines * 3)[: len(found)]
        assert len(found) > min(1, kept / len(whole)) * 6000 - 2600
        assert bool(report.truncated) == (kept < len(whole))
    with pytest.raises(InputError, match="not a sound zip"):
        list(documents(path, Reading(encoding="utf-8")))
