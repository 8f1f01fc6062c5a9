"""Loads a decoder weight by weight: in float32, or with linear layers of few bits; no weight is there twice.

What is stored quantized is used where it lies in the file; what is not is quantized while it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.few_bits import Embedding8, Linear8, LinearLow
from shoestring.lm.weights.pieces import Piece, plain, quantized, require_finite
from shoestring.lm.weights.quantize import shapes_of
from shoestring.lm.weights.safetensors_file import Shape
from shoestring.lm.weights.skeleton import (
    Layer,
    Layers,
    config_of,
    empty,
    layers_of,
    matched,
    require_known,
    require_mostly_linear,
    require_whole,
)
from shoestring.lm.weights.sources import Source
from shoestring.train.memory import giving_back

_THREADS = 2
_SAME = {"gelu_new": "gelu_pytorch_tanh"}  # the same function, fused
# Parts of a quantized weight, and how many it has.
_PARTS = {"int8": 2, "int5": 4, "int4": 4, "scale": 0, "zero": 0, "unit": 0}


def require_fitting(source: Source) -> None:
    """Raises InputError if weights do not fit config.json; weights that become one are left to who joins them."""
    with suppress(OptionError):
        matched(source, empty(config_of(source.config)))


def load_folder(source: Source) -> Any:
    """Returns transformers' own model of a folder, checked as one of few bits is.

    Raises:
        InputError: a weight is missing, of another size, not finite, or not the model's.
    """
    require_fitting(source)
    loaded, rest = hub.load_and_rest(source.folder, "CausalLM")
    model: Any = loaded
    require_known(source, dict(zip(rest, rest, strict=True)), model)
    for name, weight in model.named_parameters():
        require_finite(source, name, weight)
    return model


def load_source(source: Source, bits: int | None = None) -> Any:
    """Returns a model of a source's weights, its linear layers with so many bits, or all in float32.

    Raises:
        InputError: weights are missing or do not fit config.json.
        OptionError: not a model that continues text, or one of which few weights are in linear layers.
    """
    with giving_back():
        return _loaded(source, bits)


def _loaded(source: Source, bits: int | None) -> Any:
    settings = dict(source.config)
    if "activation_function" in settings:
        settings["activation_function"] = _SAME.get(*[settings["activation_function"]] * 2)
    model = empty(config_of(settings))
    layers = layers_of(model)
    if "quantization_config" in source.config:
        _require_own(source, model)
        pieces = plain(source)
    elif bits is None:
        pieces = plain(matched(source, model))
    else:
        require_mostly_linear(model, layers)
        pieces = quantized(matched(source, model), layers, bits)
    _fill(model, layers, _made(pieces))
    if bits is None:
        model.tie_weights()
    return model


def _require_own(source: Source, model: Any) -> None:
    """Checks the names of a folder of few bits; the sizes of parts are checked where they become a layer."""
    stored: dict[str, str | None] = {}
    for name in source.shapes:
        weight, _, part = name.rpartition(".")
        few = part in _PARTS and weight.endswith(".weight")
        stored[weight if few else name] = None if few else name
    require_whole(source, stored, model)


def _made(pieces: Iterable[Piece]) -> Iterator[tuple[str, torch.Tensor]]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for parts in pool.map(lambda piece: piece.make(), pieces):
            yield from parts.items()


def _fill(model: Any, layers: Layers, parts: Iterable[tuple[str, torch.Tensor]]) -> None:
    held: dict[str, dict[str, torch.Tensor]] = {}
    others: dict[str, torch.Tensor] = {}
    for name, tensor in parts:
        weight, _, part = name.rpartition(".")
        if part not in _PARTS or not weight.endswith(".weight"):
            others[name] = tensor
            continue
        found = held.setdefault(weight, {})
        found[part] = tensor
        if len(found) == max(_PARTS[each] for each in found):
            for where, module in _modules(weight.removesuffix(".weight"), held.pop(weight), model, layers):
                model.set_submodule(where, module)
    for weight, found in held.items():  # parts that no kind of today has
        _require_fitting(weight, found, _layer(weight.removesuffix(".weight"), model, layers))
    _fill_plain(model, others)


def _modules(
    name: str, found: dict[str, torch.Tensor], model: Any, layers: Layers
) -> Iterator[tuple[str, nn.Module]]:
    """Yields what takes the place of a linear layer, or of the embedding and the head that is tied to it."""
    layer = _layer(name, model, layers)
    _require_fitting(name, found, layer)
    sizes = layer.outputs, layer.inputs
    if name == layers.embedding:
        yield name, Embedding8(layer.inputs, found["int8"], found["scale"], layers.factor)
        name = layers.head or name
    if "int8" in found:
        yield name, Linear8(*sizes, found["int8"], found["scale"])
    else:
        levels = found["int5"] if "int5" in found else found["int4"]
        yield name, LinearLow(*sizes, levels, found["scale"], found["zero"], found["unit"])


def _layer(name: str, model: Any, layers: Layers) -> Layer:
    known = layers.linear.get(f"{name}.weight")
    return known or Layer(name, *model.get_submodule(name).weight.shape)  # an embedding


def _require_fitting(name: str, found: dict[str, torch.Tensor], layer: Layer) -> None:
    """Raises InputError if a weight is of the time when it did not lie in tiles, or of another size."""
    bits = next((bits for bits in (8, 5, 4) if f"int{bits}" in found), 8)
    wanted = shapes_of(bits, layer.outputs, layer.inputs)
    if {part: Shape(tensor.dtype, tuple(tensor.shape)) for part, tensor in found.items()} != wanted:
        raise InputError(
            f"{name}: int{bits} of an older kind, or not {layer.outputs} x {layer.inputs} as config.json says; convert "
            "the model again: shoestring lm convert"
        )


def _fill_plain(model: Any, others: dict[str, torch.Tensor]) -> None:
    """Sets biases, norms, embeddings and stored buffers; others, such as old masks, are not needed."""
    for name, tensor in others.items():
        path, _, part = name.rpartition(".")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(module, Linear8 | LinearLow):
            module.bias = tensor.float() if part == "bias" else module.bias
        elif part in module._parameters:
            setattr(module, part, nn.Parameter(tensor.float(), requires_grad=False))
        elif module._buffers.get(part) is not None:
            module._buffers[part] = tensor.to(module._buffers[part].dtype)
