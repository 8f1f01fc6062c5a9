"""Rows that have the same vector, to the last bit: a graph has one node for all of them, and knows whose it is.

Doubles in a graph link to each other only, so that a search among them never leaves them, nor do those that come near.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 12  # rows that are looked at, at a time


def numbered(vectors: NDArray) -> NDArray:
    """Returns (n,) int32: the number of each row's vector, in the order in which they first appear.

    More rows behind them change no number. Rows are told apart by a hash of their bits, which is then verified.

    >>> numbered(np.array([[1, 2], [3, 4], [1, 2], [5, 6]], np.float32)).tolist()
    [0, 1, 0, 2]
    """
    weights = np.random.default_rng(0).integers(1, 1 << 63, vectors.shape[1], np.uint64) | np.uint64(1)
    parts = [
        _bits(vectors[at : at + BLOCK]).astype(np.uint64) @ weights for at in range(0, len(vectors), BLOCK)
    ]
    _, first, group = np.unique(np.concatenate(parts), return_index=True, return_inverse=True)
    again = np.flatnonzero(first[group] != np.arange(len(vectors)))
    for at in range(0, len(again), BLOCK):
        some = again[at : at + BLOCK]
        if (_bits(vectors[some]) != _bits(vectors[first[group[some]]])).any():
            return np.arange(
                len(vectors), dtype=np.int32
            )  # two have one hash, which one in 10^8 indexes may see
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return number[group]


def _bits(vectors: NDArray) -> NDArray:
    return np.ascontiguousarray(vectors, np.float32).view(np.uint32)


class Doubles:
    """Which rows a node stands for.

    Args:
        nodes: (rows,) int32, as `numbered` returns them.

    Attributes:
        first: (nodes,) the first row of each.
    """

    def __init__(self, nodes: NDArray) -> None:
        self.nodes = nodes
        self._rows = np.argsort(nodes, kind="stable").astype(np.int32)
        self._ends = np.cumsum(np.bincount(nodes))
        self.first = self._rows[np.append(0, self._ends[:-1])]

    def gone(self, rows: NDArray) -> NDArray:
        """Returns the nodes of which all rows are among these."""
        nodes, counts = np.unique(self.nodes[rows], return_counts=True)
        return nodes[counts == self._ends[nodes] - np.append(0, self._ends)[nodes]].astype(np.int64)

    def spread(self, nodes: NDArray, scores: NDArray, k: int, without: NDArray) -> tuple[NDArray, NDArray]:
        """Returns the first k rows of the nodes of each query, and their scores.

        Args:
            nodes: (queries, m), the best first, that have k rows at least.
            scores: of these.
            k: rows of each query.
            without: rows that do not count.
        """
        out = [self._spread(*each, k, without) for each in zip(nodes, scores, strict=True)]
        return np.array([rows for rows, _ in out], np.int64), np.array(
            [each for _, each in out], scores.dtype
        )

    def _spread(self, nodes: NDArray, scores: NDArray, k: int, without: NDArray) -> tuple[NDArray, NDArray]:
        rows, values = [], []
        left = k
        for node, score in zip(nodes.tolist(), scores.tolist(), strict=True):
            found = self._rows[self._ends[node - 1] if node else 0 : self._ends[node]]
            found = found[~np.isin(found, without)][:left] if len(without) else found[:left]
            rows.append(found)
            values.append(np.full(len(found), score))
            left -= len(found)
            if not left:
                break
        return np.concatenate(rows), np.concatenate(values)
