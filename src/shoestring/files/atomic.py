"""Outputs that are either complete or not there: written beside the target, flushed to disk, renamed.

Whatever goes wrong (an error, Ctrl-C, a full disk), the target stays what it was and the draft goes.
The draft lies in the target's own folder, so the rename never crosses file systems.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any

from shoestring._errors import OptionError, OutputError

_OF_THE_TARGET = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def atomic(path: str | Path, mode: str = "w", **open_kwargs: Any) -> Iterator[IO[Any]]:
    """Opens a file for writing that replaces `path` when the block ends without an error.

    Text is UTF-8 with LF line ends unless told otherwise. A link is followed; a device or pipe is written to.

    Args:
        path: the target; its folder must exist.
        mode: `"w"` or `"wb"`.
        open_kwargs: passed to `open`.

    Raises:
        OutputError: no such folder, no permission, no space.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "counts.tsv")
    >>> with atomic(target) as file:
    ...     _ = file.write("我们 1")
    >>> target.read_text(encoding="utf-8")
    '我们 1'
    """
    if mode not in ("w", "wb", "wt"):
        raise OptionError(f"mode={mode!r}: an atomic file is opened with 'w' or 'wb'")
    if "b" not in mode:
        open_kwargs = {"encoding": "utf-8", "newline": "\n", **open_kwargs}
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        with _reported(path), open(target, mode, **open_kwargs) as file:
            yield file
        return
    with _reported(path, always=True):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if target.exists() and not os.access(
            target, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            raise PermissionError(errno.EACCES, "no permission to write it")
        draft = _beside(target, "part")
        file = open(draft, mode.replace("w", "x"), **open_kwargs)  # noqa: SIM115 - closed in two ways below
    try:
        with _reported(path):
            yield file
        with _reported(path, always=True):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if target.exists():
                os.chmod(draft, stat.S_IMODE(target.stat().st_mode))
            os.replace(draft, target)
            sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            draft.unlink()
        raise


def forget_drafts(path: str | Path) -> None:
    """Removes what processes that were killed while they wrote `path` have left beside it; none may be writing now."""
    target = Path(os.path.realpath(path))
    for each in target.parent.glob(f".{escape(target.name[:100])}.????????.part"):
        with suppress(OSError):
            each.unlink()


@contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty folder that becomes `path` when the block ends without an error.

    Args:
        path: the target; the folder around it must exist.
        overwrite: replace a folder that has something in it; the old one stays until the new is in place.

    Raises:
        OutputError: the target is a file, or a folder that is not empty, or cannot be written.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "model")
    >>> with atomic_folder(target) as folder:
    ...     _ = (folder / "config.json").write_text("{}")
    >>> [each.name for each in target.iterdir()]
    ['config.json']
    """
    target = Path(os.path.realpath(path))
    with _reported(path, always=True):
        _refuse(target, path, overwrite)
        draft = _beside(target, "part")
        draft.mkdir()
    try:
        with _reported(path):
            yield draft
        with _reported(path, always=True):
            _refuse(target, path, overwrite)
            flush(draft)
            _swap(draft, target)
    except BaseException:
        _remove(draft)
        raise


def flush(folder: Path) -> None:
    """Waits until all that is in a folder has reached the disk.

    Raises:
        OSError: it cannot.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            with open(Path(place, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def _swap(draft: Path, target: Path) -> None:
    if not target.exists():
        os.rename(draft, target)
    else:
        old = _beside(target, "old")
        os.rename(target, old)
        try:
            os.rename(draft, target)
        except BaseException:
            os.rename(old, target)
            raise
        _remove(old)
    sync_folder(target.parent)


def _remove(folder: Path) -> None:
    import shutil  # with zlib, bz2 and lzma, it takes as long as writing a table

    shutil.rmtree(folder, ignore_errors=True)


def _refuse(target: Path, path: str | Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{path}: is a file, and a folder is to be written there; choose another name")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise OutputError(f"{path}: exists and is not empty; choose another name, or overwrite it")
        here = Path.cwd().resolve()
        if target == here or target in here.parents:
            raise OutputError(f"{path}: is the current folder or one around it, and will not be overwritten")


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.{ending}")


def sync_folder(folder: Path) -> None:
    """Waits until a folder's own entries, such as a rename in it, have reached the disk."""
    with suppress(OSError):  # some systems cannot flush a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _reported(path: str | Path, always: bool = False) -> Iterator[None]:
    """Makes the system's errors about the target ours; in the caller's block only those of a full disk."""
    try:
        yield
    except OSError as error:
        if not always and error.errno not in _OF_THE_TARGET:
            raise
        missing = isinstance(error, FileNotFoundError) and not Path(os.path.realpath(path)).parent.exists()
        why = "its folder does not exist; create it first" if missing else error.strerror or error
        raise OutputError(f"{path}: cannot be written: {why}") from error
