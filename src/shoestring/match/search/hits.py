"""What a search found: texts with scores, and what the thresholds of one or two models say about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shoestring.match.matcher import Matcher

Document = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Hit:
    """A text that was found.

    Args:
        id: its row.
        text: itself.
        score: by the bi-encoder.
        probability: that it means the same; None where the model has no calibration.
        match: whether the score reaches the threshold; None where there is none.
        rerank: score by the cross-encoder, by which hits are then sorted; probability and match are its own.
        metadata: what was stored with it.
    """

    id: int
    text: str
    score: float
    probability: float | None = None
    match: bool | None = None
    rerank: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def hits(
    ids: Sequence[int], scores: Iterable[float], documents: Sequence[Document], matcher: Matcher
) -> list[Hit]:
    """Joins what a search found with what the model's threshold says about it."""
    values = np.array(list(scores), float)
    decision = matcher.decision
    chances = decision.calibration(values).tolist() if decision else [None] * len(values)
    verdicts = decision.verdicts(values).astype(bool).tolist() if decision else [None] * len(values)
    return [
        Hit(row, text, score, chance, verdict, None, metadata)
        for row, (text, metadata), score, chance, verdict in zip(
            ids, documents, values.tolist(), chances, verdicts, strict=True
        )
    ]


def reranked(query: str, found: Sequence[Hit], matcher: Matcher) -> list[Hit]:
    """Returns hits in the order of a cross-encoder, with its probability and verdict."""
    said = matcher.predict([(query, hit.text) for hit in found])
    order = np.argsort(-said.scores, kind="stable")
    chances = [None] * len(order) if said.probabilities is None else said.probabilities.tolist()
    verdicts = [None] * len(order) if said.verdicts is None else said.verdicts.astype(bool).tolist()
    return [
        replace(found[at], probability=chances[at], match=verdicts[at], rerank=float(said.scores[at]))
        for at in map(int, order)
    ]
