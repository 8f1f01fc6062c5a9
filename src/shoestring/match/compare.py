"""Bi-encoder against cross-encoder: the same base, pairs and budget; what each is worth and what it costs.

- Both choose their threshold on the development pairs and are measured on the test pairs.
- Differences are of the same pairs, with percentile bootstrap intervals.
- Searching n texts costs a bi-encoder one forward pass and n products, a cross-encoder n forward passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import OptionError
from shoestring.match.data.pairs import Pairs
from shoestring.match.deciding.decision import Decision, decide
from shoestring.match.deciding.threshold import LEVEL, Curve
from shoestring.match.matcher import Matcher
from shoestring.match.training.settings import Training, spearman
from shoestring.match.training.train import train
from shoestring.ui import UI

ROUNDS = 500


@dataclass(frozen=True)
class Side:
    """What one kind of model reached on the test pairs.

    Args:
        decision: its threshold, which was best for accuracy on the development pairs.
        spearman: rank correlation of scores and labels.
        accuracy: at that threshold.
        f1: at the threshold that was best for F1 on the development pairs.
        train_seconds: of training.
        pairs_per_second: when scoring pairs.
        texts_per_second: when embedding texts; a cross-encoder's pairs.
        scores: (n,) of the test pairs.
        f1_verdicts: (n,) by the threshold of `f1`.
    """

    decision: Decision
    spearman: float
    accuracy: float
    f1: float
    train_seconds: float
    pairs_per_second: float
    texts_per_second: float
    scores: NDArray
    f1_verdicts: NDArray

    @property
    def mode(self) -> str:
        """`bi` or `cross`."""
        return self.decision.mode

    @property
    def threshold(self) -> float:
        """That of the decision."""
        return self.decision.threshold


@dataclass(frozen=True)
class Comparison:
    """Both sides, and how far cross is ahead of bi: name -> (difference, low, high)."""

    bi: Side
    cross: Side
    ahead: dict[str, tuple[float, float, float]]
    pairs: int

    def search_seconds(self, texts: int, products_per_second: float = 1e7) -> tuple[float, float]:
        """Returns the seconds of one query over so many embedded texts: (bi, cross).

        Args:
            texts: how many.
            products_per_second: scalar products of embeddings; 1e7 is one core at 384 components, 15 GB/s.
        """
        return 1 / self.bi.texts_per_second + texts / products_per_second, texts / self.cross.pairs_per_second


def compare(
    base: str | Path,
    pairs: Pairs,
    dev: Pairs,
    test: Pairs,
    output: str | Path,
    settings: Training | None = None,
    *,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Comparison:
    """Trains both kinds and measures them.

    Args:
        base: of both.
        pairs: to train on.
        dev: to choose steps and thresholds.
        test: to report on.
        output: folder that gets `bi` and `cross`.
        settings: of both; the mode is set here, and CoSENT's scale is each kind's own.
        overwrite: replace what is there.
        ui: shows the progress.

    Raises:
        OptionError: the loss is not one that both kinds have.
    """
    settings, ui = settings or Training(), ui or UI(quiet=True)
    if settings.loss not in ("cosent", "softmax"):
        raise OptionError(f"loss {settings.loss!r}: both kinds have cosent and softmax; choose one of them")
    Path(output).mkdir(parents=True, exist_ok=True)
    above = dev.middle if settings.above is None else settings.above
    truth = test.binary(above)
    sides: dict[str, Side] = {}
    for mode in ("bi", "cross"):
        ui.say(f"{mode}-encoder:")
        own = replace(settings, mode=mode, metric="accuracy", above=above)
        done = train(base, pairs, dev, Path(output, mode), own, overwrite=overwrite, ui=ui)
        sides[mode] = _side(done.folder, done.decision, done.seconds, dev, test, truth, settings, ui)
    bi, cross = sides["bi"], sides["cross"]
    return Comparison(bi, cross, _ahead(bi, cross, test.labels, truth, settings.seed), len(test))


def _side(
    folder: Path, decision: Decision, seconds: float, dev: Pairs, test: Pairs, truth: NDArray,
    settings: Training, ui: UI,
) -> Side:  # fmt: skip
    matcher = Matcher(folder, settings.device)
    with ui.bar("measuring", len(dev) + len(test), "pair") as bar:
        by_f1 = decide(
            matcher.scores(list(dev), progress=bar.update), dev, decision.mode, "f1", decision.above, rounds=2
        )
        start = time.process_time()
        scores = matcher.scores(list(test), progress=bar.update)
        spent = time.process_time() - start
    curve, count = Curve.of(scores, truth), len({text for pair in test for text in pair})
    return Side(
        decision, spearman(scores, test.labels), curve.at(decision.threshold, "accuracy").value,
        curve.at(by_f1.threshold, "f1").value, seconds, len(test) / spent,
        (len(test) if matcher.crossed else count) / spent, scores, by_f1.verdicts(scores),
    )  # fmt: skip


def _ahead(
    bi: Side, cross: Side, labels: NDArray, truth: NDArray, seed: int
) -> dict[str, tuple[float, float, float]]:
    rows = np.random.default_rng(seed).integers(0, len(truth), (ROUNDS, len(truth)))

    every = np.arange(len(truth))
    right = {side.mode: side.decision.verdicts(side.scores) == truth for side in (bi, cross)}

    def interval(measure: Callable[[Side, NDArray], float]) -> tuple[float, float, float]:
        drawn = [measure(cross, row) - measure(bi, row) for row in rows]
        low, high = np.percentile(drawn, [50 - 50 * LEVEL, 50 + 50 * LEVEL])
        return measure(cross, every) - measure(bi, every), float(low), float(high)

    return {
        "spearman": interval(lambda side, row: spearman(side.scores[row], labels[row])),
        "accuracy": interval(lambda side, row: float(right[side.mode][row].mean())),
        "f1": interval(lambda side, row: _f1(side.f1_verdicts[row], truth[row])),
    }


def _f1(said: NDArray, truth: NDArray) -> float:
    return float(2 * (said & truth).sum() / max(1, said.sum() + truth.sum()))
