"""What a search found: texts with scores, and what the thresholds of one or two models say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OptionError
from shoestring.match.matcher import Matcher

Document = tuple[str, Mapping[str, Any]]
Record = Mapping[str, Any]


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
        key: under which the user stored it; None where there is none.
    """

    id: int
    text: str
    score: float
    probability: float | None = None
    match: bool | None = None
    rerank: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None


def hits(
    ids: Sequence[int], scores: Iterable[float], records: Sequence[Record], matcher: Matcher
) -> list[Hit]:
    """Joins what a search found with what the model's threshold says about it.

    It says nothing where queries have a prompt of their own: the threshold was chosen on pairs without.
    """
    values = np.array(list(scores), float)
    decision = matcher.decision if matcher.searches_as_it_judges else None
    chances = decision.calibration(values).tolist() if decision else [None] * len(values)
    verdicts = decision.verdicts(values).astype(bool).tolist() if decision else [None] * len(values)
    return [
        Hit(row, record["text"], score, chance, verdict, None, record["metadata"], record.get("key"))
        for row, record, score, chance, verdict in zip(
            ids, records, values.tolist(), chances, verdicts, strict=True
        )
    ]


def reranked(query: str, found: Sequence[Hit], matcher: Matcher) -> list[Hit]:
    """Returns hits in the order of a cross-encoder, with its probability and verdict.

    One without a threshold of ours was made to read a query and a passage in this order, and no other.
    """
    said = matcher.predict([(query, hit.text) for hit in found], one_way=None if matcher.decision else True)
    order = np.argsort(-said.scores, kind="stable")
    chances = [None] * len(order) if said.probabilities is None else said.probabilities.tolist()
    verdicts = [None] * len(order) if said.verdicts is None else said.verdicts.astype(bool).tolist()
    return [
        replace(found[at], probability=chances[at], match=verdicts[at], rerank=float(said.scores[at]))
        for at in map(int, order)
    ]


def answered(
    queries: Sequence[str],
    k: int,
    nearest: Callable[[list[str], int], tuple[NDArray, NDArray]],
    record: Callable[[int], Record],
    matcher: Matcher,
    rerank: Matcher | None = None,
    candidates: int = 50,
) -> list[list[Hit]]:
    """Returns the k best texts of every query: what every kind of index does with what it found.

    Args:
        queries: texts.
        k: how many of each.
        nearest: gives (rows, scores) of queries, so many of each.
        record: gives what was stored with a row: `text`, `metadata`, and `key` where it has one.
        matcher: the bi-encoder, whose threshold judges.
        rerank: a cross-encoder that sorts the nearest `candidates` anew.
        candidates: how many it looks at.

    Raises:
        OptionError: k is below 1; `rerank` is a bi-encoder.
        InputError: a query is empty.
    """
    if k < 1:
        raise OptionError(f"k {k}: must be at least 1")
    if rerank and not rerank.crossed:
        raise OptionError(f"{rerank.folder}: is a bi-encoder; reranking needs a cross-encoder")
    if rerank and candidates < 1:
        raise OptionError(f"candidates {candidates}: must be at least 1")
    if not all(query.strip() for query in queries):
        raise InputError("empty query: give a text")
    rows, scores = nearest(list(queries), max(k, candidates) if rerank else k)
    found = [
        hits(list(map(int, ids)), row, [record(int(each)) for each in ids], matcher)
        for ids, row in zip(rows, scores, strict=True)
    ]
    if rerank is None:
        return found
    return [reranked(query, each, rerank)[:k] for query, each in zip(queries, found, strict=True)]


def row_numbers(index: object, ids: Iterable[object], rows: int) -> set[int]:
    """Returns the numbers of rows that are meant.

    Args:
        index: whose rows, for the message.
        ids: what a caller gave.
        rows: how many there are.

    Raises:
        InputError: one of them is no number of a row; True and 1.0 are none.
    """
    found = set()
    for each in ids:
        if isinstance(each, bool) or not isinstance(each, int | np.integer) or not 0 <= each < rows:
            raise InputError(f"{index}: no row {each}; there are {rows:,}, from 0 on")
        found.add(int(each))
    return found
