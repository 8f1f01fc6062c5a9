"""What a model needs beyond its weights to say yes or no: threshold, its interval, calibration. `matching.json`.

The file lies in the model's folder, where sentence-transformers does not mind it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError
from shoestring.match.data.pairs import Pairs
from shoestring.match.deciding.calibration import Calibration, calibrate
from shoestring.match.deciding.grading import Grading, graded
from shoestring.match.deciding.metric import Metric
from shoestring.match.deciding.threshold import Curve, bootstrap

FILE = "matching.json"
MOST_GRADES = 20
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
APART, SHARE = (
    0.15,
    0.1,
)  # of the middle nine tenths of the scores, and of positives: from here on worth a remark


@dataclass(frozen=True)
class Decision:
    """How scores become verdicts, and on which pairs that was chosen.

    Args:
        mode: bi or cross.
        metric: what the threshold is best at.
        threshold: a pair is a match when its score is at least this.
        threshold_interval: by bootstrap.
        value: the metric on the pairs that chose the threshold.
        value_interval: of the metric on new pairs.
        optimism: by how much `value` is too good.
        level: of the intervals.
        above: labels above this were matches.
        calibration: from score to probability.
        grades: thresholds between graded labels, if there were more than two.
        data: name, SHA-256 and number of those pairs.
        one_way: a cross-encoder's scores were of one order of the texts, not the mean of both.
    """

    mode: str
    metric: str
    threshold: float
    threshold_interval: tuple[float, float]
    value: float
    value_interval: tuple[float, float]
    optimism: float
    level: float
    above: float
    calibration: Calibration
    grades: Grading | None
    data: dict[str, Any]
    one_way: bool = False

    def verdicts(self, scores: NDArray) -> NDArray:
        """Returns (n,) of 0 and 1."""
        return (np.asarray(scores, float) >= self.threshold).astype(np.int64)

    def cut(self, pairs: Pairs, above: float | None = None) -> float:
        """Returns above which label other pairs match.

        Args:
            pairs: to be judged by this threshold.
            above: what the user says; None is what the threshold was chosen with.

        Raises:
            OptionError: nothing was said, and the labels are on another scale.
        """
        if above is not None:
            return above
        low, high = self.data.get("labels", (self.above - 0.5, self.above + 0.5))
        pairs.require_scale(low, high)
        return self.above

    def remarks(self, scores: NDArray, truth: NDArray | None = None) -> list[str]:
        """Returns how other pairs differ from those that chose the threshold; nothing where they do not.

        Args:
            scores: (n,) of the other pairs.
            truth: (n,) of 0 and 1, where labels are known.
        """
        lines, known = [], self.data.get("scores")
        if known:
            here = np.quantile(scores, QUANTILES)
            apart = float(np.abs(here - known).max() / max(known[-1] - known[0], 1e-12))
            if apart > APART:
                lines.append(
                    f"OTHER PAIRS: their median score is {here[len(here) // 2]:.4g}, that of those which chose the "
                    f"threshold {known[len(known) // 2]:.4g}; choose it on pairs like these: match train --epochs 0"
                )
        share = self.data.get("positives")
        if truth is not None and share is not None and abs(float(truth.mean()) - share) > SHARE:
            lines.append(
                f"OTHER PAIRS: {truth.mean():.0%} of them match, {share:.0%} of those which chose the threshold"
            )
        return lines

    def write(self, folder: Path) -> None:
        """Writes the file into a model's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", "utf-8")


def decide(
    scores: NDArray,
    pairs: Pairs,
    mode: str,
    metric: str | Metric = "f1",
    above: float | None = None,
    calibration: str = "auto",
    rounds: int = 1000,
    seed: int = 0,
    one_way: bool = False,
) -> Decision:
    """Chooses threshold and calibration.

    Args:
        scores: (n,) of the pairs.
        pairs: with their labels.
        mode: bi or cross, what gave the scores.
        metric: what the threshold shall be best at.
        above: labels above this are matches; None is the middle of their range.
        calibration: auto, platt or isotonic.
        rounds: bootstrap samples.
        seed: of these.
        one_way: the scores are a cross-encoder's of one order of the texts.
    """
    cut_at = pairs.middle if above is None else above
    truth = pairs.binary(cut_at)
    curve = Curve.of(scores, truth)
    cut, unsure = curve.best(metric), bootstrap(curve, metric, rounds, seed=seed)
    few = 2 < len(pairs.levels) <= MOST_GRADES
    return Decision(
        mode, cut.metric, cut.threshold, unsure.threshold, cut.value, unsure.value, unsure.optimism,
        unsure.level, cut_at, calibrate(scores, truth, calibration),
        graded(scores, pairs.labels) if few else None,
        {"name": Path(pairs.name).name, "sha256": pairs.fingerprint, "pairs": len(pairs),
         "labels": [pairs.levels[0], pairs.levels[-1]], "positives": float(truth.mean()),
         "scores": np.quantile(scores, QUANTILES).tolist()},
        one_way,
    )  # fmt: skip


def read_decision(folder: Path) -> Decision | None:
    """Returns what `matching.json` says, or None where there is none.

    Raises:
        InputError: it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        values.setdefault("one_way", values["mode"] == "cross")  # as it was before both orders were read
        values = {each.name: values[each.name] for each in fields(Decision)}
        values["calibration"] = Calibration(**_tuples(values["calibration"]))
        values["grades"] = Grading(**_tuples(values["grades"])) if values["grades"] else None
        return Decision(**_tuples(values))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); train or tune the model again") from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
