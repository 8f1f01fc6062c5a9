"""MD5, of which EAP-MD5 and Ruijie's password hash are made."""

from __future__ import annotations


def md5(data: bytes) -> bytes:
    """Returns the 16 bytes of MD5."""
    try:
        # CPython's own: hashlib would load 4 MB of OpenSSL.
        # pyrefly: ignore[missing-import]
        from _md5 import md5 as digest
    except ImportError:
        from hashlib import md5 as digest
    return digest(data).digest()


def md5_value(id: int, password: bytes, challenge: bytes) -> bytes:
    """Returns MD5(id + password + challenge), the value of an EAP-MD5 response (RFC 1994 section 4.1).

    >>> md5_value(1, b"secret", bytes(16)).hex()
    '7570c653cdf4755ccffcaa80f29268d1'
    """
    return md5(bytes([id]) + password + challenge)
