"""Which encoding a text has, by evidence.

- A sample from the start is looked at in this order: byte-order marks; zero bytes at every other place (UTF-16 of
  Latin text); UTF-8, perhaps with some broken bytes; UTF-16 of CJK text; what chardet's models of languages say, where
  they are sure. Where they are not, the text is refused until its encoding is given: Big5, Shift_JIS and EUC-KR are
  nearly all valid GB18030, and a Spanish text is a Polish one to other eyes.
- The answer holds for the whole file: a later broken byte is counted, never a reason to guess again.
"""

from __future__ import annotations

import re
from itertools import pairwise
from unicodedata import name as name_of

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.encodings import BOMS, canonical, decode_counting, known

SAMPLE = 256 << 10
_EVIDENCE = 32 << 10  # bytes of lines that are not ASCII, given to chardet
_LEAST = 12  # bytes beyond ASCII without which there is no evidence
_CONFIDENCE, _LEAD = (
    0.25,
    1.5,
)  # of chardet's first answer, and over the next that reads otherwise: see detect()
_WESTERN_LEAD = (
    1.2  # of Windows-1252 over its rivals in use, where at most a quarter of the text is not ASCII
)
_MODELLED = {  # chardet's names of subsets, and what programs write under those names
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949",
    "iso8859-1": "cp1252", "iso8859-9": "cp1254", "big5": "big5hkscs", "tis-620": "cp874",
}  # fmt: skip
_TYPICAL = re.compile(r"[\t\n\r -~\u3000-\u30ff\u4e00-\u9fff\uff00-\uff5e‘’“”—…·]")
_WIDE = (  # more than one byte a character
    "gb18030",
    "big5hkscs",
    "cp932",
    "cp949",
    "euc_jp",
    "big5",
    "euc_kr",
)
_CONTROLS = re.compile("[\x80-\x9f]")
_HALVES_IN_WORDS = re.compile("(?<=[A-Za-z])[\uff61-\uff9f]+(?=[A-Za-z])")
_WITHIN_WORDS = re.compile(r"(?<=[^\W\d_])[^\x00-\x9f’‘–—…·\xad'‐‑](?=[^\W\d_])")


def detect(sample: bytes, complete: bool = True, name: str = "the text") -> str:
    """Returns the encoding of a text that starts with `sample`.

    The two thresholds on chardet's answer were set on 2,000 texts in 31 languages and encodings (Django's
    translations and Chinese reviews, one to twenty lines each): of those with twelve bytes beyond ASCII none that
    they accept was wrong, and of Chinese, Japanese and Korean ones with twenty lines none was refused. UTF-16 without
    a mark is told by the zero bytes of its line ends and spaces; CJK text without one is not taken for it, for any
    two letters of Latin or Shift_JIS make a CJK character.

    Args:
        sample: the first bytes.
        complete: whether that is all; else the last character may be cut.
        name: how the message calls it.

    Raises:
        InputError: the evidence is weak; the message has the likeliest encodings.

    >>> detect("我来到北京清华大学，这是我们的家。".encode("gb18030")), detect("联合国大会".encode())
    ('gb18030', 'utf-8')
    """
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return encoding
    _refuse_seven_bits(sample, name)
    if (utf16 := _by_zero_bytes(sample)) is not None:
        return utf16
    if _is_utf8(sample, complete) and not _are_pairs_of_han(sample):
        return "utf-8"
    for encoding in ("utf-16-le", "utf-16-be"):
        if _looks_cjk(sample, encoding):
            return encoding
    lines, whole = (
        _telling(sample),
        _telling(sample, "gb18030"),
    )  # a broken byte must not hide what the rest says
    tried = [
        _modelled(lines, complete and len(sample) <= _EVIDENCE),
        _modelled(whole, True) if whole != lines else [],
    ]
    for answers in tried:
        if _high(sample) >= _LEAST and (encoding := _believed(answers, sample)):
            refuse_mixture(sample, encoding, name)
            return encoding
    likely = " or ".join(encoding for _, encoding in tried[0][:3]) or "no encoding that is known"
    raise InputError(
        f"{name}: this is not UTF-8, and too little says what it is ({likely}?); "
        "give its encoding, such as --encoding gb18030"
    )


def _refuse_seven_bits(sample: bytes, name: str) -> None:
    """Refuses what looks like ASCII and spells other characters by escapes, and UTF-32 without a mark."""
    if b"\x1b$" in sample or b"\x1b(" in sample:
        raise InputError(f"{name}: ISO-2022 escapes; give its encoding, such as --encoding iso2022_jp")
    if re.search(rb"~\{(?:[!-w][!-~])+~\}", sample):
        raise InputError(
            f"{name}: HZ escapes (~{{ ~}}); if they are that, give --encoding hz, else --encoding utf-8"
        )
    wide = rb"(?:[\x01-\x7f]\0\0\0){4}|(?:\0\0\0[\x01-\x7f]){4}"
    if b"\0\0\0" in sample and re.search(wide, sample):  # `in` is a hundred times as fast
        raise InputError(f"{name}: UTF-32 without a mark; give --encoding utf-32-le or utf-32-be")


def _is_utf8(sample: bytes, complete: bool) -> bool:
    """UTF-8 without a fault, or with some among characters of three bytes, which hardly arise by chance.

    GB18030 read as UTF-8 is broken at four bytes of five, but a short text of it may have pairs that pass for letters.
    """
    broken = _share_broken(sample, "utf-8", complete)
    if 0 < broken <= 1 / 3:
        wide = sum(
            character > "\u07ff" and character != "\ufffd" for character in sample.decode("utf-8", "replace")
        )
        return wide >= 2 and 6 * wide >= _high(sample)
    return broken == 0


def _are_pairs_of_han(sample: bytes) -> bool:
    """Whether a few characters are valid UTF-8 only by chance: as GB2312 they are Han, as UTF-8 letters that nobody
    writes side by side, such as 目前, which would be read as "\u013f\u01f0".
    """
    if not 4 <= _high(sample) < 2 * _LEAST or _share_broken(sample, "gb2312", True) > 0:
        return False
    text = sample.decode("utf-8", "replace")
    if any(character > "\u07ff" for character in text):
        return False
    runs = re.findall("[\x80-\u07ff]{2,}", text)
    return bool(runs) and all(
        len({_script(letter) for letter in run if letter.isalpha()}) > 1 for run in runs
    )


def _script(character: str) -> str:
    """LATIN, GREEK, CYRILLIC ... from the character's name; rare letters of Latin are each their own."""
    rare = "\u0180" <= character <= "\u02ff" and character not in "\u01a0\u01a1\u01af\u01b0"
    return character if rare else name_of(character, "NONE").split()[0]


def _telling(sample: bytes, encoding: str = "") -> bytes:
    """The lines beyond ASCII, of which chardet is told; only those that `encoding` can read, if it is given."""
    held, size = [], 0
    for line in sample.splitlines(keepends=True):
        if line.isascii() or (encoding and _share_broken(line, encoding, True) > 0):
            continue
        held.append(line)
        size += len(line)
        if size >= _EVIDENCE:
            break
    return b"".join(held)[: 2 * _EVIDENCE]  # a line may be as long as the file


def _modelled(lines: bytes, complete: bool) -> list[tuple[float, str]]:
    """What chardet takes the lines for, the likeliest first; of encodings that read them alike only the first."""
    chardet = require("files", "chardet")
    eras = chardet.EncodingEra.MODERN_WEB | chardet.EncodingEra.LEGACY_ISO
    found: dict[str, tuple[float, str]] = {}
    for answer in chardet.detect_all(lines, ignore_threshold=True, encoding_era=eras):
        encoding = (
            canonical(answer["encoding"]) if answer["encoding"] and known(answer["encoding"]) else "utf-8"
        )
        encoding = _MODELLED.get(encoding, encoding)
        if encoding != "utf-8" and _share_broken(lines, encoding, complete) == 0:
            text = lines.decode(encoding, "ignore")
            if encoding == "cp1252" or text not in found:  # the name that programs write
                found[text] = (found.get(text, (answer["confidence"],))[0], encoding)
    return sorted(found.values(), reverse=True)


def _believed(answers: list[tuple[float, str]], sample: bytes) -> str:
    """The first answer where it is sure, else nothing."""
    if not answers:
        return ""
    confidence, encoding = answers[0]
    if _letters_are_signs(_telling(sample).decode(encoding, "ignore"), encoding):
        return ""
    rivals = [
        weight for weight, rival in answers[1:] if encoding != "cp1252" or not rival.startswith("iso8859")
    ]
    lead = confidence / max(1e-9, *rivals, 0.0)
    western = encoding == "cp1252" and lead >= _WESTERN_LEAD and 4 * _high(sample) <= len(sample)
    return encoding if western or (confidence > _CONFIDENCE and lead >= _LEAD) else ""


def _letters_are_signs(text: str, encoding: str) -> bool:
    """Whether a text has within its words what no words have, where another encoding has letters.

    DOS wrote é as the byte 82, which is ‚ in Windows-1252 (`d‚j…` for `déjà`) and a half of a character in Shift_JIS;
    я of old Macs is Я in Windows-1251 (`гулЯть`).
    """
    beyond = sum(not character.isascii() and character.isalpha() for character in text)
    if encoding in _WIDE:
        return 4 * len(_HALVES_IN_WORDS.findall(text)) > beyond
    signs = len(_CONTROLS.findall(text)) + sum(not sign.isalpha() for sign in _WITHIN_WORDS.findall(text))
    capitals = sum(
        not after.isascii() and after.isupper() and before.islower() for before, after in pairwise(text)
    )
    return 4 * signs > beyond or 100 * capitals > beyond


def refuse_mixture(data: bytes, encoding: str, name: str, lines_before: int = 0) -> None:
    """Refuses lines that are UTF-8 in a text whose other lines are in the encoding that was recognised.

    By chance a line of another encoding is hardly ever UTF-8 throughout with two characters of three bytes (or two of
    any length, where a character is one byte).

    Raises:
        InputError: there is one.
    """
    least = "\u07ff" if encoding in _WIDE else "\x7f"
    for number, line in enumerate(data.split(b"\n"), lines_before + 1):
        if line.isascii():
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            continue
        if sum(character > least for character in text) >= 2:
            raise InputError(
                f"{name}: line {number:,} is UTF-8, others look like {encoding}: two encodings in one file; convert "
                f"it to one, or take it as it is by --encoding {encoding}"
            )


def _by_zero_bytes(sample: bytes) -> str | None:
    """UTF-16 without a BOM of mostly Latin text: zeros at one parity only, in over a third of its pairs."""
    even, odd, pairs = sample[::2].count(0), sample[1::2].count(0), len(sample) // 2
    if max(even, odd) * 3 <= pairs or min(even, odd) * 20 > max(even, odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _share_broken(sample: bytes, encoding: str, complete: bool) -> float:
    """Broken bytes per byte that is not ASCII."""
    _, spans = decode_counting(sample, encoding, "", complete)
    broken = sum(stop - start for start, stop in spans)
    return broken / max(1, _high(sample))


def _high(sample: bytes) -> int:
    return len(sample) - len(sample.translate(None, bytes(range(128, 256))))


def _looks_cjk(sample: bytes, encoding: str) -> bool:
    text = sample[: len(sample) & ~1].decode(encoding, "replace")
    return 0 in sample and len(_TYPICAL.findall(text)) > 0.9 * len(text)
