"""TensorFlow's checkpoint format (`.index` and `.data-*` files), read without TensorFlow.

- The index is a LevelDB table: blocks of prefix-compressed keys, a footer of 48 bytes that says where the block of
  blocks is. Its values are protocol buffers that say where a tensor's bytes lie.
- Tensors are views of the memory-mapped data files: reading one of many costs one.
- Checksums are not verified; sizes are.

Sources: LevelDB's doc/table_format.md; TensorFlow's tensor_bundle.proto (`BundleEntryProto`) and tensor_shape.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from shoestring._errors import InputError

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # numbers of types.proto


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    Args:
        dtype: number of TensorFlow's type.
        shape: its sizes.
        shard: number of its data file.
        offset: its first byte there.
        size: its length in bytes.
        sliced: it is stored in several pieces.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    sliced: bool


class Bundle(Mapping[str, np.ndarray]):
    """The tensors of a checkpoint, by name.

    Args:
        prefix: the path without `.index`, such as `chinese_bert/bert_model.ckpt`.

    Raises:
        InputError: a file is missing, damaged or of another format.

    >>> Bundle("bert_model.ckpt")["bert/embeddings/word_embeddings"].shape  # doctest: +SKIP
    (21128, 768)
    """

    def __init__(self, prefix: str | Path) -> None:
        self.prefix = Path(prefix)
        self.index = Path(f"{prefix}.index")
        if not self.index.is_file():
            raise InputError(
                f"{self.index}: no such file; a TensorFlow checkpoint has .index and .data-* files"
            )
        try:
            rows = dict(_table(self.index.read_bytes()))
            self.shards = _header(rows.pop(b"", b""))
            self.entries = {name.decode(): _entry(value) for name, value in rows.items()}
        except (IndexError, ValueError) as error:
            raise InputError(f"{self.index}: not the index of a TensorFlow checkpoint ({error})") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        if entry.dtype not in DTYPES or entry.sliced:
            raise InputError(
                f"{self.prefix}: {name} is of a kind that is not read (type {entry.dtype} or in slices)"
            )
        dtype = np.dtype(DTYPES[entry.dtype])
        path = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if not path.is_file():
            raise InputError(f"{path}: missing, and {name} is in it; copy it beside {self.index.name}")
        if (
            entry.size != prod(entry.shape) * dtype.itemsize
            or path.stat().st_size < entry.offset + entry.size
        ):
            raise InputError(f"{path}: damaged, {name} does not fit into it; copy the checkpoint again")
        if entry.size == 0:
            return np.empty(entry.shape, dtype)
        return np.memmap(path, dtype, "r", entry.offset, entry.shape)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a LevelDB table."""
    if data[-8:] != MAGIC:
        raise ValueError("its last eight bytes are others")
    footer = data[-FOOTER:]
    _, at = _handle(footer, 0)  # of the block of filters, which nobody asks
    (offset, size), _ = _handle(footer, at)
    for _, value in _block(data, offset, size):
        (offset, size), _ = _handle(value, 0)
        yield from _block(data, offset, size)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the rows of a block; a key is the front of the one before and an end of its own."""
    if data[offset + size]:
        raise ValueError("its blocks are compressed, which TensorFlow's are not")
    block = data[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number of seven bits a byte, lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields the fields of a protocol buffer: their number, and an integer or the bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        width, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        yield number, message[at : at + width]
        at += width


def _header(message: bytes) -> int:
    """Returns the number of data files (`BundleHeaderProto.num_shards`)."""
    header = dict(_fields(message))
    if header.get(2, 0):
        raise ValueError("it is of a big-endian machine")
    return int(header.get(1, 0)) or 1


def _entry(message: bytes) -> Entry:
    fields: dict[int, int | bytes] = dict(_fields(message))
    numbers = {number: value for number, value in fields.items() if isinstance(value, int)}
    shape = fields.get(2, b"")
    assert isinstance(shape, bytes)
    sizes = [
        dict(_fields(value)).get(1, 0)
        for number, value in _fields(shape)
        if number == 2 and isinstance(value, bytes)
    ]
    return Entry(
        dtype=numbers.get(1, 0),
        shape=tuple(size for size in sizes if isinstance(size, int)),
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        sliced=7 in fields,
    )
