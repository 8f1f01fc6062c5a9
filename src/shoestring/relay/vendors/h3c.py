"""H3C's private data, and Dr.COM's, which is of the same kind: fields within the EAP packets themselves.

- An identity bears `15 04` and the client's IPv4 address, `06 07` and 28 characters of its version in base64 with two
  blanks behind, then the user's name without a length. Dr.COM's has the name, `00 44 61 00 00` and the address.
- A Failure bears fields of (type, size, value): 08 a number, 09 the reason, as in "E63018: ...".
- A Request of type 20 asks a client that is on line, one of type 7 for the password in clear; EAP code 10 comes before
  a Success. A Notification is answered with `01 16` and `02 16`: the versions of client and Windows, XOR 6d.

Source: frames of real switches and clients, tests/relay/frames/h3c-* and drcom-*.
"""

from __future__ import annotations

from shoestring.relay.frames import (
    CLEAR,
    FAILURE,
    IDENTITY,
    MD5,
    NOTIFICATION,
    ONLINE,
    REQUEST,
    RESPONSE,
    SUCCESS,
    Eap,
    Frame,
)
from shoestring.relay.vendors.plain import Keepalive, Private
from shoestring.relay.vendors.texts import printable, readable

ADDRESS, VERSION, NAME_MARK = b"\x15\x04", b"\x06\x07", b"\0Da\0\0"
VERSION_SIZE = 28  # characters of base64; two blanks follow
STATE, REASON = 8, 9  # fields of a Failure
VEIL = 0x6D  # what the versions of a Notification are XORed with


def private(frame: Frame, eap: Eap | None) -> Private | None:
    """Returns the fields of an identity, an answer of type 20, a version, a Failure or a challenge of Dr.COM."""
    if eap is None:
        return None
    if eap.code in (SUCCESS, FAILURE):
        fields = [_words(type, value) for type, value in _results(eap)]
    elif eap.code == RESPONSE:
        fields = _response(eap)
    elif eap.code == REQUEST:
        fields = _request(eap)
    else:
        fields = [("data", f"{len(eap.data)} bytes {eap.data[:16].hex()}")]
    if not fields:
        return None
    drcom = (eap.code == REQUEST and eap.type == MD5) or (eap.code == RESPONSE and NAME_MARK in eap.data)
    return Private("drcom" if drcom else "h3c", tuple(fields))


def _words(type: int, value: bytes) -> tuple[str, str]:
    if type == REASON:
        return "09 reason", readable(value)
    return f"{type:02X} state", value.hex()


def _results(eap: Eap) -> list[tuple[int, bytes]]:
    """Returns (type, value) of the fields of a Success or Failure, wherever its length ends."""
    data, found = eap.data or _reason_beyond(eap.trailer), []
    while len(data) > 1 and data[0] in (STATE, REASON) and data[1]:
        found.append((data[0], data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
    return found


def _reason_beyond(trailer: bytes) -> bytes:
    """Returns the trailer where it is a reason: padding may be anybody's memory, so only one with its number counts."""
    known = trailer[:1] == bytes([REASON]) and trailer[2:3] == b"E" and trailer[3:7].isdigit()
    return trailer[: 2 + trailer[1]] if known else b""


def _response(eap: Eap) -> list[tuple[str, str]]:
    if eap.type == NOTIFICATION:
        return _versions(eap.data[1:])
    if eap.type == IDENTITY and NAME_MARK in eap.data:
        name, _, rest = eap.data[1:].partition(NAME_MARK)
        return [("user", readable(name)), ("address", _address(rest[:4]))]
    data = eap.data[1:]
    if eap.type == ONLINE and data[:1] == b"\0":
        data = data[1:]
    fields = _split(data) if eap.type in (IDENTITY, ONLINE) else []
    if not fields:
        return []
    shown = {"address": _address, "version": readable, "user": readable}
    return [(name, shown[name](value)) for name, value in fields]


def _split(data: bytes) -> list[tuple[str, bytes]]:
    """Returns (what, value) of an identity's fields, the user's name last; nothing where it has no field."""
    fields: list[tuple[str, bytes]] = []
    while True:
        if data[:2] == ADDRESS and len(data) >= 6:
            fields.append(("address", data[2:6]))
            data = data[6:]
        elif data[:2] == VERSION and len(data) >= 2 + VERSION_SIZE:
            fields.append(("version", data[2 : 2 + VERSION_SIZE]))
            data = data[2 + VERSION_SIZE :]
            data = data[2:] if data[:2] == b"  " else data
        else:
            return [*fields, ("user", data)] if fields else []


def _versions(data: bytes) -> list[tuple[str, str]]:
    fields = []
    for mark, name in ((b"\1\x16", "client version"), (b"\2\x16", "Windows version")):
        if data[:2] == mark and len(data) >= 22:
            plain = bytes(byte ^ VEIL for byte in data[2:22]).rstrip(b"\0")
            fields.append((name, printable(plain.decode("ascii", "replace").replace("\ufffd", "?"))))
            data = data[22:]
    return fields


def _request(eap: Eap) -> list[tuple[str, str]]:
    if eap.type == ONLINE:
        return [("asks", "a client that is on line")]
    if eap.type == CLEAR:
        return [("asks", "for the password in clear")]
    if eap.type == MD5 and len(eap.data) == 22 and eap.data[20:] == b"\0\0":  # where EAP-MD5 has its name
        return [("extra", eap.data[18:].hex())]
    return []


def _address(value: bytes) -> str:
    return ".".join(map(str, value))


def message(frame: Frame, eap: Eap | None) -> str:
    """Returns the reason in a Failure, or the words of a Success."""
    if eap is None or eap.code not in (SUCCESS, FAILURE):
        return ""
    fields = dict(_results(eap))
    if REASON in fields:
        return readable(fields[REASON])
    return f"logged off (state {fields[STATE].hex()})" if STATE in fields else ""


def accounting(frame: Frame, eap: Eap | None) -> str:
    """Returns nothing: no switch is known to say it."""
    return ""


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns None: the switch asks its clients, by Identity or type 20."""
    return None


def user(data: bytes) -> bytes:
    """Returns the user's name in an identity.

    >>> user(b"\\x15\\x04\\xc0\\0\\2\\1" + b"\\x06\\x07" + b"x" * 28 + b"  alice")
    b'alice'
    """
    fields = _split(data)
    return fields[-1][1] if fields else data.partition(NAME_MARK)[0].rstrip(b"\0")


def readdress(data: bytes, address: bytes) -> bytes:
    """Returns the identity with its address replaced: that of the router, not of the PC behind it."""
    at = data.find(NAME_MARK)
    if at >= 0 and len(data) >= at + len(NAME_MARK) + 4:
        at += len(NAME_MARK)
        return data[:at] + address + data[at + 4 :]
    at = 1 if data[:1] == b"\0" else 0  # an answer of type 20 begins with a NUL
    if data[at : at + 2] == VERSION:  # the version may come first
        at += 2 + VERSION_SIZE + 2 * (data[at + 2 + VERSION_SIZE : at + 4 + VERSION_SIZE] == b"  ")
    if data[at : at + 2] == ADDRESS and len(data) >= at + 6:
        return data[: at + 2] + address + data[at + 6 :]
    return data
