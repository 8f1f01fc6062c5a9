"""Encodings by name: what Python knows of them, and decoding with broken bytes counted.

- Most encodings, GB18030 too, never use the byte LF inside a character, so text can be cut at LF before it is
  decoded. The others (UTF-16, UTF-32, ISO-2022, HZ, UTF-7) are first turned into UTF-8 by `to_utf8`.
"""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Callable, Iterable, Iterator

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
_STATEFUL = re.compile(r"utf-?_?(7|16|32)|iso2022|hz|escape|idna|punycode|undefined")
_SURROGATES = re.compile("[\ud800-\udfff]")
_BROKEN = "\udcff"  # stands for broken bytes until the text is UTF-8, where it is the byte FF
_met = threading.local()


def known(encoding: str) -> bool:
    """Returns whether Python has this text encoding (`rot13` and `zip` are codecs, but not of text)."""
    try:
        b"a".decode(encoding)
    except UnicodeError:  # UTF-16 wants more than one byte, and so is known
        return True
    except (LookupError, ValueError):
        return False
    return True


def canonical(encoding: str) -> str:
    """Returns Python's name of an encoding; a BOM is always dropped, so UTF-8 with one is `"utf-8"`.

    >>> canonical("UTF8"), canonical("utf-8-sig")
    ('utf-8', 'utf-8')
    """
    name = codecs.lookup(encoding).name
    return "utf-8" if name == "utf-8-sig" else name


def cuts_at_newline(encoding: str) -> bool:
    """Returns whether the byte LF is always a line end, so that lines can be found before decoding.

    >>> cuts_at_newline("gb18030"), cuts_at_newline("utf-16")
    (True, False)
    """
    return not _STATEFUL.search(canonical(encoding)) and b"\r\n".decode(encoding) == "\r\n"


def without_bom(data: bytes, encoding: str) -> bytes:
    """Drops the BOM of UTF-8 or GB18030 from the start of a file; UTF-16's codec needs and eats its own."""
    for bom, name in BOMS:
        if name == encoding and cuts_at_newline(name):
            data = data.removeprefix(bom)
    return data


def _count(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    _met.spans.append((len(error.object), error.start, error.end))
    return _met.mark, error.end


def decode_counting(
    data: bytes, encoding: str, mark: str = "\ufffd", complete: bool = True
) -> tuple[str, list[tuple[int, int]]]:
    """Decodes like `errors="replace"` and returns the broken spans (start, stop) too.

    Args:
        data: the text.
        encoding: a Python text codec.
        mark: what stands for a broken span.
        complete: else the last character may be cut, and is then left out.

    >>> decode_counting(bytes([97, 255, 98]), "utf-8")
    ('a�b', [(1, 2)])
    """
    decoder = codecs.getincrementaldecoder(encoding)("shoestring.count")
    text, spans = _fed(decoder, data, complete, mark)
    return text, [(start, stop) for _, start, stop in spans]


def _fed(decoder: codecs.IncrementalDecoder, data: bytes, final: bool, mark: str):
    _met.spans, _met.mark = [], mark
    return decoder.decode(data, final), _met.spans


def to_utf8(
    blocks: Iterable[bytes], encoding: str, broken: Callable[[int, int, int], None]
) -> Iterator[bytes]:
    """Turns blocks of any encoding into blocks of UTF-8, in which the byte FF stands for something broken.

    Args:
        blocks: the text in bytes, cut anywhere.
        encoding: a Python text codec.
        broken: is told (byte offset, bytes, lines before it) of every broken place.
    """
    decoder = codecs.getincrementaldecoder(encoding)("shoestring.count")
    fed = line = 0
    for block, final in _with_last(blocks):
        fed += len(block)
        text, spans = _fed(decoder, block, final, _BROKEN)
        for place, (size, start, stop) in zip(re.finditer(_BROKEN, text), spans, strict=True):
            broken(fed - size + start, stop - start, line + text.count("\n", 0, place.start()))
        line += text.count("\n")
        yield _SURROGATES.sub(_BROKEN, text).encode("utf-8", "surrogateescape")


def _with_last(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


codecs.register_error("shoestring.count", _count)
