"""Graded labels: thresholds that cut one score into ordered grades, exactly, in O(n log n + n grades). numpy only.

>>> graded([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 2]).predict([0.5, 0.8]).tolist()
[1.0, 2.0]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shoestring._errors import OptionError
from shoestring.match.deciding.metric import Floats
from shoestring.match.deciding.threshold import Curve, finite, require_same_length


@dataclass(frozen=True)
class Grading:
    """Thresholds that cut a score into ordered grades.

    Args:
        grades: the labels, smallest first.
        thresholds: one fewer, not falling; a score belongs to the last grade whose threshold it reaches.
        value: what was maximised: the accuracy, or minus the mean absolute error.
        goal: accuracy or mae.
    """

    grades: tuple[float, ...]
    thresholds: tuple[float, ...]
    value: float
    goal: str = "accuracy"

    def predict(self, scores: ArrayLike) -> Floats:
        """Returns the grade of every score."""
        places = np.searchsorted(np.array(self.thresholds), np.asarray(scores, float), side="right")
        return np.array(self.grades)[places]


def graded(scores: ArrayLike, grades: ArrayLike, goal: str = "accuracy") -> Grading:
    """Returns the thresholds that cut scores into grades best: a dynamic programme over all cuts.

    Args:
        scores: (n,) finite numbers.
        grades: (n,) ordered labels, such as 0 to 5.
        goal: accuracy (share of right grades) or mae (mean absolute error).

    >>> graded([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 2]).thresholds
    (0.4, 0.75)
    """
    if goal not in ("accuracy", "mae"):
        raise OptionError(f"goal {goal!r}: choose accuracy or mae")
    values, truth = finite(scores, "score"), finite(grades, "grade")
    require_same_length(values, truth)
    distinct, group = np.unique(values, return_inverse=True)
    levels, grade = np.unique(truth, return_inverse=True)
    table = np.zeros((len(distinct), len(levels)))
    np.add.at(table, (group, grade), 1)
    gain = table if goal == "accuracy" else -table @ np.abs(levels[:, None] - levels[None])
    total, cuts = _segmented(np.vstack([np.zeros(len(levels)), gain.cumsum(axis=0)]))
    ends = Curve(distinct[::-1], np.zeros((2, len(distinct)))).thresholds[::-1]  # ends[i]: i scores below
    return Grading(tuple(levels.tolist()), tuple(float(ends[cut]) for cut in cuts), total / len(values), goal)


def _segmented(sums: Floats) -> tuple[float, list[int]]:
    """Splits scores 0..n into one run per grade: sums[i, k] is the gain of the first i scores in grade k."""
    reached, origins = sums[:, 0], []
    for column in sums.T[1:]:
        gain = reached - column
        highest = np.maximum.accumulate(gain)
        new = np.concatenate([[True], gain[1:] > highest[:-1]])
        origins.append(np.maximum.accumulate(np.where(new, np.arange(len(gain)), 0)))
        reached = column + highest
    at, cuts = len(sums) - 1, []
    for origin in reversed(origins):
        at = int(origin[at])
        cuts.append(at)
    return float(reached[-1]), cuts[::-1]
