"""How the switches that were seen in the field lay out a Success: each by the frame it was taken from.

Source: tests/relay/frames/README.md, which names who saw the frame, and where.
"""

from __future__ import annotations

from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import SUCCESS, Eap
from shoestring.relay.vendors import ruijie

ZEROS = bytes(105)  # of the record before the key


class Layout(namedtuple("Layout", "source inside record empty key_head")):
    """One layout.

    Args:
        source: the frame it was seen in.
        inside: the EAP length covers the records; else they lie beyond it, within the EAPOL length.
        record: type and length of the record of zeros, both wrong.
        empty: the empty record before the key; None where the key's record is the first of its type.
        key_head: type and length of the key's record.
    """

    __slots__ = ()


LAYOUTS = {
    "minieap-58": Layout("ruijie-58-success-in-eap", True, b"\x69\0", b"\1\0", b"\1\1"),
    "minieap-18": Layout("ruijie-18-success-cut", True, b"\0\x49", None, b"\1\0"),
    "bistu": Layout("ruijie-bistu-success", False, b"\0\x49", b"\1\1", b"\1\1"),
    "sysu": None,  # ruijie-sysu-success-plain: four bytes and nothing more
}


def key_record(key: int, alive: int) -> bytes:
    """Returns the 15 bytes of the key's record."""
    return ruijie.code(ruijie.MAGIC + b"\x0a\1" + key.to_bytes(4, "big") + alive.to_bytes(4, "big") + b"\0")


def success(layout: Layout | None, id: int, key: int, alive: int, text: bytes, account: bytes) -> Eap:
    """Returns the Success of a switch.

    Args:
        layout: a value of `LAYOUTS`.
        id: of the packet.
        key: of the echo.
        alive: the number beside it.
        text: GBK, to the user.
        account: GBK, of his account.
    """
    if layout is None:
        return Eap(SUCCESS, id, b"", b"")
    parts = [b"\0" + bytes([len(text)]) + text, layout.record + ZEROS]
    parts += [layout.empty] if layout.empty is not None else []
    parts += [layout.key_head + key_record(key, alive), b"\x3c" + bytes([len(account) + 2]) + account]
    data = b"".join(ruijie.MAGIC + part for part in parts)
    return Eap(SUCCESS, id, data, b"") if layout.inside else Eap(SUCCESS, id, b"", data)
