"""What a restart needs to keep the sessions, in one small JSON file: `--state FILE`.

- It is mode 0600, written beside its place, synced and renamed; one that others may read or write is refused.
- No password and no hash is in it: Ruijie's hashes are blanked out of the PC's frames first.
- It tells what was proven, not that it still is: a session that begins with it doubts it until the switch gives a sign.
"""

from __future__ import annotations

import os
import stat
import time

from shoestring.relay.service import json_text, pcap
from shoestring.relay.service.files import write_private
from shoestring.relay.session.session import Session

LARGEST = 1 << 20  # bytes
FORMAT = 1


class StateError(ValueError):
    """The state file cannot be used; one line for the user."""


class StateFile:
    """The file of one process.

    Args:
        path: of the file.

    Raises:
        StateError: others may read or write it, or it is not one.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._written: dict[str, int] = {}
        self._found = _read(path)

    def restore(self, name: str, session: Session, now: float) -> str | None:
        """Gives a session what an earlier process knew of that pair; returns a line for the log, or None."""
        found = self._found.get("pairs", {}).get(name)
        if found is None:
            return None
        try:
            session.restore(found, now, max(0.0, time.time() - float(self._found["saved"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"{self._path} is of no use here and is left out: {error!r}"
        return "going on with the session of an earlier process"

    def save(self, sessions: dict[str, Session], now: float) -> None:
        """Writes the file where a session has changed.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        revisions = {name: session.revision for name, session in sessions.items()}
        if revisions == self._written:
            return
        self._written = revisions
        pairs = {name: session.snapshot(now, pcap.redact) for name, session in sessions.items()}
        whole = {"format": FORMAT, "saved": time.time(), "pairs": pairs}
        write_private(self._path, json_text.write(whole), sync=True)


def _read(path: str) -> dict:
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(LARGEST)
    except FileNotFoundError:
        return {}
    if not stat.S_ISREG(found.st_mode) or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StateError(
            f"{path}: mode {found.st_mode & 0o777:o}, others may read or change it; type: chmod 600 {path}"
        )
    try:
        state = json_text.read(data) if data else {}
        if not isinstance(state, dict) or state.get("format", FORMAT) != FORMAT:
            raise ValueError
    except ValueError:
        raise StateError(f"{path}: not a state of this relay; give another --state, or remove it") from None
    return state
