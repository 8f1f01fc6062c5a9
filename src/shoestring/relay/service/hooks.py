"""Commands that run when something happens, in their own processes, told everything by environment.

- `RELAY_EVENT` success, failure or offline; `RELAY_WAN` and `RELAY_LAN` the interfaces; `RELAY_STATE`;
  `RELAY_STEP` of `RELAY_STEPS` logins; `RELAY_CLIENT` and `RELAY_SWITCH` addresses; `RELAY_KEEPALIVE`;
  `RELAY_DIALECT`; `RELAY_MESSAGE` the switch's words, printable; `RELAY_REASON` why the session ended.
- The command itself comes from the administrator alone; nothing from the network is part of it.
- The password, where it is in our environment, is not in theirs.
"""

from __future__ import annotations

import os

from shoestring.relay.settings.settings import PASSWORD
from shoestring.relay.vendors.ruijie import printable

MOST = 8  # commands at a time
LONGEST = 512  # characters of a value


class Hooks:
    """Starts commands and buries them when they end."""

    def __init__(self) -> None:
        self._running: dict[int, str] = {}

    def run(self, command: str, values: dict[str, str]) -> str | None:
        """Starts a shell command without waiting for it; returns what went wrong, or None."""
        if len(self._running) >= MOST:
            return f"{MOST} hooks are still running; left out: {command}"
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", command],
                environment(values),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
            )
        except OSError as error:
            return f"cannot run a hook: {error.strerror}"
        self._running[pid] = command
        return None

    def reap(self) -> list[str]:
        """Takes note of commands that have ended; returns a line for each that failed."""
        lines = []
        for pid, command in list(self._running.items()):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done, status = pid, 0
            if done:
                del self._running[pid]
                if status:
                    code = status >> 8 if not status & 0x7F else -(status & 0x7F)
                    lines.append(f"hook ended with {code}: {command}")
        return lines


def environment(values: dict[str, str]) -> dict[str, str]:
    """Returns our environment without the password, and the values as RELAY_NAME, printable and bounded."""
    kept = {name: value for name, value in os.environ.items() if name != PASSWORD}
    return {**kept, **{f"RELAY_{name}": printable(value)[:LONGEST] for name, value in values.items()}}
