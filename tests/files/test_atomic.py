"""An output is complete or not there, and what was there before stays until then."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import OptionError, OutputError
from shoestring.files import atomic, atomic_folder

root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root")


def fail(target, chunks, error, folder):
    if folder:
        with atomic_folder(target, overwrite=True) as draft:
            (draft / "data").write_bytes(b"".join(chunks))
            raise error
    with atomic(target, "wb") as file:
        file.writelines(chunks)
        raise error


class Stop(BaseException):
    """Not an Exception, like Ctrl-C."""


@given(
    old=st.binary(max_size=50) | st.none(),
    chunks=st.lists(st.binary(max_size=50)),
    error=st.sampled_from([ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, Stop, MemoryError]),
    folder=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_exception_leaves_the_old_target(tmp_path_factory, old, chunks, error, folder):
    place = tmp_path_factory.mktemp("atomic")
    target = place / "out"
    inner = target / "data" if folder else target
    if old is not None:
        inner.parent.mkdir(exist_ok=True)
        inner.write_bytes(old)
    with pytest.raises(error):
        fail(target, chunks, error, folder)
    assert (inner.read_bytes() if inner.exists() else None) == old
    assert [each.name for each in place.iterdir()] == ([] if old is None else ["out"])


def test_the_new_file_has_the_old_ones_mode_or_the_usual_one(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    with atomic(tmp_path / "new") as file:
        file.write("中\n")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new").read_bytes() == "中\n".encode()
    assert (tmp_path / "new").stat().st_mode == usual.stat().st_mode
    usual.chmod(0o640)
    with atomic(usual, "wb") as file:
        file.write(b"x")
    assert usual.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link_and_a_device_is_written_to(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with atomic("/dev/null") as file:
        file.write("gone")


def test_a_folder_is_replaced_only_when_told(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    with atomic_folder(target) as draft:
        (draft / "a").write_text("1")
    with pytest.raises(OutputError, match="exists and is not empty"), atomic_folder(target):
        pytest.fail("the block must not run")
    with atomic_folder(target, overwrite=True) as draft:
        (draft / "b").write_text("2")
        assert (target / "a").exists()
    assert [each.name for each in target.iterdir()] == ["b"]
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_what_must_not_be_overwritten(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"), atomic_folder(tmp_path / "file", overwrite=True):
        pass
    monkeypatch.chdir(tmp_path)
    for target in (".", tmp_path.parent):
        with pytest.raises(OutputError, match="current folder"), atomic_folder(target, overwrite=True):
            pass
    with pytest.raises(OutputError, match="is a folder"), atomic(tmp_path):
        pass
    with pytest.raises(OptionError, match="mode='a'"), atomic("b", "a"):
        pass
    assert (tmp_path / "file").read_text() == "x"


def test_a_missing_parent_is_one_line(tmp_path):
    for writing in (atomic, atomic_folder):
        with (
            pytest.raises(OutputError, match="its folder does not exist; create it first"),
            writing(tmp_path / "none" / "out"),
        ):
            pass


def test_errors_of_the_callers_own_reading_are_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "out"):
        (tmp_path / "missing").read_text()


def test_no_permission_is_one_line(open_folder, as_nobody):
    place = open_folder / "closed"
    place.mkdir(mode=0o555)
    open_folder.chmod(0o777)
    (open_folder / "closed.txt").write_text("old")
    (open_folder / "closed.txt").chmod(0o444)
    with as_nobody():
        for writing in (atomic, atomic_folder):
            with (
                pytest.raises(OutputError, match=r"closed/out: cannot be written: Permission denied$"),
                writing(place / "out"),
            ):
                pass
        with (
            pytest.raises(OutputError, match=r"closed.txt: cannot be written: no permission to write it$"),
            atomic(open_folder / "closed.txt"),
        ):
            pass
    assert (open_folder / "closed.txt").read_text() == "old"


@root
def test_a_full_disk_is_one_line_and_leaves_the_old_target(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no right to mount")
    try:
        (disk / "out").write_text("old")
        with (
            pytest.raises(OutputError, match="out: cannot be written: No space left on device"),
            atomic(disk / "out", "wb") as file,
        ):
            file.write(bytes(1 << 20))
        with (
            pytest.raises(OutputError, match="No space left on device"),
            atomic_folder(disk / "model") as folder,
        ):
            (folder / "weights").write_bytes(bytes(1 << 20))
        assert (disk / "out").read_text() == "old"
        assert [each.name for each in disk.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_another_file_system_is_no_obstacle():
    from pathlib import Path

    place = Path("/dev/shm")
    if not place.is_dir():
        pytest.skip("no second file system")
    target = place / f"shoestring-{os.getpid()}"
    try:
        with atomic(target) as file:
            file.write("x")
        assert target.read_text() == "x"
    finally:
        target.unlink(missing_ok=True)
