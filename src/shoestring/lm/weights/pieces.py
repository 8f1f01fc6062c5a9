"""What each stored weight becomes: the same, or 8, 5 or 4 bits of it; made one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from shoestring._errors import InputError
from shoestring.lm.weights.quantize import shapes_of, to_int8, to_low
from shoestring.lm.weights.safetensors_file import Shape
from shoestring.lm.weights.skeleton import Layer, Layers, bits_of
from shoestring.lm.weights.sources import Source


@dataclass(frozen=True)
class Piece:
    """What one stored weight becomes.

    Args:
        bytes: of the weight as it was.
        shapes: name -> type and sizes of each tensor it becomes.
        make: reads it and returns those tensors by name.
    """

    bytes: int
    shapes: dict[str, Shape]
    make: Callable[[], dict[str, torch.Tensor]]


def plain(weights: Source) -> Iterator[Piece]:
    """Yields every weight as it is."""
    for name, shape in weights.shapes.items():
        yield Piece(shape.bytes, {name: shape}, lambda name=name: {name: _finite(weights, name)})


def quantized(weights: Source, layers: Layers, bits: int) -> Iterator[Piece]:
    """Yields what an int8 or int4 folder holds, in order, of weights under the model's names.

    Args:
        weights: see `skeleton.matched`.
        layers: which get few bits.
        bits: 8 or 4.
    """
    for name, shape in weights.shapes.items():
        if name == f"{layers.embedding}.weight":
            yield _few_bits(weights, name, Layer(str(layers.embedding), shape.sizes[0], shape.sizes[1]), 8)
        elif name in layers.linear:
            layer = layers.linear[name]
            yield _few_bits(weights, name, layer, bits_of(layer, bits, layers.head))
        else:
            wide = {name: Shape(torch.float32, shape.sizes)}
            yield Piece(shape.bytes, wide, lambda name=name: {name: _finite(weights, name).float()})


def _few_bits(weights: Source, name: str, layer: Layer, bits: int) -> Piece:
    parts = shapes_of(bits, layer.outputs, layer.inputs)
    shapes = {f"{name}.{part}": shape for part, shape in parts.items()}

    def make() -> dict[str, torch.Tensor]:
        weight = _finite(weights, name)
        weight = weight.t() if layer.transposed else weight
        return dict(zip(shapes, to_int8(weight) if bits == 8 else to_low(weight, bits), strict=True))

    return Piece(weights.shapes[name].bytes, shapes, make)


def _finite(weights: Source, name: str) -> torch.Tensor:
    """Reads a weight; what is not a number would spread through all that the model says.

    Raises:
        InputError: it has numbers that are none.
    """
    weight = weights.read(name)
    require_finite(weights, name, weight)
    return weight


def require_finite(source: Source, name: str, weight: torch.Tensor) -> None:
    """Raises InputError if a weight of a source has numbers that are none."""
    if weight.is_floating_point() and not torch.isfinite(weight.sum(dtype=torch.float32)):
        count = int((~torch.isfinite(weight)).sum())  # a sum may be too large where no number is
        if count:
            raise InputError(
                f"{source.folder}: {name} has {count:,} values that are not finite; copy it again"
            )
