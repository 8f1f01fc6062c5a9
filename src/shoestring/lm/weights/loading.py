"""Loads a decoder with int8 or int4 linear layers, quantized weight by weight: the full model is never in memory.

What is stored quantized is taken as it is; what is not is quantized while it is read.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shoestring.lm.weights.conversion import plain, quantized
from shoestring.lm.weights.quantize import Embedding8, Linear4, Linear8, packing
from shoestring.lm.weights.skeleton import Layer, config_of, empty, linear_layers, require_fitting
from shoestring.lm.weights.sources import FolderSource
from shoestring.train.memory import giving_back

_THREADS = 2
_SAME = {"gelu_new": "gelu_pytorch_tanh"}  # the same function, fused


def load_quantized(folder: Path, bits: int) -> Any:
    """Returns a model with linear layers of so many bits.

    Raises:
        InputError: weights are missing or do not fit config.json.
        OptionError: not a model that continues text.
    """
    with giving_back():
        return _loaded(FolderSource(folder), bits)


def _loaded(source: FolderSource, bits: int) -> Any:
    stored = source.config.get("quantization_config")
    settings = dict(source.config)
    if "activation_function" in settings:
        settings["activation_function"] = _SAME.get(*[settings["activation_function"]] * 2)
    model = empty(config_of(settings))
    layers = linear_layers(model)
    if stored is None:
        require_fitting(source.shapes, model, source.folder)
        pieces = quantized(source, layers, bits)
    else:
        pieces = plain(source)
    parts = (part for piece in pieces for part in piece.make().items())
    _fill(model, {f"{layer.name}.weight": layer for layer in layers}, parts)
    if stored is not None:
        for name, module in model.named_modules():
            if isinstance(module, Embedding8):  # anew, since the head's packing has been through all of it
                module.weight = source.read(f"{name}.weight.int8")
    return model


def _fill(model: Any, layers: dict[str, Layer], parts: Any) -> None:
    """Packs layers in a few threads, each of which holds one."""
    held: dict[str, dict[str, torch.Tensor]] = {}
    others: dict[str, torch.Tensor] = {}
    tied = next((layer.name for layer in layers.values() if layer.tied), None)
    waiting: deque[Future[dict[str, nn.Module]]] = deque()
    with packing(), ThreadPoolExecutor(_THREADS) as pool:
        for name, tensor in parts:
            weight, _, part = name.rpartition(".")
            if part not in ("int8", "int4", "scale", "zero"):
                others[name] = tensor
                continue
            found = held.setdefault(weight, {})
            found[part] = tensor
            if len(found) == (3 if "int4" in found else 2):
                head = tied if weight not in layers else None
                waiting.append(pool.submit(_packed, weight.removesuffix(".weight"), held.pop(weight), head))
            if len(waiting) > _THREADS:
                _place(model, waiting.popleft().result())
        for future in waiting:
            _place(model, future.result())
    _fill_plain(model, others)


def _packed(name: str, found: dict[str, torch.Tensor], head: str | None) -> dict[str, nn.Module]:
    """Returns what takes the place of a linear layer, or of the embedding and the head that is tied to it."""
    if head is not None:
        linear = Linear8(found["int8"], found["scale"], None)
        return {name: Embedding8(found["int8"], found["scale"]), head: linear}
    if "int8" in found:
        return {name: Linear8(found["int8"], found["scale"], None)}
    return {name: Linear4(found["int4"], found["scale"], found["zero"], None)}


def _place(model: Any, modules: dict[str, nn.Module]) -> None:
    for name, module in modules.items():
        model.set_submodule(name, module)


def _fill_plain(model: Any, others: dict[str, torch.Tensor]) -> None:
    """Sets biases, norms and embeddings that were not quantized; others, such as old masks, are not needed."""
    for name, tensor in others.items():
        path, _, part = name.rpartition(".")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(module, Linear8 | Linear4):
            module.bias = tensor.float() if part == "bias" else module.bias
        elif part in module._parameters:
            setattr(module, part, nn.Parameter(tensor.float(), requires_grad=False))
