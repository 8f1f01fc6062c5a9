"""Log lines to stderr or syslog, limited so that a flood of frames cannot become a flood of lines.

Each pair has its own limit, and its warnings have one of their own: noise hides no warning, neither another's.
"""

from __future__ import annotations

import os
import sys
import time

from shoestring.relay.service import sockets
from shoestring.relay.vendors.texts import printable

LEVELS = {"debug": 7, "info": 6, "warning": 4}  # syslog's severities
DAEMON = 3 << 3  # its facility
SYSLOG = "/dev/log"
BURST, PERIOD = 40, 10.0  # so many lines in so many seconds


class Journal:
    """Where log lines go.

    Args:
        target: `stderr` or `syslog` (the socket /dev/log; stderr while nobody listens there).
        level: the least important level that is written.
    """

    def __init__(self, target: str = "stderr", level: str = "info") -> None:
        self._least = LEVELS[level]
        self._syslog = target == "syslog"
        self._socket: sockets.Socket | None = None
        self._budgets: dict[
            tuple[str, bool], list[float]
        ] = {}  # (pair, is a warning) -> since when, how many

    def say(self, who: str, level: str, text: str) -> None:
        """Writes a line about the pair `who`."""
        severity = LEVELS[level]
        if severity > self._least or not self._may(who, severity):
            return
        self._write(severity, f"{who}: {printable(text)}")

    def _may(self, who: str, severity: int) -> bool:
        now = time.monotonic()
        budget = self._budgets.setdefault((who, severity <= LEVELS["warning"]), [now, 0])
        if now - budget[0] >= PERIOD:
            if budget[1] > BURST:
                self._write(severity, f"{who}: {budget[1] - BURST:.0f} more lines left out")
            budget[:] = now, 0
        budget[1] += 1
        return budget[1] <= BURST

    def _write(self, severity: int, line: str) -> None:
        if self._syslog and self._sent(
            f"<{DAEMON | severity}>shoestring-relay[{os.getpid()}]: {line}".encode()
        ):
            return
        try:
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody reads us; that is no reason to go off line

    def _sent(self, packet: bytes) -> bool:
        for _ in range(2):  # a syslogd that was restarted has a new socket
            try:
                if self._socket is None:
                    self._socket = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_DGRAM | sockets.SOCK_NONBLOCK)
                    self._socket.connect(SYSLOG)
                self._socket.send(packet)
                return True
            except OSError:
                if self._socket is not None:
                    self._socket.close()
                self._socket = None
        return False
