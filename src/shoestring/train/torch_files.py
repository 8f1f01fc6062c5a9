"""Reads torch's .pt and .bin files without running what is in them, and without reading the weights twice.

- Only `weights_only` unpickling with the caller's explicit list of what else may occur, such as the state of numpy's
  random numbers, which DeepSpeed saves along. Anything else is refused by name.
- Both formats, the zip of torch >= 1.6 and the older one, give tensors that lie in the mapped file: a tensor is
  read when it is used.
"""

from __future__ import annotations

import mmap
import pickle
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import _weights_only_unpickler as restricted

from shoestring._errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C  # torch's number for the older format
# What reading bytes that are not a whole file can end in.
_DAMAGE = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
_LONG = struct.Struct("<q")


def open_torch_file(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Returns what a file holds; its tensors are mapped from the file and read when used.

    Args:
        path: the file.
        allowed: classes and functions that may occur beside tensors and plain data.

    Raises:
        InputError: no such file, not one of torch's, cut short, or with something in it that is not data.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            if zipfile.is_zipfile(path):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return _older(path)
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, error)) from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged or half downloaded ({reason}); download it again") from error


def require_intact(path: Path) -> None:
    """Compares the checksums of a file with its bytes, which `open_torch_file` does not; the older format has none.

    Raises:
        InputError: a byte of it is not as it was written.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except _DAMAGE as error:
        raise InputError(f"{path}: damaged ({error}); download it again") from error
    if bad is not None:
        raise InputError(f"{path}: damaged, {bad} is not as its checksum says; download it again")


def numpy_state() -> list[Any]:
    """Returns what the state of numpy's random numbers is made of. Each is data only."""
    import numpy as np

    old_core = "numpy.core.multiarray._reconstruct"  # the name that older numpy pickled
    reconstruct = np._core.multiarray._reconstruct
    kinds = {type(np.dtype(name)) for name in ("uint8", "uint32", "int64", "float64")}
    return [np.ndarray, np.dtype, reconstruct, (reconstruct, old_core), *kinds]


def _refusal(path: Path, error: Exception) -> str:
    found = re.search(r"GLOBAL (\S+\.\w+)|Unsupported (?:class|operand)[^\n]*", str(error))
    what = (
        f"it names {found[1] or found[0]}, which is not data" if found else "it is not torch's or is damaged"
    )
    return f"{path}: refused, {what}; nothing of it was run"


def _older(path: Path) -> Any:
    """Reads the format before torch 1.6: pickles, then for each storage its length and its bytes."""
    with path.open("rb") as file:
        head = file.read(2)
        if head == b"PK":
            raise InputError(f"{path}: damaged or half downloaded, its end is missing; download it again")
        if head[:1] != b"\x80":
            raise InputError(f"{path}: not a file of torch")
        file.seek(0)
        if restricted.load(file) != _MAGIC:
            raise InputError(f"{path}: not a file of torch")
        restricted.load(file)  # the version of the protocol
        restricted.load(file)  # the machine's sizes of int and long
        start = file.tell()
        sizes: dict[str, int] = {}
        _unpickle(file, lambda key, bytes_: _noted(sizes, key, bytes_))
        places, end = _places(file, restricted.load(file), sizes)
        if end > path.stat().st_size:
            raise InputError(
                f"{path}: half downloaded, {path.stat().st_size:,} bytes where {end:,} are needed; "
                "download it again"
            )
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        file.seek(start)
        return _unpickle(file, lambda key, bytes_: _storage(mapped, places[key], bytes_))


def _unpickle(file: Any, storage: Any) -> Any:
    made: dict[str, Any] = {}

    def persistent_load(pid: Any) -> Any:
        kind, storage_type, key, _, numel, view = pid
        if (kind.decode() if isinstance(kind, bytes) else kind) != "storage" or view is not None:
            raise pickle.UnpicklingError("Unsupported class " + str(kind))
        if key not in made:
            dtype = storage_type.dtype
            untyped = storage(key, numel * torch._utils._element_size(dtype))
            made[key] = torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)
        return made[key]

    unpickler: Any = restricted.Unpickler(file, encoding="utf-8")
    unpickler.persistent_load = persistent_load
    return unpickler.load()


def _noted(sizes: dict[str, int], key: str, size: int) -> torch.UntypedStorage:
    sizes[key] = size
    return torch.UntypedStorage(size, device="meta")


def _storage(mapped: mmap.mmap, offset: int, size: int) -> torch.UntypedStorage:
    if size == 0:
        return torch.UntypedStorage(0)
    return torch.frombuffer(mapped, dtype=torch.uint8, count=size, offset=offset).untyped_storage()


def _places(file: Any, keys: list[str], sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """Returns where each storage's bytes begin, and where the last one ends."""
    places, position = {}, file.tell()
    for key in keys:
        places[key] = position + _LONG.size  # after its number of elements
        position = places[key] + sizes[key]
    return places, position
