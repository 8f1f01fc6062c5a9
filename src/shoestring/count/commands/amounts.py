"""Amounts as they are typed: bytes of memory, lengths of n-grams, shards, lengths of documents."""

from __future__ import annotations

import re
from dataclasses import replace

from shoestring._errors import OptionError
from shoestring.files import Reading


def size(text: str) -> int:
    """Reads a number of bytes such as 512MB, 2GB or 1048576.

    >>> size("512MB"), size("2G"), size("100")
    (536870912, 2147483648, 100)
    """
    match = re.fullmatch(r"(?i)\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text)
    if match is None:
        raise OptionError(f"{text!r} is no amount of memory; write 512MB or 2GB")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def span(text: str) -> tuple[int, int]:
    """Reads a length or a range of lengths.

    >>> span("2"), span("1-4")
    ((2, 2), (1, 4))
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise OptionError(f"--ngrams {text!r}: write 2 or 1-4")
    return int(match[1]), int(match[2] or match[1])


def share(text: str) -> tuple[int, int]:
    """Reads i/n.

    >>> share("3/16")
    (3, 16)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise OptionError(f"--shard {text!r}: write the shard and how many there are, such as 3/16")
    return int(match[1]), int(match[2])


def any_length(reading: Reading) -> Reading:
    """Lets documents have any length: counting cuts nothing short and refuses no line for its size."""
    return replace(reading, max_document_bytes=None)
