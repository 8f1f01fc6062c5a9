"""One tensor, a chunk of its old rows at a time: the new rows that follow from them, and the way back.

- A tensor of any rank is a matrix here: its last dimension are the columns, all others together the rows.
- What is only copied is copied as bits; numbers are decoded where something is added, divided or multiplied.
- `restored` inverts the growth: divided columns add up, scaled copies are scaled back. The writer compares the
  result with the old rows before anything leaves memory: a proof for every number of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shoestring.grow.stored.dtypes import EPSILON, Array, decode, encode
from shoestring.grow.tensors.draws import Draws
from shoestring.grow.tensors.sides import Segment, Side
from shoestring.grow.tensors.splits import divided

_ROWS, _COLUMNS, _SHARED, _NEW_ROWS, _NEW_COLUMNS = 0, 100, 200, 300, 400  # streams of draws
_PER_COPY = 1000


@dataclass(frozen=True)
class Growth:
    """How one tensor of the new model follows from one of the old.

    Args:
        name: of the new tensor.
        source: of the old one.
        source_shape: the old shape.
        shape: the new one.
        dtype: of both, as safetensors calls it; chunks are converted before they grow.
        rows: of the matrix that the tensor is taken as.
        columns: of the same.
        shift: what a norm adds to its gain before it multiplies (Gemma: 1).
        share: (part, count): this tensor is a part of `count` times the old one, divided among `count` tensors.
        fill: the tensor is this number everywhere, whatever the old one was.
        inserted: it belongs to a new block.
        spread: deviation of random new rows.
        seed: of all draws.
        split: how what copies share is divided, see `splits`.
        noise: for `split="noise"`, relative to the row's root mean square.
    """

    name: str
    source: str
    source_shape: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    rows: Side
    columns: Side
    shift: float = 0.0
    share: tuple[int, int] = (0, 1)
    fill: float | None = None
    inserted: bool = False
    spread: float = 0.02
    seed: int = 0
    split: str = "grid"
    noise: float = 0.1

    @property
    def copied(self) -> bool:
        """Whether the new tensor has the old one's bytes."""
        return self.rows.plain and self.columns.plain and self.share[1] == 1 and self.fill is None

    @property
    def rounded(self) -> bool:
        """Whether numbers are multiplied by something that the dtype cannot hold without rounding."""
        inexact = self.rows.inexact or self.columns.inexact or (self.shift != 0 and self._scaled)
        return inexact or (self.split == "noise" and self._divides) or (self.split == "equal" and self._odd)

    @property
    def needs_mean(self) -> bool:
        """Whether new rows are the mean of the old ones."""
        return self.rows.fresh == "mean" and bool(self.rows.new)

    @property
    def _divides(self) -> bool:
        return self.rows.divides or self.columns.divides or self.share[1] > 1

    @property
    def _odd(self) -> bool:
        return self.rows.odd or self.columns.odd or self.share[1].bit_count() != 1

    @property
    def _scaled(self) -> bool:
        return self.rows.scaled or self.columns.scaled

    # -- there -----------------------------------------------------------------------------------------------

    def prepared(self, block: Array, start: int) -> Array:
        """Returns a chunk of old rows, or what of it this tensor gets if several share it.

        Args:
            block: the chunk, stored as `dtype`.
            start: its first row in the old tensor.
        """
        part, count = self.share
        if count == 1:
            return block
        larger = encode(decode(block, self.dtype) * count, self.dtype)
        draws = Draws(self.seed, self.source)  # every sharer draws the same
        return self._divided(larger, start, count, draws, _SHARED)[part]

    def grown(
        self, block: Array, start: int, check: bool = False, truth: Array | None = None
    ) -> tuple[list[tuple[int, Array]], float]:
        """Returns (first new row, new rows) for everything that copies a chunk of old rows.

        Args:
            block: the chunk, as `prepared`.
            start: its first row in the old tensor.
            check: measure how far the old rows are from what the new ones give back.
            truth: the old rows as numbers, where the block is what another dtype has made of them.

        Returns:
            The new rows, and that distance in roundings of the largest number: 0 is equality of every number, and
            what was rounded to the dtype is within 4.
        """
        whole = None if self._rows_divide else self._wide(block, start, 0)
        pieces = []
        for segment, cut in self._within(start, len(block)):
            wide = (
                [whole[cut]]
                if whole is not None
                else self._wide_parts(block[cut], start + cut.start, segment)
            )
            for place, factor, part in zip(segment.places, segment.factors, segment.parts, strict=True):
                offset = start + cut.start - segment.start
                pieces.append((place + offset, self._stored(wide[part], factor)))
        if not check:
            return pieces, 0.0
        if whole is not None and not self._scaled:  # every row is a copy of one of these
            return pieces, self._gap(self._narrow(whole, block), block, truth)
        return pieces, self._gap(self._restored(block, start, [rows for _, rows in pieces]), block, truth)

    def new_rows(self, mean: Array | None = None) -> Iterator[tuple[int, Array]]:
        """Yields the rows that copy nothing, but not those of zeros: files begin with zeros.

        Args:
            mean: the mean of the old rows, where it is needed.
        """
        for start, stop in self.rows.new:
            if self.rows.fresh == "random":
                draws = Draws(self.seed, self.name)
                rows = draws.normal(_NEW_ROWS, start, stop, self.columns.size) * self.spread
                yield start, encode(rows, self.dtype)
            elif self.rows.fresh == "mean" and mean is not None:
                block = encode(mean[None], self.dtype)
                for row in range(start, stop):
                    wide = self._wide(block, self.rows.source + row, 0)
                    yield row, self._stored(wide, float(self.rows.factor[row]))

    @property
    def _rows_divide(self) -> bool:
        return self.rows.divides

    def _within(self, start: int, length: int) -> Iterator[tuple[Segment, slice]]:
        """Yields the segments that copy rows of a chunk, and which rows of the chunk those are."""
        for segment in self.rows.segments:
            low, high = max(segment.start, start), min(segment.stop, start + length)
            if low < high and segment.places:
                yield segment, slice(low - start, high - start)

    def _wide_parts(self, block: Array, start: int, segment: Segment) -> list[Array]:
        parts = [block]
        if segment.count > 1:
            parts = self._divided(block, start, segment.count, Draws(self.seed, self.name), _ROWS)
        return [self._wide(part, start, copy) for copy, part in enumerate(parts)]

    def _divided(self, block: Array, start: int, count: int, draws: Draws, stream: int) -> list[Array]:
        stop, width = start + len(block), block.shape[1]

        def noise(copy: int) -> Array:
            drawn = draws.normal(stream + copy, start, stop, width)
            return drawn * self.noise * _root_mean_square(decode(block, self.dtype))

        return divided(
            block, self.dtype, count, self.split,
            lambda copy: draws.bytes(stream + copy, start, stop, width), noise,
        )  # fmt: skip

    def _wide(self, block: Array, start: int, copy: int) -> Array:
        """Grows the columns of a chunk; still numbers, not stored, if anything is to be multiplied."""
        if self.columns.plain and not self._scaled:
            return block
        exact = not self._scaled
        out = np.zeros((len(block), self.columns.size), block.dtype if exact else np.float64)
        parts: dict[int, list[Array]] = {1: [block]}
        draws = Draws(self.seed, self.name)
        for count in {segment.count for segment in self.columns.segments} - {1}:
            parts[count] = self._divided(block, start, count, draws, _COLUMNS + copy * _PER_COPY)
        for segment in self.columns.segments:
            for place, factor, part in zip(segment.places, segment.factors, segment.parts, strict=True):
                piece = parts[segment.count][part][:, segment.start : segment.stop]
                if not exact:
                    piece = (decode(piece, self.dtype).astype(np.float64) + self._shift) * factor
                out[:, place : place + segment.stop - segment.start] = piece
        for first, last in self.columns.new:
            new = self._new_columns(block, start, first, last, copy)
            out[:, first:last] = encode(new, self.dtype) if exact else new
        return out

    def _new_columns(self, block: Array, start: int, first: int, last: int, copy: int) -> Array:
        values = decode(block, self.dtype).astype(np.float64)
        fresh = self.columns.fresh
        if fresh == "mean":
            return np.broadcast_to(
                values.mean(1, keepdims=True) * self.columns.factor[first], (len(block), last - first)
            )
        if fresh == "random":
            draws = Draws(self.seed, self.name)
            drawn = draws.normal(_NEW_COLUMNS + copy, start, start + len(block), last - first)
            return drawn * _root_mean_square(values)
        number = 0.0 if fresh == "zero" else float(fresh)
        return np.full((len(block), last - first), number if self._scaled else number - self.shift)

    def _stored(self, wide: Array, factor: float) -> Array:
        return encode(wide * factor - self._shift, self.dtype) if self._scaled else wide

    # -- and back --------------------------------------------------------------------------------------------

    def _gap(self, back: Array, block: Array, truth: Array | None = None) -> float:
        """Returns how far apart the two are, in roundings of the largest number."""
        if back.dtype == block.dtype == np.uint16:  # bits
            if truth is None:
                return 0.0 if np.array_equal(back, block) else np.inf
            back = decode(back, self.dtype)
        if truth is None or self.share[1] > 1:  # a part is compared with the part that was made of it
            truth = decode(block, self.dtype)
        gap, largest = np.abs(back - truth).max(initial=0.0), np.abs(truth).max(initial=0.0)
        return float(gap / ((largest + self.shift) * EPSILON[self.dtype])) if gap else 0.0

    def _restored(self, block: Array, start: int, pieces: list[Array]) -> Array:
        """Returns the old rows as the new ones give them back; of several copies the worst."""
        back = np.zeros(block.shape)
        truth, at = decode(block, self.dtype), 0
        for segment, cut in self._within(start, len(block)):
            copies = [
                self._narrow(each, block[cut]).astype(np.float64) / factor
                for each, factor in zip(pieces[at:], segment.factors, strict=False)
            ]
            at += len(copies)
            if segment.count > 1:
                copies = [self._summed(copies, segment, truth[cut])]
            back[cut] = _worst(copies, truth[cut] + self._shift)
        return back - self._shift

    def _summed(self, copies: list[Array], segment: Segment, truth: Array) -> Array:
        """Adds up the parts of divided rows; of several copies of a part takes the worst."""
        total = np.zeros(truth.shape)
        for number in range(segment.count):
            same = [copy for copy, part in zip(copies, segment.parts, strict=True) if part == number]
            total += _worst(same, truth / segment.count)
        return total

    def _narrow(self, rows: Array, block: Array) -> Array:
        """Adds up what was divided among the columns; of plain copies takes the worst."""
        if self.columns.plain and not self._scaled:
            return rows if rows.dtype == np.uint16 else decode(rows, self.dtype)
        values = decode(rows, self.dtype)
        values = values.astype(np.float64) + self._shift if self._scaled else values
        truth = decode(block, self.dtype) + (self._shift if self._shift else 0)
        out = truth.astype(values.dtype)
        for segment in self.columns.segments:
            there = slice(segment.start, segment.stop)
            width = segment.stop - segment.start
            copies = [
                values[:, place : place + width] / factor if factor != 1 else values[:, place : place + width]
                for place, factor in zip(segment.places, segment.factors, strict=True)
            ]
            if copies:
                out[:, there] = (
                    sum(copies[1:], copies[0]) if segment.count > 1 else _worst(copies, truth[:, there])
                )
        return out

    @property
    def _shift(self) -> float:
        return self.shift if self._scaled else 0.0


def _worst(copies: list[Array], truth: Array) -> Array:
    """Returns for every number the copy that is farthest from the truth."""
    worst = copies[0]
    for copy in copies[1:]:
        worst = np.where(np.abs(copy - truth) > np.abs(worst - truth), copy, worst)
    return worst


def _root_mean_square(values: Array) -> Array:
    return np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=1, keepdims=True))
