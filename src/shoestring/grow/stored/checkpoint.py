"""A Hugging Face folder as numbers on disk: where each tensor lies, and refusals in one line.

Nothing is loaded: the headers of safetensors files say name, dtype, shape and place of every tensor, and so do the
directories of torch's pickles, of which nothing is run.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        names: stored name -> what transformers calls it, where that differs: a prefix, `LayerNorm.gamma`.
        unread: what lies in the files and transformers does not read.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    sharded: bool
    names: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

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
    folder = hub.located(path)
    _refuse_adapter(folder)
    hub.require_model_folder(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    _refuse_quantised(folder, config)
    _refuse_code(folder, config)
    files = _files(folder, config)
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


def same(one: Stored, other: Stored, chunk: int = 1 << 24) -> bool:
    """Tells whether two tensors are equal, bit by bit: all of them is compared."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    with one.path.open("rb") as first, other.path.open("rb") as second:
        first.seek(one.offset)
        second.seek(other.offset)
        for start in range(0, one.bytes, chunk):
            length = min(chunk, one.bytes - start)
            if first.read(length) != second.read(length):
                return False
    return True


def _files(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """Returns the files that transformers reads, in its order of precedence."""
    name = config.get("transformers_weights") or next(
        name for name in (SINGLE, INDEX, PICKLE, f"{PICKLE}.index.json") if (folder / name).is_file()
    )
    if not (folder / name).is_file() or Path(name).name != name:
        raise InputError(
            f"{folder}: lacks {name}, which config.json names as its weights; get it and try again"
        )
    if not name.endswith(".json"):
        return [folder / name]
    try:
        shards = sorted(set(json.loads((folder / name).read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / name}: is no index of shards; copy or save it again") from error
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(f"{folder}: lacks {missing[0]}{more}, which {name} names; get it and try again")
    return [folder / shard for shard in shards]


def _header(path: Path) -> dict[str, Stored]:
    if path.suffix == ".bin":
        require("grow", "torch")
        from shoestring.grow.stored import pickles

        return pickles.header(path)
    safetensors = require("grow", "safetensors")
    try:
        with safetensors.safe_open(path, framework="np"):  # checks all of the header, down to overlaps
            pass
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: damaged ({error}); copy or save it again") from error
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


def _refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """What a model's own code computes is not known; the class of transformers that has its name may be another."""
    # Our family's folders carry their own code for those who lack the package; here the package is what runs.
    if (code := config.get("auto_map")) and config.get("model_type") != "shoestring":
        named = next(iter(code.values())) if isinstance(code, dict) and code else code
        raise InputError(
            f"{folder}: config.json names code of its own (auto_map: {named}), so what the model computes is not known "
            "here; if transformers' own class is what you run, delete auto_map from config.json"
        )


def _refuse_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder}: is an adapter of PEFT, or has one beside its weights; merge it first: "
            "AutoPeftModelForCausalLM.from_pretrained(...).merge_and_unload().save_pretrained(...)"
        )
