"""torch's own files, `.bin` and `.pt`, read where they lie: a zip whose records are tensors, row by row.

- The pickle in it is read by torch with `weights_only=True`, so nothing in it is run, and its tensors are pages of the
  file, so nothing is loaded.
- Where a tensor lies follows from the zip's directory, so checkpoints in this format are grown like safetensors.
"""

from __future__ import annotations

import mmap
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring._errors import InputError
from shoestring.grow.stored.dtypes import OF_TORCH
from shoestring.grow.stored.tensor import Stored

CODES = {**OF_TORCH, "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def mapped(path: Path, shared: bool = False) -> Any:
    """Returns what a file holds; tensors are its pages, and `shared` ones are written by being changed.

    Raises:
        InputError: it cannot be read safely, or not in parts.
    """
    try:
        with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if "mmap can only be used" in str(error):
            raise InputError(
                f"{path}: is in torch's old format, which cannot be read in parts; type: python -c \"import os, torch; "
                f"torch.save(torch.load('{path}', weights_only=True), '{path}.new'); "
                f"os.replace('{path}.new', '{path}')\""
            ) from error
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read without running what is in it: {why}") from error


def header(path: Path) -> dict[str, Stored]:
    """Finds the tensors of a checkpoint in torch's format.

    Raises:
        InputError: it cannot be read safely, or holds something else than tensors that lie row by row.
    """
    tensors = mapped(path)
    if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
        raise InputError(f"{path}: holds something else than tensors by name; it is no model's weights")
    places = _records(path)
    starts = {each.untyped_storage().data_ptr() for each in tensors.values()}
    base = min(starts, default=0) - min(places, default=0)
    found = {}
    for name, each in tensors.items():
        storage = each.untyped_storage()
        if places.get(storage.data_ptr() - base) != storage.nbytes() or not each.is_contiguous():
            raise InputError(
                f'{path}: {name} does not lie in it row by row; type: python -c "import torch; '
                f"state = torch.load('{path}', weights_only=True); "
                f"torch.save({{name: each.contiguous().clone() for name, each in state.items()}}, '{path}')\""
            )
        dtype = str(each.dtype).removeprefix("torch.")
        start = storage.data_ptr() - base + each.storage_offset() * each.element_size()
        found[name] = Stored(path, CODES.get(dtype, dtype), tuple(each.shape), start)
    return found


def _records(path: Path) -> dict[int, int]:
    """Returns where the tensors' records begin -> their sizes."""
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for record in archive.infolist():
            if record.filename.rpartition("/")[0].endswith("data") and record.file_size:
                file.seek(record.header_offset + 26)
                name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                found[record.header_offset + 30 + name + extra] = record.file_size
    return found
