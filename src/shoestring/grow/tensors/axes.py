"""How one axis of a model grows: which old coordinate each new one copies, and with what scale.

With x' = A x, where A has one entry s_j in row j at column i(j), or none where the coordinate is new:

- integer factors tile with s = 1: mean, variance and eps are all kept, so every norm is, before or after a sublayer;
- `isometric`: s_j = sqrt(D / (d c_i)) keeps the mean square for any D >= d, which is all that RMSNorm looks at;
- `averaged`: new coordinates carry the mean, all scaled by sqrt(D / (k d)), which keeps what LayerNorm computes;
- heads are copied whole; in a group of queries that share keys, new groups are copies of old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from shoestring.grow.stored.dtypes import Array

NEW = -1


@dataclass(frozen=True, eq=False)
class Axis:
    """The growth of one axis.

    Args:
        source: its old size.
        index: for each new coordinate the old one that it copies, or `NEW`.
        scale: s_j.
        written: what a new coordinate of a writer's output is: `zero`, `mean` (of the old ones) or `random`.
        unread: what a reader's column of a new coordinate is: `random` (where it reads zeros) or `zero`.
    """

    source: int
    index: Array
    scale: Array
    written: str = "zero"
    unread: str = "random"

    @property
    def size(self) -> int:
        """The new size."""
        return len(self.index)

    @property
    def copies(self) -> Array:
        """How many copies each old coordinate has."""
        return np.bincount(self.index[self.index != NEW], minlength=self.source)

    @property
    def energy(self) -> Array:
        """The sum of s^2 over the copies of each old coordinate."""
        old = self.index != NEW
        return np.bincount(self.index[old], self.scale[old] ** 2, self.source)

    @property
    def unchanged(self) -> bool:
        """Whether nothing happens on this axis."""
        return self.size == self.source and bool((self.index == np.arange(self.size)).all())

    def matrix(self) -> Array:
        """Returns A, (size, source); for tests and small proofs."""
        dense, old = np.zeros((self.size, self.source)), self.index != NEW
        dense[np.flatnonzero(old), self.index[old]] = self.scale[old]
        return dense


def mapped(source: int, index: Array, **settings: str) -> Axis:
    """An axis of plain copies."""
    return Axis(source, np.asarray(index), np.ones(len(index)), **settings)


def identity(size: int) -> Axis:
    """An axis that stays."""
    return mapped(size, np.arange(size))


def tiled(source: int, size: int) -> Axis:
    """Copies in turn: 0 1 2 0 1 2 0."""
    return mapped(source, np.arange(size) % source)


def padded(source: int, size: int, written: str = "random") -> Axis:
    """The old coordinates and new ones after them."""
    index = np.concatenate([np.arange(source), np.full(size - source, NEW)])
    return mapped(source, index, written=written)


def isometric(source: int, size: int) -> Axis:
    """Copies whose mean square is that of the originals.

    >>> axis = isometric(4, 6)
    >>> float(axis.scale @ axis.scale / 6)
    1.0
    """
    index = np.arange(size) % source
    copies = np.bincount(index, minlength=source)
    return Axis(source, index, np.sqrt(size / (source * copies[index])))


def averaged(source: int, size: int) -> Axis:
    """Whole copies, the rest the mean: LayerNorm sees its old inputs, and zeros in the rest."""
    whole = size // source * source
    index = np.concatenate([np.arange(whole) % source, np.full(size - whole, NEW)])
    return Axis(source, index, np.full(size, sqrt(size / whole)), written="mean")


def repeated(blocks: Array, source_blocks: int, inner: Axis) -> Axis:
    """An axis of blocks (heads) of which each is a copy of an old one and grows inside by `inner`.

    Args:
        blocks: for each new block the old one that it copies.
        source_blocks: number of old blocks.
        inner: growth within a block.
    """
    places = np.where(
        inner.index == NEW, NEW, np.asarray(blocks)[:, None] * inner.source + inner.index
    ).reshape(-1)
    scale = np.tile(inner.scale, len(blocks))
    return Axis(source_blocks * inner.source, places, scale, inner.written, inner.unread)


def joined(axes: Sequence[Axis]) -> Axis:
    """Axes one after the other, as in a fused projection."""
    index, offset = [], 0
    for axis in axes:
        index.append(np.where(axis.index == NEW, NEW, axis.index + offset))
        offset += axis.source
    scales = np.concatenate([axis.scale for axis in axes])
    written = next((axis.written for axis in axes if (axis.index == NEW).any()), "zero")
    return Axis(offset, np.concatenate(index), scales, written)


def grouped_heads(heads: int, groups: int, new_heads: int, new_groups: int) -> tuple[Array, Array] | None:
    """Returns which old query head and which old key-value head each new one copies; None if it cannot be exact.

    New groups are copies of old groups in turn, and the query heads of the copies of a group cover its old ones.

    >>> queries, keys = grouped_heads(4, 2, 4, 4)  # GQA to MHA
    >>> queries.tolist(), keys.tolist()
    ([0, 2, 1, 3], [0, 1, 0, 1])
    """
    if new_heads % new_groups or new_groups < groups or new_heads < heads:
        return None
    width, new_width = heads // groups, new_heads // new_groups
    keys = np.arange(new_groups) % groups
    if new_groups // groups * new_width < width:
        return None
    slots = (np.arange(new_groups) // groups)[:, None] * new_width + np.arange(new_width)
    return (keys[:, None] * width + slots % width).reshape(-1), keys
