"""Where weights come from: CPM's Megatron shards, or a Hugging Face folder; one tensor at a time.

- Megatron: any number of ranks, in the released layout `80000/mp_rank_XX_model_states.pt` or one made by
  change_mp.py; joined by `megatron.merge`.
- Files of CPM-LM's shape should be the published ones, see `published`.
- Hugging Face: safetensors, or the older pytorch_model.bin; GPT-2, Llama and what else has linear layers.
"""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any, Protocol

import torch

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.megatron import Entry, entries, merge, merged_shape
from shoestring.lm.weights.safetensors_file import Shape, readers
from shoestring.train.torch_files import numpy_state, open_torch_file

HEADS = {2560: 32, 768: 12}  # hidden size -> heads, of CPM-LM and CPM-Distill; the files do not tell
CPM_LM = (32, 2560, 2)  # layers, hidden size, shards of the release
QUANTIZED = (
    "shoestring-quantized"  # a model_type that transformers refuses, since it would misread the weights
)
_RANK = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_LATEST = "latest_checkpointed_iteration.txt"


class Source(Protocol):
    """Weights by their Hugging Face names.

    Args:
        config: what config.json says or should say.
        shapes: name -> type and sizes, in the order of the network.
        folder: where vocabulary and the like lie.
    """

    config: dict[str, Any]
    shapes: dict[str, Shape]
    folder: Path

    def read(self, name: str) -> torch.Tensor:
        """Returns one tensor, not to be written to, and to be used before the same thread reads another."""
        ...


class MegatronSource:
    """CPM's shards as GPT-2 weights.

    Args:
        path: the folder of the shards, or the one around it with latest_checkpointed_iteration.txt.
        heads: number of attention heads; known for CPM-LM and CPM-Distill.

    Raises:
        InputError: a shard is missing, damaged or refused.
        OptionError: the number of heads is needed.
    """

    def __init__(self, path: str | os.PathLike[str], heads: int | None = None) -> None:
        self.folder = _shard_folder(Path(path))
        self.files = files = _shard_files(self.folder)
        self._ranks = [_module(file) for file in files]
        layers = sum(name.endswith("input_layernorm.weight") for name in self._ranks[0])
        self._entries = {entry.hugging_face: entry for entry in entries(layers)}
        _require_same_names(files, self._ranks, self._entries)
        self.shapes = {name: self._shape(entry) for name, entry in self._entries.items()}
        self.config = _gpt2_config(self.shapes, layers, heads) | hub.stamp()
        hidden, attention = self.config["n_embd"], self.shapes["transformer.h.0.attn.c_attn.weight"].sizes
        if attention != (hidden, 3 * hidden):
            raise InputError(
                f"{self.folder}: {len(files)} shards hold {attention[1] // 3:,} of {hidden:,} columns; "
                "copy the others too"
            )
        self._used_again = threading.local()
        self.as_published = (layers, self.config["n_embd"], len(files)) == CPM_LM

    def read(self, name: str) -> torch.Tensor:
        """Returns one weight, joined and transposed, valid until the same thread reads another.

        New memory for each costs as much time as writing it to a file does.
        """
        entry, held = self._entries[name], self._used_again
        if not hasattr(held, "memory"):
            held.memory = torch.empty(max(shape.bytes for shape in self.shapes.values()), dtype=torch.uint8)
        pieces = [rank[entry.megatron] for rank in self._ranks]
        try:
            return merge(entry.rule, pieces, entry.transposed, held.memory)
        except InputError as error:
            raise InputError(f"{self.folder}: {entry.megatron}: {error}") from error

    def _shape(self, entry: Entry) -> Shape:
        first = self._ranks[0][entry.megatron]
        for file, rank in zip(self.files, self._ranks, strict=True):
            other = rank[entry.megatron]
            if (other.dtype, other.shape) != (first.dtype, first.shape):
                raise InputError(
                    f"{file}: {entry.megatron} is {other.dtype} {tuple(other.shape)}, but {first.dtype} "
                    f"{tuple(first.shape)} in {self.files[0].name}; shards of one model are alike"
                )
        return Shape(first.dtype, merged_shape(entry, first.shape, len(self._ranks)))


class FolderSource:
    """A Hugging Face folder's weights.

    Args:
        path: the folder.

    Raises:
        InputError: not a model folder, or a file in it is damaged or refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = hub.require_model_folder(path)
        self.config = json.loads((self.folder / "config.json").read_text("utf-8"))
        if self.config["model_type"] == QUANTIZED:
            self.config["model_type"] = self.config.pop("base_model_type")
        else:
            _require_unquantized(self.folder, self.config.pop("quantization_config", None))
        files = _weight_files(self.folder, "model.safetensors")
        self._readers = readers(files)
        self._pickled: dict[str, torch.Tensor] = {}
        if not files:
            for file in _weight_files(self.folder, "pytorch_model.bin"):
                self._pickled |= open_torch_file(file, numpy_state())
        self.shapes = {name: reader.shapes[name] for name, reader in self._readers.items()}
        self.shapes |= {
            name: Shape(tensor.dtype, tuple(tensor.shape)) for name, tensor in self._pickled.items()
        }

    def read(self, name: str) -> torch.Tensor:
        """Returns one weight, where it lies in its file."""
        return self._pickled[name] if name in self._pickled else self._readers[name].read(name)


def _weight_files(folder: Path, name: str) -> list[Path]:
    """Returns the files that transformers reads, and no other: the one of that name, or those that its index names."""
    index = folder / f"{name}.index.json"
    if (folder / name).is_file() or not index.is_file():
        return [folder / name] if (folder / name).is_file() else []
    try:
        files = [
            folder / each for each in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{index}: damaged, it names no files; copy or save it again") from error
    for file in files:
        if not file.is_file():
            raise InputError(f"{folder}: {file.name} is missing; copy it there too")
    return files


def _require_unquantized(folder: Path, how: Any) -> None:
    if how is not None:
        method = how.get("quant_method") if isinstance(how, dict) else None
        raise InputError(
            f"{folder}: is quantized by {method or 'another program'}, which is not read here; give the unquantized "
            "weights, or a .gguf file"
        )


def _shard_folder(path: Path) -> Path:
    if (path / _LATEST).is_file():
        return path / (path / _LATEST).read_text("utf-8").strip()
    return path


def _shard_files(folder: Path) -> list[Path]:
    found = {
        int(match[1]): file
        for file in (folder.iterdir() if folder.is_dir() else ())
        if (match := _RANK.fullmatch(file.name))
    }
    if not found:
        raise InputError(f"{folder}: has neither config.json nor mp_rank_00_model_states.pt")
    for rank in range(max(found) + 1):
        if rank not in found:
            raise InputError(f"{folder}: mp_rank_{rank:02d}_model_states.pt is missing; copy it there too")
    return [found[rank] for rank in sorted(found)]


def _module(file: Path) -> dict[str, torch.Tensor]:
    held = open_torch_file(file, numpy_state())
    module = held.get("module", held) if isinstance(held, dict) else {}
    if "word_embeddings.weight" not in module:
        raise InputError(f"{file}: not a checkpoint of CPM; word_embeddings.weight is missing")
    ranks = held.get("mp_world_size")
    present = len(_shard_files(file.parent))
    if isinstance(ranks, int) and ranks != present:
        raise InputError(f"{file}: one of {ranks} shards, but {present} are there; copy the others too")
    return module


def _require_same_names(files: list[Path], ranks: list[dict], known: dict[str, Entry]) -> None:
    wanted = {entry.megatron for entry in known.values()}
    for file, rank in zip(files, ranks, strict=True):
        for name in sorted(wanted ^ rank.keys()):
            what = "is missing" if name in wanted else "is not a weight of CPM"
            raise InputError(f"{file}: {name} {what}; is this another model?")


def _gpt2_config(shapes: dict[str, Shape], layers: int, heads: int | None) -> dict[str, Any]:
    vocabulary, hidden = shapes["transformer.wte.weight"].sizes
    heads = heads or HEADS.get(hidden)
    if heads is None:
        raise OptionError(f"hidden size {hidden}: not CPM-LM's or CPM-Distill's; pass --heads")
    if hidden % heads:
        raise OptionError(f"--heads {heads}: does not divide the hidden size {hidden}")
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",  # the original's GELU is the one with tanh
        "layer_norm_epsilon": 1e-5,
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": heads,
        "n_inner": shapes["transformer.h.0.mlp.c_fc.weight"].sizes[1],
        "n_positions": shapes["transformer.wpe.weight"].sizes[0],
        "vocab_size": vocabulary,
        "bos_token_id": None,
        "eos_token_id": 7,
        "pad_token_id": 5,
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
        "tie_word_embeddings": True,
        "dtype": str(shapes["transformer.wte.weight"].dtype).removeprefix("torch."),
    }
