"""Shortcuts: what a label can be guessed from without understanding either text.

- A small model for each kind of surface, on nothing but that: lengths, final marks, overlap of characters, their
  order, frequent characters and pairs of them, one of the two texts alone; and on all of them together.
- What it guesses right is measured on pairs whose texts it has not seen (five parts that share none), beside the share
  of the more frequent label and as the area under the ROC curve, 0.5 for nothing.
- Between sets: the model of one set asked about another. What it loses is a shortcut of the one only, and a model that
  learnt it will lose it, too (Gururangan et al. 2018, arXiv 1803.02324; McCoy et al. 2019, arXiv 1902.01007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.match.data.pairs import Pairs

MOST = 8000  # pairs of a set that are looked at
FOLDS = 5
MARKS = frozenset("。？！?!.；;…~～")
GRAMS = 2000
SURFACE = ("lengths", "final marks", "one text alone")  # a label should not depend on these
KINDS = ("lengths", "final marks", "overlap", "order", "frequent words", "one text alone")
ALL = "all of these"
FEWEST = 500  # pairs that a warning needs
WORTH = 0.6  # area under the curve from which a shortcut is worth a warning


@dataclass(frozen=True)
class Shortcut:
    """How far a kind of surface goes in one set.

    Args:
        kind: one of `KINDS`, or all of them together.
        accuracy: share of labels that are guessed right.
        area: under the ROC curve.
        elsewhere: the area on the pairs of each other set, by its name.
    """

    kind: str
    accuracy: float
    area: float
    elsewhere: dict[str, float]


@dataclass(frozen=True)
class Audit:
    """The shortcuts of one set.

    Args:
        name: of the set.
        pairs: how many were looked at.
        majority: share of the more frequent label.
        shortcuts: by kind.
    """

    name: str
    pairs: int
    majority: float
    shortcuts: dict[str, Shortcut]

    def warnings(self) -> list[str]:
        """Returns a line for each surface that a label should not depend on, and does."""
        return [
            f"SHORTCUT: {self.name}: {each.accuracy:.0%} of the labels can be guessed from {each.kind} "
            f"(area {each.area:.2f}; the more frequent label is {self.majority:.0%}); see shoestring match audit"
            for each in self.shortcuts.values()
            if each.kind in SURFACE and each.area >= WORTH
        ]


def audit(
    sets: Sequence[Pairs], above: float | None = None, seed: int = 0, kinds: Sequence[str] = (*KINDS, ALL)
) -> list[Audit]:
    """Looks for shortcuts in sets of pairs.

    Args:
        sets: labelled pairs.
        above: labels above this match; None is the middle of each set's range.
        seed: of the pairs that are looked at, and of the parts.
        kinds: what to guess from.

    Raises:
        InputError: a set is too small to be cut into parts.
    """
    parts = [_sample(each, seed) for each in sets]
    truths = [each.binary(above) for each in parts]
    found: list[dict[str, Shortcut]] = [{} for _ in sets]
    for kind in kinds:
        models = [guesser(each, truth, kind) for each, truth in zip(parts, truths, strict=True)]
        for at, (part, truth) in enumerate(zip(parts, truths, strict=True)):
            chances = _unseen(part, truth, kind, seed)
            elsewhere = {
                other.name: _area(theirs, models[at](other))
                for place, (other, theirs) in enumerate(zip(parts, truths, strict=True)) if place != at
            }  # fmt: skip
            right = float(((chances >= 0.5) == truth).mean())
            found[at][kind] = Shortcut(kind, right, _area(truth, chances), elsewhere)
    return [
        Audit(part.name, len(part), float(max(truth.mean(), 1 - truth.mean())), each)
        for part, truth, each in zip(parts, truths, found, strict=True)
    ]


def surface_warnings(pairs: Pairs, seed: int = 0) -> list[str]:
    """Returns a line for each surface that labels should not depend on, and do; nothing for few pairs."""
    if len(pairs) < FEWEST:
        return []
    try:
        return audit(
            [pairs.take(np.arange(len(pairs))[:: 1 + len(pairs) // 4000])], seed=seed, kinds=SURFACE
        )[0].warnings()
    except InputError:  # all of them share texts
        return []


def guesser(pairs: Pairs, truth: NDArray, kind: str = ALL) -> Callable[[Pairs], NDArray]:
    """Learns to guess labels from the surface.

    Args:
        pairs: to learn from.
        truth: (n,) of 0 and 1.
        kind: one of `KINDS`, or `ALL`.

    Returns:
        A function from pairs to (m,) chances that they match.
    """
    sparse: Any = require("match", "scipy.sparse")
    learner: Any = require("match", "sklearn.linear_model").LogisticRegression(C=0.3, max_iter=300)
    shapes: Any = require("match", "sklearn.preprocessing")
    bins: Any = shapes.KBinsDiscretizer(10, strategy="quantile", quantile_method="averaged_inverted_cdf")
    scale: Any = shapes.MaxAbsScaler()
    kinds = KINDS if kind == ALL else (kind,)
    numbers, bags = [each for each in kinds if each in ROWS], [each for each in kinds if each not in ROWS]
    grams = _grams([text for pair in pairs for text in pair]) if bags else None

    def columns(some: Pairs, fit: bool = False) -> Any:
        parts = [_bag(some, each, grams) for each in bags]
        if numbers:
            rows = np.hstack([np.array([ROWS[each](*pair) for pair in some], float) for each in numbers])
            rows = rows.round(6)  # what differs by less is in one bin, and a column of it has none
            parts += [(bins.fit_transform if fit else bins.transform)(rows)]  # a linear model can bend
            parts += [(scale.fit_transform if fit else scale.transform)(rows)]  # yes and no make no bins
        return sparse.hstack(parts).tocsr()

    with catch_warnings():
        simplefilter("ignore")  # of columns that are constant
        learner.fit(columns(pairs, fit=True), truth)
    return lambda some: learner.predict_proba(columns(some))[:, 1]


def _unseen(pairs: Pairs, truth: NDArray, kind: str, seed: int) -> NDArray:
    """Chances of every pair by a model that has seen none of its texts."""
    chances, parts = np.full(len(pairs), np.nan), pairs.parts(FOLDS, seed)
    for held in range(FOLDS):
        inside, outside = np.flatnonzero(parts != held), np.flatnonzero(parts == held)
        if not len(outside) or len(set(truth[inside].tolist())) < 2:
            raise InputError(
                f"{pairs.name}: {len(pairs):,} pairs cannot be cut in {FOLDS} parts that share no text"
            )
        chances[outside] = guesser(pairs.take(inside), truth[inside], kind)(pairs.take(outside))
    return chances


def _sample(pairs: Pairs, seed: int) -> Pairs:
    if len(pairs) <= MOST:
        return pairs
    return pairs.take(np.sort(np.random.default_rng(seed).permutation(len(pairs))[:MOST]))


def _area(truth: NDArray, chances: NDArray) -> float:
    metrics: Any = require("match", "sklearn.metrics")
    return float(metrics.roc_auc_score(truth, chances))


def _grams(texts: Sequence[str]) -> Any:
    text: Any = require("match", "sklearn.feature_extraction.text")
    counter = text.CountVectorizer(
        analyzer="char", ngram_range=(1, 2), min_df=5, max_features=GRAMS, binary=True
    )
    try:
        return counter.fit(texts)
    except ValueError:  # too few texts for a character to be frequent
        return text.CountVectorizer(analyzer="char", max_features=GRAMS, binary=True).fit(texts)


def _bag(pairs: Pairs, kind: str, grams: Any) -> Any:
    """(n, features): what the first text has, or what both and what one of them has."""
    one, two = grams.transform(pairs.first), grams.transform(pairs.second)
    sparse: Any = require("match", "scipy.sparse")
    return one if kind == "one text alone" else sparse.hstack([one.multiply(two), abs(one - two)])


def _lengths(one: str, two: str) -> tuple[float, ...]:
    short, long = sorted((len(one), len(two)))
    return np.log1p(short), np.log1p(long), np.log1p(short + long), long - short, short / max(1, long)


def _marks(one: str, two: str) -> tuple[float, ...]:
    ends = sorted((one[-1:] in MARKS, two[-1:] in MARKS))
    return ends[0], ends[1], one[-1:] == two[-1:]


def _overlap(one: str, two: str) -> tuple[float, ...]:
    out = []
    for size in (1, 2):
        mine, theirs = ({text[at : at + size] for at in range(len(text) - size + 1)} for text in (one, two))
        common = len(mine & theirs)
        out += [common / max(1, len(mine | theirs)), common / max(1, min(len(mine), len(theirs)))]
    return tuple(out)


@lru_cache(4 * MOST)  # each pair is asked for by every part and kind, and long texts take milliseconds
def _order(one: str, two: str) -> tuple[float, ...]:
    blocks = SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks()
    inside = sum(each.size for each in blocks) / max(1, min(len(one), len(two)))
    longest = max((each.size for each in blocks), default=0) / max(1, min(len(one), len(two)))
    return inside, longest, one[:2] == two[:2], one[-2:] == two[-2:]


ROWS = {"lengths": _lengths, "final marks": _marks, "overlap": _overlap, "order": _order}
