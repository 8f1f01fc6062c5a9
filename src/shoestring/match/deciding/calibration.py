"""From a score to a probability: Platt's sigmoid for few pairs, isotonic regression for many.

- Fitted by scikit-learn, kept as a few numbers in JSON, applied by numpy.
- Platt 1999: `1 / (1 + exp(-(slope * score + intercept)))`. Isotonic (Zadrozny & Elkan 2002): a rising curve
  through knots, constant outside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import OptionError
from shoestring._extras import require

KINDS = ("auto", "platt", "isotonic")
MANY = 1000  # from here on isotonic regression does not overfit (Niculescu-Mizil & Caruana 2005)


@dataclass(frozen=True)
class Calibration:
    """A rising function from scores to probabilities.

    Args:
        kind: platt or isotonic.
        x: (slope, intercept), or the scores of the knots.
        y: the probabilities of the knots.
    """

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...] = ()

    def __call__(self, scores: NDArray) -> NDArray:
        """Returns (n,) probabilities."""
        if self.kind == "isotonic":
            return np.interp(scores, self.x, self.y)
        slope, intercept = self.x
        return np.exp(-np.logaddexp(0, -(slope * np.asarray(scores, float) + intercept)))


def calibrate(scores: NDArray, labels: NDArray, kind: str = "auto") -> Calibration:
    """Fits a calibration.

    Args:
        scores: (n,).
        labels: (n,) of 0 and 1.
        kind: auto takes platt below 1,000 pairs.

    Raises:
        OptionError: there is no such kind.
    """
    if kind not in KINDS:
        raise OptionError(f"calibration {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "platt" or (kind == "auto" and len(scores) < MANY):
        return _platt(scores, labels)
    isotonic: Any = require("match", "sklearn.isotonic").IsotonicRegression()
    isotonic.fit(scores, labels)
    return Calibration(
        "isotonic", tuple(isotonic.X_thresholds_.tolist()), tuple(isotonic.y_thresholds_.tolist())
    )


def _platt(scores: NDArray, labels: NDArray) -> Calibration:
    """Scores are standardised for the fit: those of some encoders lie within 0.02 of each other."""
    linear: Any = require("match", "sklearn.linear_model")
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    model = linear.LogisticRegression(C=1e6).fit(((scores - centre) / spread)[:, None], labels)
    slope = float(model.coef_[0, 0]) / spread
    return Calibration("platt", (slope, float(model.intercept_[0]) - slope * centre))
