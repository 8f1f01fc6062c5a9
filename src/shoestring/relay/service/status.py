"""The status socket: a process asks `status` or `frames` over a UNIX socket and gets JSON or a capture file.

Bounded on both sides: a few visitors at a time, one short question each, and nothing ever waits for them.
"""

from __future__ import annotations

import errno
import os
import select
import stat

from shoestring.relay.service import sockets
from shoestring.relay.service.files import remove

TYPE_CHECKING = False
if TYPE_CHECKING:  # `collections` takes 0.5 MB
    from collections.abc import Callable

MOST = 4  # visitors at a time
QUESTION = 32  # bytes


class StatusError(OSError):
    """There is no relay to ask, or there is one already; one line for the user."""


class Desk:
    """The listening end.

    Args:
        path: of the socket; made with mode 0600.
        poll: the epoll that the owner waits on.
        answers: question -> function that returns the bytes of the answer.

    Raises:
        StatusError: another relay answers there.
        OSError: the socket cannot be made.
    """

    def __init__(self, path: str, poll: select.epoll, answers: dict[bytes, Callable[[], bytes]]) -> None:
        self._path, self._poll, self._answers = path, poll, answers
        self._visitors: dict[int, tuple[sockets.Socket, bytearray]] = {}
        _clear(path)
        self.socket = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.socket.setblocking(False)
        before = os.umask(0o177)
        try:
            self.socket.bind(path)
        finally:
            os.umask(before)
        self._made = os.stat(path).st_ino
        self.socket.listen(64)

    def fileno(self) -> int:
        """The listening socket's number."""
        return self.socket.fileno()

    def serves(self, number: int) -> bool:
        """Whether that file number is a visitor's."""
        return number in self._visitors

    def welcome(self) -> None:
        """Takes a new visitor in; the oldest leaves where there are too many."""
        try:
            visitor, _ = self.socket.accept()
        except OSError:
            return
        if len(self._visitors) >= MOST:
            self._dismiss(next(iter(self._visitors)))
        visitor.setblocking(False)
        self._visitors[visitor.fileno()] = (visitor, bytearray())
        self._poll.register(visitor.fileno(), select.EPOLLIN)

    def attend(self, number: int) -> None:
        """Reads a visitor's question, or goes on with the answer."""
        visitor, answer = self._visitors[number]
        try:
            if not answer:
                question = visitor.recv(QUESTION).strip()
                answer += self._answers.get(question, lambda: b"")()
                self._poll.modify(number, select.EPOLLOUT)
            del answer[: visitor.send(answer)]
        except BlockingIOError:
            return
        except OSError:
            answer.clear()
        if not answer:
            self._dismiss(number)

    def _dismiss(self, number: int) -> None:
        visitor, _ = self._visitors.pop(number)
        self._poll.unregister(number)
        visitor.close()

    def close(self) -> None:
        """Stops listening and removes the socket, where we still may."""
        for number in list(self._visitors):
            self._dismiss(number)
        self.socket.close()
        try:
            if os.stat(self._path).st_ino == self._made:  # else another relay's by now
                os.unlink(self._path)
        except OSError:  # we may no longer, or it is gone
            return


def _clear(path: str) -> None:
    """Removes the socket of a relay that is no more; nothing else is ever removed, and no relay that is slow.

    Raises:
        StatusError: something else bears that name, or somebody listens there.
    """
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise StatusError(errno.EEXIST, "is no socket and is left alone; give another --socket", path)
    with sockets.Socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(path)
        except ConnectionRefusedError:  # nobody listens; whoever is only slow or busy does
            remove(path)
            return
        except OSError:
            pass
    raise StatusError(errno.EADDRINUSE, "another relay is running; stop it or give another --socket", path)


def ask(path: str, question: str, timeout: float = 5.0) -> bytes:
    """Returns the answer of the relay at that socket.

    Raises:
        StatusError: nobody answers.
    """
    with sockets.Socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as caller:
        caller.settimeout(timeout)
        try:
            caller.connect(path)
            caller.send(question.encode() + b"\n")
            parts = list(iter(lambda: caller.recv(65536), b""))
        except OSError as error:
            raise StatusError(error.errno, f"no relay answers: {error.strerror or error}", path) from None
    return b"".join(parts)


def text(status: dict) -> str:
    """Returns a status for people."""
    lines = [f"relay {status['version']}, process {status['process']}, {status['memory_kib'] / 1024:.1f} MiB"]
    for pair in status["pairs"]:
        link = "" if pair["link"] else " (no link)"
        lines.append(
            f"{pair['wan']}{link} <> {pair['lan']} ({' '.join(pair['ports']) or 'no port'}): {pair['state']}"
        )
        for name in (
            "client",
            "present",
            "switch",
            "dialect",
            "keepalive",
            "proof",
            "online_seconds",
            "message",
        ):
            lines.append(f"  {name.replace('_', ' '):14} {'-' if pair[name] is None else pair[name]}")
        if pair["echo"] is not None:
            echo = pair["echo"]
            lines.append(
                f"  {'echo':14} number {echo['number']:#x} every {echo['interval']:.0f} s by {echo['writer']}"
            )
        counted = ", ".join(
            f"{name.replace('_', ' ')} {count}" for name, count in pair["counters"].items() if count
        )
        lines.append(f"  {'frames':14} {counted or 'none'}")
    return "\n".join(lines)


def describe(data: bytes) -> dict:
    """Returns the status in an answer.

    Raises:
        StatusError: it is not one.
    """
    import json

    try:
        return json.loads(data)
    except ValueError:
        raise StatusError(errno.EPROTO, "the answer is not a status") from None
