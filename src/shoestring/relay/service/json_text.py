"""Plain values as JSON and back, without keeping `json`, whose Python half loads `re` and `enum`: 1 MB.

Writing is done by its C half; reading, once at the start, in a process whose memory goes with it.
"""

from __future__ import annotations

# pyrefly: ignore[missing-import]
from _json import encode_basestring, make_encoder

from shoestring.relay.settings.apart import apart
from shoestring.relay.settings.settings import SettingError


def write(value: object) -> bytes:
    """Returns the value as JSON in UTF-8.

    >>> write({"a": [1, 0.5, None, True, "你"]}).decode()
    '{"a": [1, 0.5, null, true, "你"]}'
    """
    encode = make_encoder(None, repr, encode_basestring, None, ": ", ", ", False, False, False)
    return "".join(encode(value, 0)).encode("utf-8", "backslashreplace")


def read(data: bytes) -> object:
    """Returns the value.

    Raises:
        SettingError: the bytes are no JSON.
    """
    return apart(_load)(data)


def _load(data: bytes) -> object:
    import json

    try:
        return json.loads(data)
    except ValueError:
        raise SettingError("no JSON") from None
