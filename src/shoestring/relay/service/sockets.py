"""The C halves of the standard library's `socket` and `signal`, whose Python halves load `enum`: half a megabyte.

Constants are plain integers, and functions take and return them. `Socket` adds what only the Python half has.
"""

from __future__ import annotations

# pyrefly: ignore[missing-import]
import _signal as signals
from _socket import (
    AF_INET,
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    MSG_TRUNC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    if_nametoindex,
    inet_aton,
    socket,
)

__all__ = [
    "AF_INET", "AF_NETLINK", "AF_PACKET", "AF_UNIX", "MSG_TRUNC", "SOCK_DGRAM", "SOCK_NONBLOCK", "SOCK_RAW",
    "SOCK_STREAM", "SOL_SOCKET", "Socket", "if_nametoindex", "inet_aton", "signals",
]  # fmt: skip


class Socket(socket):
    """A socket that closes with its block, and whose visitors are such sockets too."""

    __slots__ = ()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self) -> tuple[Socket, object]:
        """Returns the next visitor and his address."""
        # pyrefly: ignore[missing-attribute]
        number, address = self._accept()
        return Socket(self.family, self.type, self.proto, number), address
