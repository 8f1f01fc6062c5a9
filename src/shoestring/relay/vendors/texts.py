"""A switch's words as one printable line: GBK, as Chinese switches send them, or UTF-8 where it can be nothing else."""

from __future__ import annotations

LIMIT = 240  # characters of a message


def readable(data: bytes, limit: int = LIMIT) -> str:
    """Returns the bytes up to the first NUL as one printable line of at most `limit` characters.

    >>> readable("密码错误".encode("gbk")), readable("密码错误".encode())
    ('密码错误', '密码错误')
    """
    data = data.split(b"\0")[0][: 3 * limit]
    note = ""
    try:
        text = data.decode("utf-8" if _is_utf8(data) else "gbk", "replace")
    except LookupError:
        text = data.decode("ascii", "backslashreplace")
        note = "" if data.isascii() else " (GBK; to read it: opkg, or apk, install python3-codecs)"
    return printable(text)[:limit] + note


def _is_utf8(data: bytes) -> bool:
    """True where the bytes are UTF-8 with a letter of three bytes, which the common letters of GBK never look like."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return any(0xE0 <= byte <= 0xEF for byte in data)


def is_chinese(data: bytes) -> bool:
    """True where the bytes are a whole text in GBK or UTF-8 with a letter beyond ASCII in it.

    >>> is_chinese("余额 4.20 元".encode("gbk")), is_chinese(b"balance"), is_chinese(b"\\xff\\xd0")
    (True, False, False)
    """
    try:
        text = data.decode("utf-8" if _is_utf8(data) else "gbk")
    except LookupError:  # no codec: the first byte must do
        return data[:1] >= b"\xb0"
    except UnicodeDecodeError:
        return False
    return not text.isascii() and all(char.isprintable() or char in "\r\n\t" for char in text)


def printable(text: str) -> str:
    """Returns the text with every run of unprintable characters as one space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
