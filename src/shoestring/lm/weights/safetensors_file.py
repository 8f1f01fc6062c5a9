"""safetensors files read and written one tensor at a time, so that memory holds one tensor and not the file.

The library maps a file, and what was touched of it counts as the process's memory until the file is closed;
here each tensor is mapped by itself. Format: 8 bytes n, n bytes of JSON, the tensors' bytes.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from shoestring._errors import InputError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
_WRITTEN = 1 << 18  # bytes at once; with several MB at once Linux has been seen to take three times as long
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Shape:
    """What is known of a tensor before it is read."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its length in a file."""
        return math.prod(self.sizes) * self.dtype.itemsize


class Reader:
    """One file: `shapes` by name, and `read`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        self._start = 8 + length
        self._offsets = {name: entry["data_offsets"] for name, entry in header.items() if "dtype" in entry}
        self.shapes = {name: self._shape(name, header[name]) for name in self._offsets}

    def read(self, name: str) -> torch.Tensor:
        """Returns one tensor where it lies in the file: its memory is given back when it is."""
        shape, (begin, end) = self.shapes[name], self._offsets[name]
        if begin == end:
            return torch.empty(shape.sizes, dtype=shape.dtype)
        begin, end = self._start + begin, self._start + end
        place = begin % mmap.ALLOCATIONGRANULARITY
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < end:
                raise InputError(f"{self.path}: ends within {name}; copy or save it again")
            data = mmap.mmap(
                file.fileno(), end - begin + place, access=mmap.ACCESS_COPY, offset=begin - place
            )
        count = math.prod(shape.sizes)
        return torch.frombuffer(data, dtype=shape.dtype, count=count, offset=place).view(shape.sizes)

    def _shape(self, name: str, entry: dict[str, Any]) -> Shape:
        if entry["dtype"] not in DTYPES:
            raise InputError(
                f"{self.path}: {name} is of type {entry['dtype']}; readable are {', '.join(DTYPES)}"
            )
        return Shape(DTYPES[entry["dtype"]], tuple(entry["shape"]))


class Writer:
    """Writes a file whose tensors are announced first; they may come in any order, from any thread.

    Args:
        file: open for writing bytes, with a descriptor.
        shapes: name -> what will come.
    """

    def __init__(self, file: IO[bytes], shapes: Mapping[str, Shape]) -> None:
        self._handle, self._shapes, self._places = file.fileno(), dict(shapes), {}
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name, shape in shapes.items():
            end = position + shape.bytes
            header[name] = {
                "dtype": _NAMES[shape.dtype],
                "shape": list(shape.sizes),
                "data_offsets": [position, end],
            }
            self._places[name], position = position, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
        self._start = 8 + len(text)
        self._put(0, len(text).to_bytes(8, "little") + text)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Writes one tensor at its place."""
        if Shape(tensor.dtype, tuple(tensor.shape)) != self._shapes[name]:
            raise ValueError(
                f"{name} {tensor.dtype} {tuple(tensor.shape)} where {self._shapes[name]} was announced"
            )
        if tensor.numel():
            data: Any = tensor.contiguous().view(-1).view(torch.uint8).numpy()
            self._put(self._start + self._places[name], data)

    def _put(self, place: int, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            count = os.pwrite(self._handle, view[:_WRITTEN], place)
            view, place = view[count:], place + count


def readers(files: Iterable[Path]) -> dict[str, Reader]:
    """Returns the reader of each tensor in one or more files."""
    return {name: reader for reader in map(Reader, files) for name in reader.shapes}
