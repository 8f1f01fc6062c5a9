"""Runs of kinds of model over growing numbers of pairs: what they are worth, and which is ahead. numpy only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.files import atomic
from shoestring.match.deciding.threshold import LEVEL

ROUNDS = 2000
CALLED = {
    "cross": "the cross-encoder", "joined": "the encoder joined above", "distilled": "the distilled bi-encoder",
    "cross-from-bi": "the cross-encoder from the bi-encoder",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One trained model on all sets of pairs.

    Args:
        mode: the kind: bi, cross, ...
        size: pairs that it was trained on; 0 for none.
        seed: of the run and of the pairs.
        steps: of training.
        seconds: of training.
        rising: its last check was its best: it may be better after more steps.
        threshold: chosen on the development pairs.
        scores: (n,) of the pairs of each set.
        identity: of settings and data.
    """

    mode: str
    size: int
    seed: int
    steps: int
    seconds: float
    rising: bool
    threshold: float
    scores: Mapping[str, NDArray]
    identity: str

    def write(self, path: Path) -> None:
        """Stores the run."""
        names = ("mode", "size", "seed", "steps", "seconds", "rising", "threshold", "identity")
        facts = {**{name: getattr(self, name) for name in names}, "sets": list(self.scores)}
        arrays: dict[str, Any] = {f"scores{at}": each for at, each in enumerate(self.scores.values())}
        with atomic(path, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)

    @classmethod
    def read(cls, path: Path) -> Run:
        """Reads a run back."""
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            scores = {name: file[f"scores{at}"] for at, name in enumerate(facts.pop("sets"))}
        return cls(**facts, scores=scores)


@dataclass(frozen=True)
class Curves:
    """What runs are worth by kind, size and set.

    Args:
        runs: any number of each kind and size.
        truths: (n,) of 0 and 1 of each set.
        labels: (n,) of each set.
        parts: name -> (set, mask): a part of a set that is reported like one.
        seed: of the bootstrap.
    """

    runs: tuple[Run, ...]
    truths: Mapping[str, NDArray]
    labels: Mapping[str, NDArray]
    parts: Mapping[str, tuple[str, NDArray]]
    seed: int = 0

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Of the trained runs, smallest first."""
        return tuple(sorted({run.size for run in self.runs if run.size}))

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the sets and of their parts."""
        return (*self.truths, *self.parts)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Of the trained runs, as they came; the first is what the others are compared with."""
        return tuple(dict.fromkeys(run.mode for run in self.runs if run.size))

    def of(self, mode: str, size: int) -> list[Run]:
        """Returns the runs of a kind and size, by seed."""
        found = [run for run in self.runs if (run.mode, run.size) == (mode, size)]
        return sorted(found, key=lambda run: run.seed)

    def right(self, mode: str, size: int, name: str) -> NDArray:
        """Returns (seeds, n): which pairs of a set were judged right."""
        whole, mask = self.parts.get(name, (name, None))
        rows = np.array(
            [(run.scores[whole] >= run.threshold) == self.truths[whole] for run in self.of(mode, size)]
        )
        return rows if mask is None else rows[:, mask]

    def accuracy(self, mode: str, size: int, name: str) -> tuple[float, float, float]:
        """Returns the mean over the seeds, and its interval over pairs and seeds."""
        return interval(self.right(mode, size, name).astype(float), self.seed)

    def ahead(self, mode: str, size: int, name: str) -> tuple[float, float, float]:
        """Returns by how much a kind is more accurate than the bi-encoder, with its interval."""
        other, bi = (self.right(each, size, name) for each in (mode, "bi"))
        return interval(other.astype(float) - bi, self.seed)

    def spearman(self, run: Run) -> dict[str, float]:
        """Returns the rank correlation of a run's scores and the labels of each set."""
        return {name: rank_correlation(run.scores[name], labels) for name, labels in self.labels.items()}

    def rising(self, mode: str) -> list[int]:
        """Returns the sizes where a run of a kind was still rising."""
        return sorted({run.size for run in self.runs if run.mode == mode and run.rising})

    def sentence(self, mode: str, name: str) -> str:
        """Says from how many pairs on a kind is ahead of the bi-encoder on a set, whichever way it comes out."""
        signs, who = [(size, *self.ahead(mode, size, name)) for size in self.sizes], CALLED[mode]
        last, (_, _, low, high) = f"{signs[-1][0]:,} pairs", signs[-1]
        if low > 0:
            first = next(
                size for at, (size, *_) in enumerate(signs) if all(each > 0 for _, _, each, _ in signs[at:])
            )
            return f"{name}: from {first:,} pairs on {who} is ahead, by {_points(signs[-1])} at {last}"
        if high < 0:
            return f"{name}: {who} is behind, by {_points(signs[-1])} at {last}"
        return f"{name}: up to {last} neither the bi-encoder nor {who} is ahead for certain ({_points(signs[-1])})"


def rank_correlation(one: NDArray, two: NDArray) -> float:
    """Returns Spearman's correlation, ties averaged; 0 where one side is constant."""
    ranks = [_ranks(np.asarray(each)) for each in (one, two)]
    spread = [float(each.std()) for each in ranks]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(spread) else 0.0


def _ranks(values: NDArray) -> NDArray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[group]


def interval(values: NDArray, seed: int = 0, rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Returns the mean of values of several seeds and pairs, and its bootstrap interval over both.

    Args:
        values: (seeds, pairs). With one seed the interval is over the pairs alone.
        seed: of the draws.
        rounds: how often seeds and pairs are drawn.
    """
    rng, (seeds, pairs) = np.random.default_rng(seed), values.shape
    drawn = np.empty(rounds)
    for at in range(rounds):
        mean = values[rng.integers(0, seeds, seeds)].mean(axis=0)
        drawn[at] = mean[rng.integers(0, pairs, pairs)].mean()
    low, high = np.percentile(drawn, [50 - 50 * LEVEL, 50 + 50 * LEVEL])
    return float(values.mean()), float(low), float(high)


def _points(found: tuple[int, float, float, float]) -> str:
    _, gap, low, high = found
    return f"{100 * gap:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
