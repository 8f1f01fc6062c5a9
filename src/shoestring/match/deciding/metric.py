"""What a threshold can be best at: accuracy, F1, MCC, balanced accuracy, costs, recall or precision at a target.

- A metric is a function of the true and false positives of every cut, and so O(n) for all cuts together.
- Written and read as one word, `f1`, `cost=1,5` or `recall@precision=0.95`: on the command line and in models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import OptionError

Floats = NDArray[np.floating[Any]]
METRICS = ("accuracy", "f1", "mcc", "balanced", "cost=FP,FN", "recall@precision=P", "precision@recall=R")


@dataclass(frozen=True)
class Metric:
    """What a threshold shall be best at; larger is better, so a cost counts negative.

    Args:
        name: accuracy, f1, mcc (Matthews' correlation), balanced (mean of recall and specificity), cost (mean cost
            per pair), recall (the highest at a precision of at least `target`) or precision (at a recall).
        target: the least precision or recall.
        false_positive: what one costs.
        false_negative: what one costs.

    >>> Metric.parse("recall@precision=0.95")
    Metric(name='recall', target=0.95, false_positive=1.0, false_negative=1.0)
    """

    name: str
    target: float = 0.0
    false_positive: float = 1.0
    false_negative: float = 1.0

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that it can have."""
        if self.name == "cost":
            return -max(self.false_positive, self.false_negative), 0.0
        return (-1.0 if self.name == "mcc" else 0.0), 1.0

    def __post_init__(self) -> None:
        if self.name not in ("accuracy", "f1", "mcc", "balanced", "cost", "recall", "precision"):
            raise OptionError(f"metric {self.name!r}: choose one of {' '.join(METRICS)}")
        if not 0 <= self.target <= 1:
            raise OptionError(f"metric {self}: the target must be above 0 and at most 1")
        costs = (self.false_positive, self.false_negative)
        if not all(math.isfinite(cost) and cost >= 0 for cost in costs) or not any(costs):
            raise OptionError(f"metric {self}: costs must be numbers from 0, one of them above 0")

    @classmethod
    def parse(cls, text: str | Metric) -> Metric:
        """Reads one of `METRICS`.

        Raises:
            OptionError: it is none of them.
        """
        if isinstance(text, Metric):
            return text
        head, equals, tail = text.partition("=")
        name, _, other = head.partition("@")
        try:
            if name == "cost" and equals and not other:
                false_positive, false_negative = map(float, tail.split(","))
                return cls("cost", 0.0, false_positive, false_negative)
            if equals and (name, other) in (("recall", "precision"), ("precision", "recall")):
                return cls(name, float(tail) or math.nan)  # none at all is not asked for
        except ValueError as error:
            raise OptionError(
                f"metric {text!r}: {tail!r} is no number; try {' '.join(METRICS[4:])}"
            ) from error
        if equals or other or name not in METRICS[:4]:
            raise OptionError(f"metric {text!r}: choose one of {' '.join(METRICS)}")
        return cls(name)

    def __str__(self) -> str:
        if self.name == "cost":
            return f"cost={self.false_positive:g},{self.false_negative:g}"
        other = {"recall": "precision", "precision": "recall"}.get(self.name)
        return f"{self.name}@{other}={self.target:g}" if other else self.name

    def untargeted(self) -> Metric:
        """Returns the same without its target: what a threshold that misses it reaches can still be measured."""
        return replace(self, target=0.0)

    def values(self, tp: NDArray, fp: NDArray, positives: float, negatives: float) -> Floats:
        """Returns the metric of cuts with so many true and false positives; -inf where a target is missed.

        What divides by zero is 0 (f1, mcc, precision of no positives) or leaves its class out (balanced).
        """
        tp, fp = np.asarray(tp, float), np.asarray(fp, float)
        fn, tn = positives - tp, negatives - fp
        if self.name == "accuracy":
            return (tp + tn) / (positives + negatives)
        if self.name == "f1":
            return _ratio(2 * tp, 2 * tp + fp + fn)
        if self.name == "mcc":
            scale = np.sqrt(tp + fp) * np.sqrt(tn + fn) * math.sqrt(positives * negatives)
            return _ratio(tp * tn - fp * fn, scale)
        if self.name == "cost":
            return -(self.false_positive * fp + self.false_negative * fn) / (positives + negatives)
        recall = tp / positives if positives else np.zeros_like(tp)
        if self.name == "balanced":
            specificity = tn / negatives if negatives else recall
            return (recall + specificity) / 2 if positives else specificity
        precision = _ratio(tp, tp + fp)
        wanted, other = (recall, precision) if self.name == "recall" else (precision, recall)
        return np.where(other >= self.target, wanted, -np.inf)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
