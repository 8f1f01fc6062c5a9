"""The model of a config.json without its weights, which of its parts can have few bits, and what a folder calls them.

- Only modules that do no more than y = W x + b become few-bit layers, and only embeddings that look up rows, perhaps
  times a number (Gemma's): each is tried with a few numbers of its own. What does more, such as a router that picks
  the best experts, keeps its weights.
- Stored names become the model's by transformers' own table of renamings.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.quantize import takes_low
from shoestring.lm.weights.safetensors_file import Shape
from shoestring.lm.weights.sources import Source

_HEADS, _SHARED, _STURDY = ("lm_head", "embed_out"), ("k_proj", "v_proj"), ("gate_proj",)  # names of layers
_TRIED = 4  # rows of a weight with which a module is tried
_MOST_PLAIN = 0.5  # of the weights may stay as they are; a model of which more would is refused
_OLD = (
    ".attn.bias", ".attn.masked_bias", ".attn.attention.bias", ".attn.attention.masked_bias", ".attn.causal_mask",
    "rotary_emb.inv_freq", "position_ids",
)  # masks and the like that old files carry  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A linear layer: where it is, its size, and whether its weight is stored as (inputs, outputs)."""

    name: str
    outputs: int
    inputs: int
    transposed: bool = False


@dataclass(frozen=True)
class Layers:
    """What of a model gets few bits.

    Args:
        linear: by the name of the weight.
        embedding: name of the embedding whose weight is also the head's, or None.
        head: name of the head that is tied to it.
        factor: by which the embedding multiplies its rows.
    """

    linear: dict[str, Layer]
    embedding: str | None = None
    head: str | None = None
    factor: float = 1.0


@dataclass
class Matched:
    """A source whose weights have the model's names."""

    config: dict[str, Any]
    shapes: dict[str, Shape]
    folder: Path
    source: Source
    stored: Mapping[str, str]

    def read(self, name: str) -> torch.Tensor:
        """Returns one weight, as the source does."""
        return self.source.read(self.stored[name])


def config_of(config: Mapping[str, Any]) -> Any:
    """Returns the configuration object of a config.json.

    Raises:
        OptionError: a kind of model that transformers does not know, or that does not continue text.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    settings = {key: value for key, value in config.items() if key != "quantization_config"}
    kind = settings.pop("model_type", None)
    if kind == "shoestring":
        from shoestring.transformer.model.heads import register

        register()
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise OptionError(f"model_type {kind!r}: not a model that continues text, such as gpt2 or llama")
    return AutoConfig.for_model(kind, **settings)


def empty(config: Any) -> Any:
    """Returns the model with its weights on no device; buffers that are computed, such as rope's, are real."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    from shoestring import hub

    with init_empty_weights(include_buffers=False), hub.silenced():
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def layers_of(model: Any) -> Layers:
    """Returns what of a model gets few bits."""
    from transformers.pytorch_utils import Conv1D

    linear, head = {}, model.get_output_embeddings()
    tied = bool(getattr(model.config, "tie_word_embeddings", False)) and head is not None
    names = {module: name for name, module in model.named_modules()}
    for module, name in names.items():
        if isinstance(module, nn.Linear | Conv1D) and is_plain(module) and not (tied and module is head):
            sizes = tuple(module.weight.shape)
            turned = isinstance(module, Conv1D)
            outputs, inputs = reversed(sizes) if turned else sizes
            linear[f"{name}.weight"] = Layer(name, outputs, inputs, turned)
    embedding = model.get_input_embeddings()
    factor = factor_of(embedding)
    if not tied or factor is None or not is_plain(head):
        return Layers(linear)
    return Layers(linear, names[embedding], names[head], factor)


def is_plain(module: Any) -> bool:
    """Tells whether a module that looks like a linear layer computes W x + b and nothing else."""
    from transformers.pytorch_utils import Conv1D

    turned = isinstance(module, Conv1D)
    inputs = module.weight.shape[0 if turned else 1]
    weight, x = _numbers(_TRIED, inputs), _numbers(3, inputs)
    tried = _with_weight(module, weight.t().contiguous() if turned else weight)
    tried.nf = _TRIED
    if tried.bias is not None:
        tried.bias = nn.Parameter(_numbers(1, _TRIED)[0], requires_grad=False)
    wanted = x @ weight.t() + (0 if tried.bias is None else tried.bias)
    return _gives(tried, x[None], wanted[None])


def factor_of(embedding: nn.Module) -> float | None:
    """Returns the number by which an embedding multiplies its rows, or None if it does something else."""
    if not isinstance(embedding, nn.Embedding):
        return None
    weight, ids = _numbers(_TRIED, embedding.weight.shape[1]), torch.arange(_TRIED)
    tried = _with_weight(embedding, weight)
    tried.padding_idx = None
    try:
        factor = float((tried(ids) / weight).median())
    except (RuntimeError, TypeError):
        return None
    return factor if _gives(tried, ids, weight * factor) else None


def matched(source: Source, model: Any) -> Matched:
    """Returns the source's weights under the model's names.

    Raises:
        InputError: see `require_whole`.
        OptionError: the model joins several stored weights to one, as most mixtures of experts do.
    """
    stored = _stored_names(source, model)
    tied = _tied(model)
    require_whole(source, stored, model)
    _require_tied(source, stored, tied)
    shapes = {name: source.shapes[old] for name, old in stored.items() if name not in tied}
    return Matched(source.config, shapes, source.folder, source, stored)


def require_whole(source: Source, stored: Mapping[str, str | None], model: Any) -> None:
    """Raises InputError unless a source has each weight that a model needs, floats of its size, and no other.

    Args:
        source: the weights.
        stored: a weight of the model -> its name in the source, or None if it lies there in parts.
        model: without weights.
    """
    tied = _tied(model)
    for name, parameter in model.named_parameters():
        old = stored.get(name, "")
        if old:
            _require_shape(f"{source.folder}: {name}", source.shapes[old], tuple(parameter.shape))
        elif old is not None and name not in tied:
            raise InputError(f"{source.folder}: {name} is missing, so the weights do not fit config.json")
    require_known(source, stored, model)


def require_mostly_linear(model: Any, layers: Layers) -> None:
    """Raises OptionError if most weights would stay as they are, as experts that are held in one tensor do."""
    few = {*layers.linear, f"{layers.embedding}.weight", f"{layers.head}.weight"}
    embedding = model.get_input_embeddings().weight
    left = {name: p.numel() for name, p in model.named_parameters() if name not in few and p is not embedding}
    total = sum(parameter.numel() for parameter in model.parameters())
    if sum(left.values()) > _MOST_PLAIN * total:
        largest = max(left, key=lambda name: left[name])
        raise OptionError(
            f"model_type {model.config.model_type!r} in int8 or int4: {largest} is not a linear layer, and most of the "
            "weights are in such; pass --precision bf16, or fp32"
        )


def bits_of(layer: Layer, bits: int, head: str | None) -> int:
    """Returns how many bits a layer gets: 8, or in int4 what it loses little by.

    The head, keys and values that several heads share, and layers that cannot be cut into whole groups get 8, the gate
    of an MLP 4, all others 5.
    """
    kind = layer.name.rpartition(".")[2]
    shared = kind in _SHARED and layer.outputs < layer.inputs
    is_head = layer.name == head or layer.name.endswith(_HEADS)
    if bits == 8 or is_head or shared or not takes_low(layer.inputs):
        return 8
    return 4 if kind in _STURDY else 5


def _stored_names(source: Source, model: Any) -> dict[str, str]:
    """Returns the model's name -> stored name."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    changes = get_model_conversion_mapping(model)
    renamings = [each for each in changes if isinstance(each, WeightRenaming)]
    converters = [each for each in changes if isinstance(each, WeightConverter)]
    known, names = model.state_dict(), {}
    for stored in source.shapes:
        name, joined = rename_source_key(stored, renamings, converters, model.base_model_prefix, known)
        if joined is not None:
            raise OptionError(
                f"model_type {source.config['model_type']!r} in int8 or int4: {stored} is one of several that become "
                f"{name}, such as experts; pass --precision bf16, or fp32"
            )
        names[name] = stored
    return names


def _tied(model: Any) -> set[str]:
    """Returns the names of the weights that are another's."""
    if not getattr(model.config, "tie_word_embeddings", False) or model.get_output_embeddings() is None:
        return set()
    head = model.get_output_embeddings()
    return {f"{name}.weight" for name, module in model.named_modules() if module is head}


def _require_tied(source: Source, stored: Mapping[str, str], tied: set[str]) -> None:
    for name in tied & stored.keys():
        shape = source.shapes[stored[name]]
        same = [each for each, old in stored.items() if each != name and source.shapes[old] == shape]
        head = source.read(stored[name]).clone()
        if not any(torch.equal(head, source.read(stored[each])) for each in same):
            raise InputError(
                f"{source.folder}: has {stored[name]} of its own, but config.json says tie_word_embeddings; "
                "set it to false"
            )


def _require_shape(what: str, shape: Shape, sizes: tuple[int, ...]) -> None:
    if shape.sizes != sizes:
        raise InputError(f"{what} is {shape.sizes}, but config.json says {sizes}")
    if not shape.dtype.is_floating_point:
        raise InputError(
            f"{what} holds {shape.dtype}, not floats; give the weights before they were quantized"
        )


def require_known(source: Source, stored: Mapping[str, str | None], model: Any) -> None:
    """Raises InputError for a weight that is not the model's, unless it is a mask of old files; see `require_whole`."""
    known = model.state_dict().keys()
    ignored = tuple(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())
    for name, old in stored.items():
        spare = name.endswith(_OLD) or any(re.search(pattern, name) for pattern in ignored)
        if name not in known and not spare:
            raise InputError(
                f"{source.folder}: {old or name} is not a weight of {source.config['model_type']}"
            )


def _numbers(rows: int, columns: int) -> torch.Tensor:
    return torch.arange(1, rows * columns + 1).mul(0.618034).frac().sub(0.45).view(rows, columns)


def _with_weight(module: nn.Module, weight: torch.Tensor) -> Any:
    """Returns a copy of a module with another, smaller weight; the module itself has none yet."""
    tried = copy.copy(module)
    tried._parameters = dict(module._parameters)
    tried.weight = nn.Parameter(weight, requires_grad=False)
    return tried


def _gives(module: nn.Module, x: torch.Tensor, wanted: torch.Tensor) -> bool:
    try:
        found = module(x)
    except (RuntimeError, TypeError, AttributeError, ValueError):
        return False
    return (
        isinstance(found, torch.Tensor)
        and found.shape == wanted.shape
        and torch.allclose(found, wanted, atol=1e-5)
    )
