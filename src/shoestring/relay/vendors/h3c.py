"""H3C's private data, and Dr.COM's, which is of the same kind: fields within the EAP packets themselves.

- An identity bears fields in any order: `15 04` and the client's IPv4 address, `16 20` and the 32 bytes that it makes
  of the switch's token, `06 07` and 28 characters of its version in base64 with two blanks behind; then the user's name
  without a length. An answer of type 20 has a NUL (no proxy) and the same. Dr.COM's identities and MD5 answers have the
  name, `00 44 61`, two bytes and the address.
- A Failure bears fields of (type, size, value): 08 a number, 09 the reason, as in "E63018: ...".
- A Request of type 20 asks a client that is on line, one of type 7 for the password in clear. A Notification is
  answered with `01 16` and `02 16`: the versions of client and Windows, XOR 6d.
- EAP code 10 comes around a Success: a token of 32 bytes behind `+D+5` or `#D#1`, the address of a client to download,
  or, behind four bytes, words on the account.

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
from shoestring.relay.vendors.texts import is_chinese, printable, readable

NEWS = 10  # H3C's EAP code
ADDRESS, TOKEN, VERSION, VERSION_SIZE = b"\x15\x04", b"\x16\x20", b"\x06\x07", 28
FIELDS = {ADDRESS: ("address", 4), TOKEN: ("token", 32), VERSION: ("version", VERSION_SIZE)}  # of an identity
DRCOM_MARK = b"\0Da"  # two bytes and the address follow
TOKENS, TOKEN_SIZE = (b"+D+", b"#D#"), 32
LINE_END = b"4\x86"  # between the lines of words on the account
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
        fields = [_news(eap.data)] if eap.code == NEWS else []
    if not fields:
        return None
    drcom = (eap.code == REQUEST and eap.type == MD5) or (eap.code == RESPONSE and _drcom_address(eap.data))
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
    data = eap.data[1:]
    if eap.type == IDENTITY and (at := _drcom_address(data)):
        return [("user", readable(user(data))), ("address", _address(data[at : at + 4]))]
    if eap.type == MD5 and (at := _drcom_address(data)):
        return [("address", _address(data[at : at + 4]))]
    fields = _split(data) if eap.type in (IDENTITY, ONLINE) else []
    shown = {
        "address": _address,
        "token": lambda value: f"{len(value)} bytes",
        "version": readable,
        "user": readable,
    }
    return [(name, shown[name](value)) for name, value, _ in fields]


def _split(data: bytes) -> list[tuple[str, bytes, int]]:
    """Returns (what, value, where) of an identity's fields, the user's name last; nothing where it has no field."""
    fields: list[tuple[str, bytes, int]] = []
    at = 1 if data[:1] == b"\0" else 0  # an answer of type 20 begins with a NUL
    while (found := FIELDS.get(data[at : at + 2])) and len(data) >= at + 2 + found[1]:
        name, size = found
        fields.append((name, data[at + 2 : at + 2 + size], at + 2))
        at += 2 + size
        at += 2 * (name == "version" and data[at : at + 2] == b"  ")
    return [*fields, ("user", data[at:], at)] if fields else []


def _drcom_address(data: bytes) -> int:
    """Returns where the address of Dr.COM's client lies, 0 where there is none."""
    at = data.find(DRCOM_MARK) + len(DRCOM_MARK) + 2
    there = at > len(DRCOM_MARK) + 1 and len(data) >= at + 4 and data[at - 1] == 0
    return at if there and any(data[at : at + 4]) else 0  # zeros may be padding


def _news(data: bytes) -> tuple[str, str]:
    """Returns what a packet of code 10 says."""
    if _is_token(data):
        return "token", f"{TOKEN_SIZE} bytes"
    if text := _account(data):
        return "account", text
    if b"://" in data and data[4:].rstrip(b"\0").isascii():
        return "client", readable(data[4:])
    return "data", f"{len(data)} bytes {data[:16].hex()}"


def _is_token(data: bytes) -> bool:
    return any(mark in data[:4] for mark in TOKENS) and len(data) >= 4 + TOKEN_SIZE


def _account(data: bytes) -> str:
    """Returns the words on the account in a packet of code 10: a text in Chinese and no token, of whatever bytes."""
    if _is_token(data):
        return ""
    words = data[4:].rstrip(b"\0").replace(LINE_END, b"\n\n")
    return readable(words) if is_chinese(words) else ""


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
    """Returns the words on the account in a packet of code 10."""
    return _account(eap.data) if eap is not None and eap.code == NEWS else ""


def keepalive(frame: Frame, eap: Eap | None) -> Keepalive | None:
    """Returns None: the switch asks its clients, by Identity or type 20."""
    return None


def user(data: bytes) -> bytes:
    """Returns the user's name in an identity.

    >>> user(b"\\x15\\x04\\xc0\\0\\2\\1" + b"\\x06\\x07" + b"x" * 28 + b"  alice")
    b'alice'
    """
    fields = _split(data)
    return fields[-1][1] if fields else data.partition(DRCOM_MARK)[0].rstrip(b"\0")


def readdress(data: bytes, address: bytes) -> bytes:
    """Returns the identity with its address replaced: that of the router, not of the PC behind it."""
    places = [at for name, _, at in _split(data) if name == "address"] or [_drcom_address(data)]
    at = places[0]
    return data[:at] + address + data[at + 4 :] if at else data
