"""What an axis does to one side of a tensor: the side it is written on, or read on.

A side says for every new row (or column) which old one it copies, by what it is multiplied, and, where the copies
share what the old one had, which part it gets. `segments` turns that into a few slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise

import numpy as np

from shoestring.grow.stored.dtypes import Array
from shoestring.grow.tensors.axes import NEW, Axis, identity


@dataclass(frozen=True)
class Segment:
    """Old rows `start` to `stop`, and where they go.

    Args:
        start: first old row.
        stop: the one after the last.
        places: where each copy begins.
        factors: what each copy is multiplied by.
        parts: which part each copy gets.
        count: number of parts that the old rows are divided into.
    """

    start: int
    stop: int
    places: tuple[int, ...]
    factors: tuple[float, ...]
    parts: tuple[int, ...]
    count: int


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a tensor.

    Args:
        source: its old size.
        index: old coordinate of each new one, or `NEW`.
        factor: what the copy is multiplied by.
        part: which part of the old one the copy gets.
        count: into how many parts the old one is divided.
        gradient: what a copy's gradient is of the old one's, on average.
        fresh: what is at `NEW`: `mean`, `random`, `zero` or a number.
    """

    source: int
    index: Array
    factor: Array
    part: Array
    count: Array
    gradient: Array
    fresh: str | float = "zero"

    @property
    def size(self) -> int:
        """The new size."""
        return len(self.index)

    @cached_property
    def plain(self) -> bool:
        """Whether all is copied as it is."""
        return (
            self.size == self.source
            and bool((self.index == np.arange(self.size)).all())
            and bool((self.factor == 1).all())
        )

    @cached_property
    def scaled(self) -> bool:
        """Whether any copy is multiplied by something."""
        return bool((self.factor[self.index != NEW] != 1).any())

    @cached_property
    def inexact(self) -> bool:
        """Whether a copy is multiplied by what is no power of two."""
        return bool((np.frexp(np.abs(self.factor))[0] != 0.5).any())

    @cached_property
    def divides(self) -> bool:
        """Whether copies share what the old ones had."""
        return bool((self.count > 1).any())

    @cached_property
    def odd(self) -> bool:
        """Whether anything is divided in a number of parts that is no power of two."""
        return bool((np.frexp(self.count.astype(float))[0] != 0.5).any())

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The fewest slices that say all."""
        return tuple(_segments(self))

    @cached_property
    def new(self) -> tuple[tuple[int, int], ...]:
        """The ranges of new coordinates that copy nothing."""
        where = np.flatnonzero(np.diff(np.concatenate([[0], self.index == NEW, [0]])))
        return tuple((int(start), int(stop)) for start, stop in where.reshape(-1, 2))


def side(axis: Axis, role: str, extra: float = 1.0) -> Side:
    """Returns what an axis does to a side with this role.

    Args:
        axis: the growth.
        role: `write` (rows of what adds to it), `read` (columns of what reads it), `gain` and `bias` of a norm on it,
            `last gain` and `last bias` of the norm whose output a tied head reads, `head gain` of a norm inside heads,
            or `kept` (copies as they are).
        extra: every number is multiplied by it besides.
    """
    size, old = axis.size, axis.index != NEW
    none, one = np.zeros(size, np.int64), np.ones(size, np.int64)
    factor, fresh = np.ones(size), "zero"
    gradient = 1 / np.where(old, axis.copies[axis.index], 1)
    part, count = none, one
    if role == "write":
        factor, fresh, gradient = axis.scale, axis.written, gradient / axis.scale
    elif role == "read":
        factor, fresh, gradient = 1 / axis.scale, axis.unread, axis.scale
        part, count = _ordinals(axis.index), np.where(old, axis.copies[axis.index], 1)
    elif role == "gain":
        fresh = 1.0
    elif role == "bias":
        factor, gradient = axis.scale, gradient / axis.scale
    elif role == "head gain":
        factor, fresh = axis.scale, 1.0
    elif role in ("last gain", "last bias"):
        factor = np.where(old, 1 / axis.energy[axis.index], 1.0)
        gradient = axis.scale**2
        if role == "last bias":
            factor, gradient = factor * axis.scale, axis.scale
    elif role == "kept":
        fresh = axis.written
    return Side(axis.source, axis.index, factor * extra, part, count, gradient / extra, fresh)


def product(first: Side, second: Side) -> Side:
    """Returns the side of two neighbouring dimensions taken as one; only one of them may divide."""

    def pairs(a: Array, b: Array) -> tuple[Array, Array]:
        return np.repeat(a, len(b)), np.tile(b, len(a))

    left, right = pairs(first.index, second.index)
    index = np.where((left == NEW) | (right == NEW), NEW, left * second.source + right)
    fresh = first.fresh if (first.index == NEW).any() else second.fresh
    (fa, fb), (pa, pb), (ca, cb), (ga, gb) = (
        pairs(getattr(first, name), getattr(second, name)) for name in ("factor", "part", "count", "gradient")
    )
    return Side(first.source * second.source, index, fa * fb, pa + pb, ca * cb, ga * gb, fresh)


def as_matrix(sides: list[Side]) -> tuple[Side, Side]:
    """Returns the rows (all dimensions but the last) and the columns of a tensor."""
    one = side(identity(1), "kept")
    return reduce(product, sides[:-1], one) if sides[1:] else one, sides[-1] if sides else one


def _ordinals(index: Array) -> Array:
    """Returns for each coordinate how many before it copy the same one.

    >>> _ordinals(np.array([0, 1, 0, 1, 1])).tolist()
    [0, 0, 1, 1, 2]
    """
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    within = np.arange(len(index)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(index)]])))
    ordinals = np.empty(len(index), np.int64)
    ordinals[order] = within
    return ordinals


def _segments(side_: Side) -> Iterator[Segment]:
    old = side_.index != NEW
    places = np.flatnonzero(old)
    copy, most = _ordinals(side_.index)[old], 0
    most = int(copy.max()) + 1 if len(copy) else 0
    table = np.full((most, side_.source), NEW)
    factors = np.zeros((most, side_.source))
    table[copy, side_.index[old]], factors[copy, side_.index[old]] = places, side_.factor[old]
    follows = np.where(table[:, 1:] == NEW, table[:, :-1] == NEW, table[:, 1:] == table[:, :-1] + 1)
    follows &= factors[:, 1:] == factors[:, :-1]
    cuts = [0, *(np.flatnonzero(~follows.all(0)) + 1).tolist(), side_.source]
    for start, stop in pairwise(cuts):
        here = [int(place) for place in table[:, start] if place != NEW]
        yield Segment(
            start, stop, tuple(here), tuple(float(side_.factor[place]) for place in here),
            tuple(int(side_.part[place]) for place in here), int(side_.count[here[0]]) if here else 1,
        )  # fmt: skip
