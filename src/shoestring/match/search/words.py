"""Beside vectors: texts by their words (BM25, Robertson & Zaragoza 2009), and rows by their metadata.

- Words are those of letters and digits, and of Chinese, Japanese and Korean every character and every two in a row.
- A hybrid search joins both lists by reciprocal ranks, sum of 1 / (60 + rank) (Cormack, Clarke & Buettcher 2009).
  A hit's score stays the bi-encoder's, so that its threshold keeps its meaning.
- Made from the records when first asked for, and again when the index has changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._extras import require
from shoestring.match.search.metadata import marks, require_names, wanted_marks
from shoestring.match.search.nearest import Found
from shoestring.match.search.storage import Generation

HALF = 60  # of reciprocal ranks
WORD = re.compile(r"[^\W_\u2e80-\U0003ffff]+|[^\W_\x00-\u2e7f]+")  # of letters, or of ideographs


class Words:
    """The words and the metadata of one generation of an index."""

    def __init__(self, now: Generation) -> None:
        self.now = now

    def where(self, wanted: Mapping[str, object]) -> NDArray:
        """Returns (n,) the rows whose metadata have all these values; in a list, one of them.

        A value is compared as it is written, `3` with "3", and with numbers by what it is worth, with 3 and 3.0.

        Raises:
            InputError: no text has metadata of that name.
        """
        names, rows = self._marked
        require_names(wanted, names, self.now.folder)
        lists = [
            {row for mark in wanted_marks(*each) for row in rows.get(mark, ())} for each in wanted.items()
        ]
        return np.array(sorted(set.intersection(*lists)), np.int64)

    def fused(
        self, queries: Sequence[str], vectors: NDArray, near: NDArray, count: int, allowed: NDArray | None
    ) -> Found:
        """Joins the nearest rows with the best by BM25.

        Args:
            queries: texts.
            vectors: (queries, width) their embeddings.
            near: (queries, m) rows, the nearest first.
            count: how many to return of each.
            allowed: rows that count; None for all.

        Returns:
            (rows, scores), each (queries, min(count, m)), best first; the scores are products of embeddings.
        """
        rows = np.array(
            [
                _joined(row, self._best(query, near.shape[1], allowed))[: min(count, near.shape[1])]
                for query, row in zip(queries, near, strict=True)
            ],
            np.int64,
        ).reshape(near.shape[0], min(count, near.shape[1]))
        return rows, np.einsum("qd,qkd->qk", vectors, self.now.vectors[rows])

    def _best(self, query: str, count: int, allowed: NDArray | None) -> NDArray:
        """The rows with the highest BM25; only those that have a word of the query."""
        known = [word for word in words(query) if word in self._bm25.vocab_dict] if len(self._rows) else []
        if not known:
            return np.zeros(0, np.int64)
        scores = np.asarray(self._bm25.get_scores(known), float)
        if allowed is not None:
            scores[~np.isin(self._rows, allowed)] = 0
        order = np.argsort(-scores, kind="stable")[:count]
        return self._rows[order[scores[order] > 0]]

    @cached_property
    def _rows(self) -> NDArray:
        return np.setdiff1d(np.arange(self.now.rows), self.now.deleted)

    @cached_property
    def _bm25(self) -> Any:
        library: Any = require("match", "bm25s")
        core = library.BM25()
        texts = [words(record["text"]) or [""] for _, record in self.now.records()]
        core.index(texts, show_progress=False, create_empty_token=False)
        return core

    @cached_property
    def _marked(self) -> tuple[set[str], Mapping[str, list[int]]]:
        """The names of the metadata, and the rows that have a mark."""
        names, rows = set(), defaultdict(list)
        for row, record in self.now.records():
            names.update(record["metadata"])
            for mark in marks(record["metadata"]):
                rows[mark].append(row)
        return names, rows


def words(text: str) -> list[str]:
    """Returns the words of a text, as BM25 counts them.

    >>> words("Web版的花呗")
    ['web', '版', '的', '花', '呗', '版的', '的花', '花呗']
    """
    found = []
    for run in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        found += [run] if run[0] < "\u2e80" else [*run, *map("".join, pairwise(run))]
    return found


def _joined(*lists: NDArray) -> list[int]:
    score: dict[int, float] = defaultdict(float)
    for each in lists:
        for rank, row in enumerate(each.tolist(), 1):
            score[row] += 1 / (HALF + rank)
    return sorted(score, key=lambda row: -score[row])
