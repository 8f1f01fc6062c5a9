"""From what the tensors of an inferred architecture do to the growth of each: its sides, and the blocks it goes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from shoestring._errors import InputError
from shoestring.grow.infer.deepening import Silence, renumbered
from shoestring.grow.infer.probing import Key, Kind
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.checkpoint import Checkpoint
from shoestring.grow.stored.dtypes import OF_TORCH, STORAGE
from shoestring.grow.tensors import axes
from shoestring.grow.tensors.axes import Axis
from shoestring.grow.tensors.rows import Growth
from shoestring.grow.tensors.sides import as_matrix, side


def growths_of(
    checkpoint: Checkpoint,
    request: Request,
    kinds: Mapping[Key, Kind],
    keys: Mapping[str, Key],
    times: int,
    sizes: Mapping[str, int],
) -> Iterator[Growth]:
    """Yields how each stored tensor grows in width.

    Args:
        checkpoint: the old model.
        request: how the growth is done.
        kinds: what tensors do.
        keys: by what each stored tensor is known.
        times: the factor.
        sizes: the widths that fused projections are made of.

    Raises:
        InputError: a tensor whose kind is not known.
    """
    final = _last_blocks(checkpoint)
    for name, stored in checkpoint.tensors.items():
        kind = kinds.get(keys[name])
        if kind is None or len(kind.grows) != len(stored.shape):
            raise InputError(
                f"{stored.path}: {name} was not met when {checkpoint.config['model_type']} was inferred"
            )
        dtype = stored.dtype
        if request.dtype and dtype in STORAGE:
            dtype = OF_TORCH[request.dtype]
        applies = not kind.last or name in final
        sides = []
        for dimension, (extent, grows) in enumerate(zip(stored.shape, kind.grows, strict=True)):
            fused = kind.parts if dimension != kind.reads and grows else ("all",)
            axis = _axis(extent, times if grows else 1, fused, sizes)
            extra = kind.factor if applies and dimension == len(stored.shape) - 1 else 1.0
            sides.append(side(axis, "read" if dimension == kind.reads else "write", extra))
        yield Growth(
            name, name, stored.shape, tuple(each.size for each in sides), dtype, *as_matrix(sides),
            shift=kind.shift if applies else 0.0, seed=request.seed, split=request.split, noise=request.noise,
        )  # fmt: skip


def _axis(extent: int, times: int, parts: tuple[str, ...], sizes: Mapping[str, int]) -> Axis:
    if len(parts) == 1:
        return axes.tiled(extent, extent * times)
    return axes.joined([axes.tiled(sizes[part], sizes[part] * times) for part in parts])


def _last_blocks(checkpoint: Checkpoint) -> set[str]:
    """Returns the names that belong to the last block of their stack."""
    last: dict[str, int] = {}
    pattern = re.compile(r"^(.*?\.)(\d+)\.")
    for name in checkpoint.tensors:
        if match := pattern.match(name):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    return {name for name in checkpoint.tensors if (m := pattern.match(name)) and int(m[2]) == last[m[1]]}


def placed(
    growth: Growth, keys: Mapping[str, Key], blocks: list[tuple[int, bool]], silence: Silence
) -> Iterator[Growth]:
    """Yields a tensor's growth for every new block that copies its block."""
    key = keys[growth.source]
    number_ = next((int(part) for part in growth.name.split(".") if part.isdigit()), None)
    if not blocks or number_ is None or "*" not in key[0]:
        yield growth
        return
    for new, (old, inserted) in enumerate(blocks):
        if old == number_:
            fill = silence.get(key) if inserted else None
            yield replace(growth, name=renumbered(growth.name, new), fill=fill, inserted=inserted)
