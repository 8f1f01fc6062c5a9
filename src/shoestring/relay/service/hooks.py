"""Commands that run when something happens, in their own processes, told everything by environment.

- `RELAY_EVENT` success, failure, offline or doubt; `RELAY_WAN` and `RELAY_LAN` the interfaces; `RELAY_STATE`;
  `RELAY_STEP` of `RELAY_STEPS` logins; `RELAY_CLIENT` and `RELAY_SWITCH` addresses; `RELAY_KEEPALIVE`;
  `RELAY_DIALECT`; `RELAY_MESSAGE` and `RELAY_ACCOUNTING` the switch's words, printable; `RELAY_REASON` why the session
  ended or is doubted.
- Those of one pair run one after the other in the order of their events; one that takes more than `PATIENCE` seconds
  is not waited for any longer.
- The command itself comes from the administrator alone; nothing from the network is part of it.
- The password, where it is in our environment, is not in theirs.
"""

from __future__ import annotations

import os
import time

from shoestring.relay.containers import deque
from shoestring.relay.service.sockets import signals
from shoestring.relay.vendors.texts import printable

MOST = 8  # commands of one pair that wait or run
LONGEST = 512  # characters of a value
PATIENCE = 60.0  # seconds
PASSWORD = "RELAY_PASSWORD"


class Hooks:
    """Starts commands in order and buries them when they end."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[str, str]] = {}  # process -> whose, command
        self._waiting: dict[str, deque] = {}  # whose -> commands to come
        self._first: dict[
            str, tuple[int, float]
        ] = {}  # whose -> the process that the others wait for, until when

    @property
    def deadline(self) -> float | None:
        """When `reap` wants to be called though nothing has ended, on the monotonic clock."""
        return min((until for who, (_, until) in self._first.items() if self._waiting[who]), default=None)

    def run(self, command: str, values: dict[str, str], who: str = "") -> str | None:
        """Starts a shell command when those before it have ended; returns what went wrong, or None."""
        waiting = self._waiting.setdefault(who, deque())
        if len(waiting) + (who in self._first) >= MOST:
            return f"{MOST} hooks are still running or waiting; left out: {command}"
        waiting.append((command, environment(values)))
        return self._next(who)

    def _next(self, who: str) -> str | None:
        """Starts the next command of a pair, unless one is to be waited for."""
        waiting = self._waiting[who]
        if who in self._first or not waiting:
            return None
        command, values = waiting.popleft()
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", command],
                values,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
                setsigdef=[signals.SIGPIPE, signals.SIGXFSZ],  # which Python ignores, and a shell must not
            )
        except OSError as error:
            return f"cannot run a hook: {error.strerror}"
        self._running[pid] = (who, command)
        self._first[who] = (pid, time.monotonic() + PATIENCE)
        return None

    def reap(self) -> list[str]:
        """Takes note of commands that have ended, and starts the next; returns a line for each that failed."""
        lines = []
        for pid, (_, command) in list(self._running.items()):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done, status = pid, 0
            if done:
                del self._running[pid]
                if status:
                    code = status >> 8 if not status & 0x7F else -(status & 0x7F)
                    lines.append(f"hook ended with {code}: {command}")
        now = time.monotonic()
        for who, (pid, until) in list(self._first.items()):
            if pid in self._running and now < until:
                continue
            if pid in self._running and self._waiting[who]:
                lines.append(
                    f"hook still runs after {PATIENCE:g} s, the next begins: {self._running[pid][1]}"
                )
            elif pid in self._running:
                continue
            del self._first[who]
            problem = self._next(who)
            lines += [problem] if problem else []
        return lines


def environment(values: dict[str, str]) -> dict[str, str]:
    """Returns our environment without the password, and the values as RELAY_NAME, printable and bounded."""
    kept = {name: value for name, value in os.environ.items() if name != PASSWORD}
    return {**kept, **{f"RELAY_{name}": printable(value)[:LONGEST] for name, value in values.items()}}
