"""Exact thresholds: where to cut scores so that a metric is best, and how sure one can be of it. numpy only.

- Every cut that a threshold can make is looked at, in O(n log n) for the sort and O(n) for each metric.
- Equal scores are never separated: a cut lies between two different scores, or outside all of them.
- A pair is positive when its score >= threshold. Where several cuts are equally good, the widest gap is taken.
- `bootstrap` gives the percentile interval of the threshold (Efron & Tibshirani 1993), and by nested cross-validation
  what the metric will be on new pairs, with an interval that covers it: less than on the set that chose.

>>> best([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], "f1")
Cut(threshold=0.55, value=1.0, metric='f1', tp=2, fp=0, fn=0, tn=2)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring._errors import InputError, OptionError
from shoestring.match.deciding.metric import Floats, Metric
from shoestring.match.deciding.nested import nested

ROUNDS, LEVEL = 1000, 0.95
GROUPS = 20_000  # of scores that bootstrap samples are drawn of: a million pairs in seconds


@dataclass(frozen=True)
class Cut:
    """One threshold and what it does to the pairs that it was computed on.

    Args:
        threshold: a pair is positive when its score is at least this.
        value: the metric there.
        metric: its name.
        tp: true positives; likewise false positives, false negatives and true negatives.
    """

    threshold: float
    value: float
    metric: str
    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class Curve:
    """All cuts of one set of scores, from none positive to all; make it with `Curve.of`.

    Args:
        scores: the different scores, largest first.
        weights: (2, distinct) pairs at each score: negatives, positives.
    """

    scores: Floats
    weights: NDArray

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Curve:
        """Sorts the scores and counts.

        Args:
            scores: (n,) finite numbers; thresholds come in their own precision.
            labels: (n,) of 0 and 1.

        Raises:
            InputError: there is nothing, lengths differ, a score is NaN, a label is something else.
        """
        values, truth = _checked(scores, labels)
        order = np.argsort(values)[::-1]
        values, truth = values[order], truth[order]
        ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        positives = np.diff(np.cumsum(truth)[ends], prepend=0)
        return cls(values[ends], np.stack([np.diff(ends, prepend=-1) - positives, positives]))

    @cached_property
    def counts(self) -> tuple[NDArray, NDArray]:
        """(tp, fp), each (distinct + 1,): cut i makes the first i scores positive."""
        fp, tp = np.cumsum(np.pad(self.weights, ((0, 0), (1, 0))), axis=1)
        return tp, fp

    @cached_property
    def thresholds(self) -> Floats:
        """The threshold of every cut: midway between two scores, or the upper one if they are neighbours."""
        above, below = self.scores[:-1], self.scores[1:]
        middle = above / 2 + below / 2
        middle = np.where((middle > below) & (middle <= above), middle, above)
        beyond = np.nextafter(self.scores[:1], self.scores.dtype.type(np.inf))
        return np.concatenate([beyond, middle, self.scores[-1:]])

    @property
    def area(self) -> float:
        """The area under the ROC curve: how often a positive has the larger score than a negative; NaN for none."""
        tp, fp = self.counts
        with np.errstate(invalid="ignore"):
            return float(((tp[1:] + tp[:-1]) @ np.diff(fp) / 2) / np.float64(tp[-1] * fp[-1]))

    def values(self, metric: str | Metric) -> Floats:
        """Returns the metric of every cut."""
        tp, fp = self.counts
        return Metric.parse(metric).values(tp, fp, tp[-1], fp[-1])

    def best(self, metric: str | Metric) -> Cut:
        """Returns the cut where a metric is best.

        Raises:
            InputError: all labels or all scores are equal, or no cut reaches the target.
        """
        metric = Metric.parse(metric)
        self._require_a_choice()
        values = self.values(metric)
        top = values.max()
        if top == -np.inf:
            other = "precision" if metric.name == "recall" else "recall"
            raise InputError(f"metric {metric}: no threshold reaches that {other}; ask for less")
        equals = np.flatnonzero(values == top)
        return self._cut(int(equals[self._gaps()[equals].argmax()]), metric, top)

    def at(self, threshold: float, metric: str | Metric) -> Cut:
        """Returns what a threshold from elsewhere does here."""
        metric = Metric.parse(metric)
        index = int(np.count_nonzero(self.scores >= threshold))
        cut = self._cut(index, metric, self.values(metric.untargeted())[index])
        return replace(cut, threshold=float(threshold))

    def resampled(self, rng: np.random.Generator) -> Curve:
        """Returns the curve of as many pairs, drawn with replacement."""
        flat = self.weights.ravel()
        return self.with_weights(rng.multinomial(flat.sum(), flat / flat.sum()).reshape(self.weights.shape))

    def with_weights(self, weights: NDArray) -> Curve:
        """Returns the curve of other numbers of pairs at the same scores.

        Args:
            weights: (2, distinct) of negatives and positives.
        """
        present = weights.sum(axis=0) > 0
        return Curve(self.scores[present], weights[:, present])

    def grouped(self, most: int) -> Curve:
        """Returns the curve of at most so many groups of neighbouring scores, each at its lowest score.

        Groups have about equally many pairs, so a threshold moves by no more than one in `most` of them.
        """
        if len(self.scores) <= most:
            return self
        below = np.cumsum(self.weights, axis=1)
        group = (below.sum(axis=0) * most - 1) // below[:, -1].sum()
        last = np.flatnonzero(np.diff(group, append=most))
        return Curve(self.scores[last], np.diff(below[:, last], axis=1, prepend=0))

    def _require_a_choice(self) -> None:
        for count, label in zip(self.weights.sum(axis=1), (0, 1), strict=True):
            if not count:
                raise InputError(f"all labels are {1 - label}: a threshold needs pairs of both kinds")
        if len(self.scores) == 1:
            raise InputError(f"all scores are {self.scores[0]:g}: no threshold can tell the pairs apart")

    def _gaps(self) -> Floats:
        return np.pad(self.scores[:-1] - self.scores[1:], 1)

    def _cut(self, index: int, metric: Metric, value: float) -> Cut:
        tp, fp = (int(count[index]) for count in self.counts)
        positives, negatives = (int(count[-1]) for count in self.counts)
        threshold = float(self.thresholds[index])
        return Cut(threshold, float(value), str(metric), tp, fp, positives - tp, negatives - fp)


@dataclass(frozen=True)
class Uncertainty:
    """How far threshold and metric could be elsewhere on other data of the same kind.

    Args:
        threshold: interval, by bootstrap.
        value: interval of the metric on new data, by nested cross-validation; see `nested`.
        optimism: by how much the metric on the set that chose the threshold is too good.
        level: of the intervals.
        rounds: bootstrap samples.
    """

    threshold: tuple[float, float]
    value: tuple[float, float]
    optimism: float
    level: float = LEVEL
    rounds: int = ROUNDS


def best(scores: ArrayLike, labels: ArrayLike, metric: str | Metric = "f1") -> Cut:
    """Returns the threshold where a metric is best; see `Curve.of` for what is refused."""
    return Curve.of(scores, labels).best(metric)


def bootstrap(
    curve: Curve, metric: str | Metric, rounds: int = ROUNDS, level: float = LEVEL, seed: int = 0
) -> Uncertainty:
    """Chooses the threshold again on resampled pairs, and on parts of the pairs that judge the others.

    Args:
        curve: of the pairs.
        metric: what the threshold is best at.
        rounds: how often; samples in which no cut reaches a target are left out.
        level: of the intervals.
        seed: of the draws.

    Raises:
        OptionError: fewer than 2 rounds, or no sensible level.
        InputError: no sample has a cut that reaches the target.
    """
    if rounds < 2 or not 0 < level < 1:
        raise OptionError(f"bootstrap of {rounds} rounds at level {level}: at least 2, level between 0 and 1")
    metric, rng, drawn = Metric.parse(metric), np.random.default_rng(seed), []
    coarse = curve.grouped(GROUPS)
    for _ in range(rounds):
        with suppress(InputError):  # no cut reaches the target there
            drawn.append(coarse.resampled(rng).best(metric).threshold)
    found = nested(curve, metric, level, rng)
    if not drawn or found is None:
        if metric.target:
            raise InputError(f"metric {metric}: no resampled set reaches the target; ask for less")
        raise InputError(
            f"{int(curve.weights.sum()):,} pairs are too few to resample; give more of both labels"
        )
    value, between = found
    optimism = max(0.0, curve.best(metric).value - value)
    return Uncertainty(_interval(np.array(drawn), level), between, optimism, level, rounds)


def _interval(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.percentile(values, [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray]:
    values, truth = finite(scores, "score"), np.asarray(labels)
    require_same_length(values, truth)
    if truth.dtype != bool:
        wrong = np.flatnonzero(~np.isin(truth, (0, 1)))
        if len(wrong):
            raise InputError(
                f"label {wrong[0]} is {truth[wrong[0]]!s}: labels must be 0 and 1; "
                "say above which label a pair is positive, or ask for graded thresholds"
            )
    return values, truth.astype(np.int64)


def require_same_length(scores: Sequence | NDArray, labels: Sequence | NDArray) -> None:
    """Refuses scores and labels that cannot belong together."""
    if len(scores) != len(labels):
        raise InputError(f"{len(scores):,} scores and {len(labels):,} labels: each score needs one label")


def finite(values: ArrayLike, what: str) -> Floats:
    """Returns (n,) numbers in their own precision; refuses nothing, tables, NaN and infinity."""
    array = np.asarray(values)
    array = array if np.issubdtype(array.dtype, np.floating) else array.astype(float)
    if array.ndim != 1 or not len(array):
        raise InputError(f"{what}s of shape {array.shape}: a row of at least one number is needed")
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise InputError(f"{what} {wrong[0]} is {array[wrong[0]]}: {what}s must be finite numbers")
    return array
