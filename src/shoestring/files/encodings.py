"""Which encoding a text has, and its decoding with broken bytes counted.

- Detection looks at a sample from the start, in this order: byte-order marks; zero bytes at every other place
  (UTF-16 of Latin text); UTF-8, perhaps with some broken bytes; UTF-16 of CJK text; GB18030, perhaps with
  some broken bytes; what charset-normalizer says.
- The answer holds for the whole file: a later broken byte is counted, never a reason to guess again.
- Most encodings, GB18030 too, never use the byte LF inside a character, so text can be cut at LF before it is
  decoded. The others (UTF-16, UTF-32, ISO-2022, HZ, UTF-7) are first turned into UTF-8 by `to_utf8`.
"""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Callable, Iterable, Iterator

from shoestring._extras import require

SAMPLE = 256 << 10
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
_STATEFUL = re.compile(r"utf-?_?(7|16|32)|iso2022|hz|escape|idna|punycode|undefined")
_TYPICAL = re.compile(r"[\t\n\r -~\u3000-\u30ff\u4e00-\u9fff\uff00-\uff5e‘’“”—…·]")
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
    for bom, name in _BOMS:
        if name == encoding and cuts_at_newline(name):
            data = data.removeprefix(bom)
    return data


def detect(sample: bytes, complete: bool = True) -> str:
    """Returns the encoding of a text that starts with `sample`; `complete=False` allows a cut last character.

    >>> detect("联合国大会".encode("gb18030")), detect("联合国大会".encode())
    ('gb18030', 'utf-8')
    """
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name
    if (utf16 := _by_zero_bytes(sample)) is not None:
        return utf16
    if (
        _share_broken(sample, "utf-8", complete) <= 1 / 3
    ):  # GB18030 read as UTF-8 is broken at four bytes of five
        return "utf-8"
    for name in ("utf-16-le", "utf-16-be"):
        if _looks_cjk(sample, name):
            return name
    if _share_broken(sample, "gb18030", complete) <= 1 / 3 and _in_pairs(sample):
        return "gb18030"
    best = require("files", "charset_normalizer").from_bytes(sample).best()
    return "utf-8" if best is None else canonical(best.encoding)


def _by_zero_bytes(sample: bytes) -> str | None:
    """UTF-16 without a BOM of mostly Latin text: zeros at one parity only, in over a third of its pairs."""
    even, odd, pairs = sample[::2].count(0), sample[1::2].count(0), len(sample) // 2
    if max(even, odd) * 3 <= pairs or min(even, odd) * 20 > max(even, odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _share_broken(sample: bytes, encoding: str, complete: bool) -> float:
    """Broken bytes per byte that is not ASCII."""
    decoder = codecs.getincrementaldecoder(encoding)("shoestring.count")
    _, spans = _fed(decoder, sample, complete, "")
    broken = sum(stop - start for _, start, stop in spans)
    return broken / max(1, _high(sample))


def _high(sample: bytes) -> int:
    return len(sample) - len(sample.translate(None, bytes(range(128, 256))))


def _in_pairs(sample: bytes) -> bool:
    """In GB18030 most characters have two high bytes; in an accented letter and its neighbour, one is."""
    text = sample.decode("gb18030", "replace")
    return _high(sample) > 1.4 * sum(character > "\x7f" for character in text)


def _looks_cjk(sample: bytes, encoding: str) -> bool:
    text = sample[: len(sample) & ~1].decode(encoding, "replace")
    return len(_TYPICAL.findall(text)) > 0.9 * len(text)


def _count(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    _met.spans.append((len(error.object), error.start, error.end))
    return _met.mark, error.end


def decode_counting(data: bytes, encoding: str, mark: str = "\ufffd") -> tuple[str, list[tuple[int, int]]]:
    """Decodes like `errors="replace"` and returns the broken spans (start, stop) too.

    >>> decode_counting(bytes([97, 255, 98]), "utf-8")
    ('a�b', [(1, 2)])
    """
    decoder = codecs.getincrementaldecoder(encoding)("shoestring.count")
    text, spans = _fed(decoder, data, final=True, mark=mark)
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
