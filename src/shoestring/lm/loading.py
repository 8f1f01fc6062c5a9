"""Loads a decoder with int8 or int4 linear layers, quantized weight by weight: the full model is never in memory.

What is stored quantized is taken as it is; what is not is quantized while it is read.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shoestring.lm.conversion import plain, quantized
from shoestring.lm.quantize import Embedding8, Linear4, Linear8
from shoestring.lm.skeleton import Layer, config_of, empty, linear_layers, require_fitting
from shoestring.lm.sources import FolderSource

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_SAME = {"gelu_new": "gelu_pytorch_tanh"}  # the same function, fused


def load_quantized(folder: Path, bits: int) -> Any:
    """Returns a model with linear layers of so many bits.

    Raises:
        InputError: weights are missing or do not fit config.json.
        OptionError: not a model that continues text.
    """
    _give_back_what_is_freed()
    source = FolderSource(folder)
    stored = source.config.get("quantization_config")
    settings = dict(source.config)
    if "activation_function" in settings:
        settings["activation_function"] = _SAME.get(*[settings["activation_function"]] * 2)
    model = empty(config_of(settings))
    layers = linear_layers(model)
    if stored is None:
        require_fitting(source.shapes, model, folder)
        pieces = quantized(source, layers, bits)
    else:
        pieces = plain(source)
    parts = (part for piece in pieces for part in piece.make().items())
    _fill(model, {f"{layer.name}.weight": layer for layer in layers}, parts)
    if stored is not None:
        for name, module in model.named_modules():
            if isinstance(module, Embedding8):  # of which a token needs one row
                module.weight = source.mapped(f"{name}.weight.int8")
    gc.collect()
    return model


def _give_back_what_is_freed() -> None:
    """Has freed tensors go back to the system at once, where the C library is glibc.

    By itself it keeps what up to 32 MB were freed for later, in pieces between the layers that stay: 0.5 GB of an
    int8 model, 1.6 GB of an int4 one. The setting is the process's.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 1 << 24)  # temporaries of a step stay


def _fill(model: Any, layers: dict[str, Layer], parts: Any) -> None:
    held: dict[str, dict[str, torch.Tensor]] = {}
    others: dict[str, torch.Tensor] = {}
    tied = next((layer for layer in layers.values() if layer.tied), None)
    for name, tensor in parts:
        weight, _, part = name.rpartition(".")
        if part not in ("int8", "int4", "scale", "zero"):
            others[name] = tensor
            continue
        found = held.setdefault(weight, {})
        found[part] = tensor
        if len(found) == (3 if "int4" in found else 2):
            _place(model, weight.removesuffix(".weight"), found, tied if weight not in layers else None)
            del held[weight]
    _fill_plain(model, others)


def _place(model: Any, name: str, found: dict[str, torch.Tensor], head: Layer | None) -> None:
    """Puts a quantized layer where a linear one, or the embedding that the head is tied to, was."""
    if head is not None:
        model.set_submodule(name, Embedding8(found["int8"], found["scale"]))
        model.set_submodule(head.name, Linear8(found["int8"], found["scale"], None))
    elif "int8" in found:
        model.set_submodule(name, Linear8(found["int8"], found["scale"], None))
    else:
        model.set_submodule(name, Linear4(found["int4"], found["scale"], found["zero"], None))


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
