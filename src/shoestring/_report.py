"""Whatever goes wrong, the user gets one line and an exit code: ours, the system's, and what nobody thought of.

- 0 done, 1 an error, 2 wrong usage, 130 interrupted. `--debug` shows the traceback instead.
- A reader of our output that goes away (`| head`) ends the command in silence.
- A stdout that cannot show a character (GBK, cp1252, ASCII) gets its escape instead of an exception.

Standard library only: `shoestring --help` goes through here.
"""

from __future__ import annotations

import os
import sys

from shoestring._errors import ShoestringError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as the rest
    from types import FrameType
    from typing import NoReturn

PACKAGE = os.path.dirname(os.path.abspath(__file__))


class reported:
    """Turns every exception of its block into one line on stderr and an exit code; not under `debug`.

    A class rather than a generator: `contextlib` alone takes a quarter of the time of `shoestring --help`.
    """

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug

    def __enter__(self) -> None:
        """Begins the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Leaves in one line if there is something to tell."""
        if isinstance(error, BrokenPipeError):
            forget_stdout()
            sys.exit(0)
        if isinstance(error, Exception | KeyboardInterrupt) and not self.debug:
            leave(*line_of(error))


def line_of(error: BaseException) -> tuple[str, int]:
    """Returns what the user is told, and the exit code.

    >>> line_of(MemoryError())[0]
    'MemoryError: the memory of this machine does not suffice; give less at a time, or see the options with --help'
    """
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted: nothing half-written was left behind", 130
    if isinstance(error, ShoestringError):
        return f"{type(error).__name__}: {error}", 1
    if isinstance(error, OSError) and error.errno is not None:
        return f"OutputError: {_system(error)}", 1
    if isinstance(error, MemoryError) or "not enough memory" in str(error):
        what = (
            "the memory of this machine does not suffice; give less at a time, or see the options with --help"
        )
        return f"MemoryError: {what}", 1
    name, first = type(error).__name__, (str(error).strip().splitlines() or ["no message"])[0]
    return (
        f"Unexpected {name}{_place(error)}: {first}; run again with --debug and tell us, with what "
        "`shoestring env` prints",
        1,
    )


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C: an exception as ever, but an end at once while torch is imported.

    Its C++ parts run Python then, and an exception that comes out of it there aborts the process.
    """
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__", "").startswith("torch"):
            os.write(2, b"Interrupted: nothing had begun\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def leave(line: str, code: int) -> NoReturn:
    """Prints the line on stderr and exits."""
    try:
        print(" ".join(line.split("\n")) if code != 2 else line, file=sys.stderr, flush=True)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError, OSError):
        forget_stdout()
    sys.exit(code)


def forget_stdout() -> None:
    """Points stdout at nothing, so that Python's last flush has no complaint."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return


def escape_what_cannot_be_shown() -> None:
    """Lets stdout and stderr write `\\u2014` where their encoding lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):  # a stream of the caller's own
            continue


def _system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    import errno

    what = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        what += "; make room and run the same command again"
    return f"{where}{what}"


def _place(error: BaseException) -> str:
    """Returns where in the package it happened."""
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = os.path.relpath(frame.filename, PACKAGE)
        if not path.startswith("..") and path not in ("_report.py", "ui.py", "cli.py"):
            return f" in {path.replace(os.sep, '/')}:{frame.lineno}"
    return ""
