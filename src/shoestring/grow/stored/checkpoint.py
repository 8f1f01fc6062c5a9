"""A Hugging Face folder as numbers on disk: where each tensor lies, and refusals in one line.

Nothing is loaded: the headers of safetensors files say name, dtype, shape and place of every tensor, and so do the
directories of torch's pickles, of which nothing is run.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from shoestring import hub
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.grow.stored.dtypes import STORAGE, TORCH, WHOLE
from shoestring.grow.stored.tensor import Stored

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLE = "pytorch_model.bin"


@dataclass(frozen=True)
class Checkpoint:
    """A model folder whose tensors have been found.

    Args:
        folder: where it is.
        config: what config.json says.
        tensors: by name, in the order of the files.
        sharded: its weights are in several files.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    sharded: bool

    @property
    def bytes(self) -> int:
        """The size of all tensors."""
        return sum(each.bytes for each in self.tensors.values())

    @property
    def parameters(self) -> int:
        """How many numbers the floating-point tensors have."""
        return sum(prod(each.shape) for each in self.tensors.values() if each.dtype in STORAGE)


def opened(path: str | os.PathLike[str]) -> Checkpoint:
    """Finds the tensors of a model folder.

    Raises:
        InputError: it is none, lacks a shard, is quantised, damaged, or a pickle of something else than tensors.
    """
    folder = hub.require_model_folder(path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    _refuse_quantised(folder, config)
    files = _files(folder)
    tensors: dict[str, Stored] = {}
    for file in files:
        tensors |= _header(file)
    for name, tensor in tensors.items():
        if tensor.dtype not in STORAGE and tensor.dtype not in WHOLE:
            raise InputError(
                f"{tensor.path}: {name} is stored as {tensor.dtype}; grow the model before it was quantised"
            )
    if not any(tensor.dtype in STORAGE for tensor in tensors.values()):
        raise InputError(f"{path}: has no floating-point weights")
    return Checkpoint(folder, config, tensors, len(files) > 1)


def main_dtype(checkpoint: Checkpoint) -> str:
    """Returns the dtype that most numbers of a checkpoint are stored in."""
    sizes: dict[str, int] = {}
    for stored in checkpoint.tensors.values():
        if stored.dtype in STORAGE:
            sizes[stored.dtype] = sizes.get(stored.dtype, 0) + stored.bytes
    return TORCH[max(sizes, key=lambda name: sizes[name])]


def _files(folder: Path) -> list[Path]:
    one, index = (SINGLE, INDEX) if (folder / SINGLE).is_file() or (folder / INDEX).is_file() else (
        PICKLE, f"{PICKLE}.index.json"
    )  # fmt: skip
    if (folder / index).is_file():
        shards = sorted(set(json.loads((folder / index).read_text("utf-8"))["weight_map"].values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise InputError(f"{folder}: lacks {missing[0]}{more}, which {index} names; get it and try again")
        return [folder / name for name in shards]
    return [folder / one]


def _header(path: Path) -> dict[str, Stored]:
    if path.suffix == ".bin":
        require("grow", "torch")
        from shoestring.grow.stored import pickles

        return pickles.header(path)
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: Stored(path, each["dtype"], tuple(each["shape"]), 8 + length + each["data_offsets"][0])
        for name, each in header.items()
        if name != "__metadata__"
    }


def _refuse_quantised(folder: Path, config: Mapping[str, Any]) -> None:
    if (quantised := config.get("quantization_config")) is not None:
        how = quantised.get("quant_method", "unknown method") if isinstance(quantised, dict) else quantised
        raise InputError(f"{folder}: is quantised ({how}); grow the model before it was quantised")
