"""What stands at the beginning of a GGUF file: settings by name, and where each tensor lies.

The package gguf reads it too, a number at a time; with the vocabulary of a model that takes ten seconds.
Format, versions 2 and 3: magic, version, counts; name, type and value of each setting; name, sizes, type and offset
of each tensor; from the next multiple of the alignment on, the tensors.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring._errors import InputError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST = 1 << 26  # elements of a list, letters of a text; more is damage


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: sizes as in torch, the type's number, and the offset in the file."""

    sizes: tuple[int, ...]
    type: int
    offset: int


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, Place]]:
    """Returns the settings and the tensors of a file.

    Raises:
        InputError: no such file, damaged, or not GGUF.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(data).read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, struct.error, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or not a GGUF file of version 2 or 3; copy it again") from error


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._place = data, 0

    def read(self) -> tuple[dict[str, Any], dict[str, Place]]:
        if self._data[:4] != b"GGUF":
            raise ValueError("not GGUF")
        self._place = 4
        version, tensors, settings = self._numbers("I")[0], *self._numbers("QQ")
        if version not in (2, 3) or max(tensors, settings) > _MOST:
            raise ValueError("another version")
        values = {self._text(): self._value(self._numbers("I")[0]) for _ in range(settings)}
        found = dict(self._tensor() for _ in range(tensors))
        step = values.get("general.alignment", 32)
        start = -(-self._place // step) * step
        return values, {name: Place(p.sizes, p.type, start + p.offset) for name, p in found.items()}

    def _tensor(self) -> tuple[str, Place]:
        name, (dimensions,) = self._text(), self._numbers("I")
        sizes = self._numbers(f"{dimensions}Q")
        kind, offset = self._numbers("IQ")
        return name, Place(tuple(reversed(sizes)), kind, offset)

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            return self._numbers(_NUMBERS[kind])[0]
        kind, count = self._numbers("IQ")
        if count > _MOST:
            raise ValueError("a list without end")
        if kind in _NUMBERS:
            return list(self._numbers(f"{count}{_NUMBERS[kind]}"))
        return [self._value(kind) for _ in range(count)]

    def _text(self) -> str:
        (length,) = self._numbers("Q")
        begin, self._place = self._place, self._place + length
        if length > _MOST or self._place > len(self._data):
            raise ValueError("a text without end")
        return self._data[begin : self._place].decode()

    def _numbers(self, kinds: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{kinds}", self._data, self._place)
        self._place += struct.calcsize(f"<{kinds}")
        return found
