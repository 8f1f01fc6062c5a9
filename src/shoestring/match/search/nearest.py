"""The nearest of many vectors: all products and the largest of them, or an HNSW graph that is tuned to its recall.

- `exact` needs numpy alone and reads memory-mapped vectors in blocks; a product is looked at again only if it is
  larger than the k-th so far. With faiss, whose kernel fuses both, it runs at the speed of the memory.
- `Graph` is HNSW (Malkov & Yashunin 2018, arXiv 1603.09320) by faiss. How wide it searches is not guessed: the
  least width at which a sample of its own rows finds 0.995 of their 10 nearest others, 0.99 if it is compact.
- A graph of like rows leads a query that is unlike them astray: what it finds is far away, and not the nearest. So a
  query whose tenth candidate is much farther away than the sample's is searched wider, or compared with all rows. And
  where unlike queries are not that far away, all are searched so wide that 0.99 of the nearest of such are found.
- A compact graph has half a byte for each component instead of four (faiss' scalar quantizer) and fewer links. All that
  it finds is scored again by the vectors themselves, which stay in their file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import ExtraMissing
from shoestring._extras import require
from shoestring.match.search.doubles import Doubles, numbered

BLOCK = 1 << 15  # rows of one product
MOST_MISSING = 1000  # deleted rows that faiss is asked for in vain
LINKS, COMPACT_LINKS, BUILD_WIDTH = 32, 24, 120  # HNSW's M and efConstruction
WIDTHS = (16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)  # its efSearch
SAMPLE, UNLIKE, NEIGHBOURS = 500, 200, 10
RECALL, COMPACT_RECALL = 0.995, 0.99  # four bits find 0.9946 among a million at any width
SPREAD, APART, WIDER = (
    0.05,
    (2.0, 3.5),
    8,
)  # a quantile; so many times as far off, and there searched so much wider
CUT, OUTSIDE = 0.01, 0.05  # of the components on each side of a range, and of new vectors out of it
RESCORED = 64  # queries at a time

NONE = np.zeros(0, np.int64)  # rows
Found = tuple[NDArray, NDArray]
Reach = tuple[
    float, float
]  # products of tenth neighbours: below the first search wider, below the second everywhere
EVERYWHERE: Reach = (-2.0, -2.0)  # below any product


def exact(vectors: NDArray, queries: NDArray, k: int, without: NDArray | None = None) -> Found:
    """Returns the rows with the k largest products with each query: (rows, scores), each (queries, k).

    Args:
        vectors: (n, width) float32, may be memory-mapped.
        queries: (m, width).
        k: at most n less those that do not count.
        without: rows that do not count.
    """
    gone = NONE if without is None else np.asarray(without, np.int64)
    if len(gone) <= MOST_MISSING and has_faiss():
        return _by_faiss(vectors, queries, k, gone)
    return _by_blocks(vectors, queries, k, gone)


def has_faiss() -> bool:
    """Tells whether faiss is installed."""
    try:
        require("faiss", "faiss")
    except ExtraMissing:
        return False
    return True


def _by_faiss(vectors: NDArray, queries: NDArray, k: int, gone: NDArray) -> Found:
    faiss: Any = require("faiss", "faiss")
    many = min(k + len(gone), len(vectors))
    scores, rows = faiss.knn(np.ascontiguousarray(queries), vectors, many, metric=faiss.METRIC_INNER_PRODUCT)
    if not len(gone):
        return rows, scores
    last = np.argsort(np.isin(rows, gone), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, last, axis=1), np.take_along_axis(scores, last, axis=1)


def _by_blocks(vectors: NDArray, queries: NDArray, k: int, gone: NDArray) -> Found:
    best = [(np.zeros(0, np.int64), np.zeros(0, vectors.dtype))] * len(queries)
    for start in range(0, len(vectors), BLOCK):
        products = queries @ vectors[start : start + BLOCK].T  # (m, block)
        products[:, gone[(gone >= start) & (gone < start + BLOCK)] - start] = -np.inf
        best = [_better(*each, row, start, k) for each, row in zip(best, products, strict=True)]
    order = [np.argsort(-scores, kind="stable") for _, scores in best]
    rows, scores = (
        np.array([each[side][at] for each, at in zip(best, order, strict=True)]) for side in (0, 1)
    )
    return rows, scores


def _better(rows: NDArray, scores: NDArray, products: NDArray, start: int, k: int) -> Found:
    """The k best of those so far and of a block."""
    new = np.flatnonzero(products > scores.min()) if len(scores) == k else np.arange(len(products))
    rows, scores = np.concatenate([rows, new + start]), np.concatenate([scores, products[new]])
    if len(scores) > k:
        kept = np.argpartition(scores, -k)[-k:]
        rows, scores = rows[kept], scores[kept]
    return rows, scores


def among(vectors: NDArray, queries: NDArray, k: int, rows: NDArray) -> Found:
    """Compares with some rows only, so many at a time as a block has."""
    found = nothing(len(queries))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        places, scores = exact(vectors[part], queries, min(k, len(part)))
        found = merged(found, (part[places], scores), k)
    return found


def nothing(queries: int) -> Found:
    """Returns that nothing was found."""
    return np.zeros((queries, 0), np.int64), np.zeros((queries, 0), np.float32)


def merged(one: Found, two: Found, k: int) -> Found:
    """Returns the k best of two findings of the same queries."""
    rows, scores = (np.concatenate(each, axis=1) for each in zip(one, two, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


class Graph:
    """An HNSW graph over the first rows of some vectors, with one node for all rows of the same vector.

    Args:
        path: of a file that `save` wrote; None starts an empty one.
        compact: keep half a byte for each component instead of the vectors.
        reach: as it was when the file was written.
        rows: that the file is of; None where no two are the same.

    Attributes:
        width: how many candidates a search keeps, HNSW's efSearch; 0 where no width finds enough.

    Raises:
        ExtraMissing: faiss is not installed.
    """

    def __init__(
        self, path: Path | None = None, compact: bool = False, reach: Reach = EVERYWHERE, rows: int | None = None
    ) -> None:  # fmt: skip
        self._faiss: Any = require("faiss", "faiss")
        self.compact, self.reach = compact, reach
        self.core: Any = self._faiss.read_index(str(path)) if path else None
        self._rows = self._nodes = self._columns = self.width = 0
        self._doubles: Doubles | None = None
        self._note()
        self._rows = self._nodes if rows is None else rows
        if path and self._rows > self._nodes:
            self._doubles = Doubles(np.fromfile(path, np.int32, offset=path.stat().st_size - 4 * self._rows))

    def __len__(self) -> int:
        return self._rows

    def _note(self) -> None:
        """Notes what each search needs of the core, which takes microseconds to tell."""
        if self.core is not None:
            self._nodes, self._columns, self.width = self.core.ntotal, self.core.d, self.core.hnsw.efSearch

    def extend(self, vectors: NDArray) -> None:
        """Adds the rows that the graph lacks and tunes it anew.

        Args:
            vectors: (n, width), of which the graph has the first. Where codes for these do not reach as far as the rest
                lies, all are put in anew.
        """
        if len(self) == len(vectors):
            return
        nodes = numbered(vectors)
        known = int(nodes[: len(self)].max(initial=-1)) + 1
        if self.core is not None and (
            known != self.core.ntotal or (self.compact and not self._reaches(vectors[len(self) :]))
        ):
            self.core, known = None, 0
        self._rows = len(vectors)
        self._doubles = Doubles(nodes) if int(nodes.max()) + 1 < len(nodes) else None
        if self.core is None:
            self.core = self._empty(vectors.shape[1])
            self.core.hnsw.efConstruction = BUILD_WIDTH
            self.core.train(self._distinct(vectors))
        self.core.add(self._distinct(vectors, known))
        self._note()
        self.core.hnsw.efSearch, self.reach = self._tuned(vectors)
        self._note()

    def _distinct(self, vectors: NDArray, start: int = 0) -> NDArray:
        """The vectors of the nodes from `start` on."""
        return np.ascontiguousarray(
            vectors[start:] if self._doubles is None else vectors[self._doubles.first[start:]]
        )

    def save(self, path: str) -> None:
        """Writes the graph into a file, with the nodes of its rows behind it where some are the same."""
        self._faiss.write_index(self.core, path)
        if self._doubles is not None:
            with open(path, "ab") as file:
                file.write(self._doubles.nodes.tobytes())

    def nearest(
        self, vectors: NDArray, queries: NDArray, k: int, without: NDArray | None = None
    ) -> Found | None:
        """Returns about what `exact` does, or None where no width finds enough."""
        if not self.width or not len(queries):
            return None
        gone = NONE if without is None else without
        if self._doubles is None:
            return self._nearest(vectors, queries, k, gone)
        away = self._doubles.gone(gone)
        found = self._nearest(vectors, queries, min(k, self._nodes - len(away)), away)
        return self._doubles.spread(*found, k, gone)

    def _nearest(self, vectors: NDArray, queries: NDArray, k: int, gone: NDArray) -> Found:
        """The k nearest nodes."""
        rows, scores, tenth = self._searched(vectors, queries, k, gone, self.width)
        if min(tenth.tolist()) >= self.reach[0]:  # of few, sooner than an array's own
            return rows, scores
        if len(hard := np.flatnonzero(tenth < self.reach[0])):
            wide = self._searched(vectors, queries[hard], k, gone, WIDER * self.width)
            rows[hard], scores[hard], tenth[hard] = wide
        if len(far := np.flatnonzero(tenth < self.reach[1])):
            rows[far], scores[far] = self._exact(vectors, queries[far], k, gone)
        return rows, scores

    def _exact(self, vectors: NDArray, queries: NDArray, k: int, gone: NDArray = NONE) -> Found:
        """Compares with all nodes but those that are gone."""
        if self._doubles is None:
            return exact(vectors[: len(self)], queries, k, gone)
        left = np.setdiff1d(np.arange(self._nodes), gone)
        rows, scores = among(vectors, queries, k, self._doubles.first[left])
        return self._doubles.nodes[rows].astype(np.int64), scores

    def _searched(
        self, vectors: NDArray, queries: NDArray, k: int, gone: NDArray, width: int
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Returns k rows and scores of each query, and the score of its tenth candidate.

        Where rows around a query are deleted, the search goes on to what is behind them: until as many rows that count
        are among its candidates as a search has where all count. The score is -inf where that does not happen.
        """
        left = self._nodes - len(gone)
        needed, few = min(max(width, 2 * k), left), min(NEIGHBOURS, left)
        if not len(gone) and not self.compact:  # all count, and are in order; one that is missing is far away
            rows, scores = self._found(queries, max(k, few), needed)
            if k <= few or rows[:, -1].min() >= 0:
                return rows[:, :k], scores[:, :k], scores[:, few - 1]
        width = min(needed * self._nodes // left, self._nodes)
        while True:
            rows, scores = self._candidates(vectors, queries, width)
            counts = (rows >= 0) & ~np.isin(rows, gone) if len(gone) else rows >= 0
            enough = counts.sum(axis=1) >= needed
            if enough.all() or width >= min(max(WIDTHS[-1], needed), self._nodes):
                break
            width = min(2 * width, self._nodes)
        best = np.argsort(np.where(counts, -scores, np.inf), axis=1, kind="stable")
        rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
        tenth = scores[:, min(few, scores.shape[1]) - 1]
        return rows[:, :k], scores[:, :k], np.where(enough, tenth, -np.inf)

    def _reaches(self, vectors: NDArray) -> bool:
        """Whether the ranges that bytes stand for, which the first vectors had, hold all but few components."""
        storage = self._faiss.downcast_index(self.core.storage)
        least, span = self._faiss.vector_to_array(storage.sq.trained).reshape(2, -1)
        return (
            bool(((vectors < least) | (vectors > least + span)).mean() <= OUTSIDE) if len(vectors) else True
        )

    def _empty(self, width: int) -> Any:
        kind = self._faiss.METRIC_INNER_PRODUCT
        if not self.compact:
            return self._faiss.IndexHNSWFlat(width, LINKS, kind)
        core = self._faiss.IndexHNSWSQ(width, self._faiss.ScalarQuantizer.QT_4bit, COMPACT_LINKS, kind)
        ranges = self._faiss.downcast_index(core.storage).sq
        ranges.rangestat, ranges.rangestat_arg = self._faiss.ScalarQuantizer.RS_quantiles, CUT
        return core

    def _candidates(self, vectors: NDArray, queries: NDArray, width: int) -> Found:
        """Returns so many rows of each query, -1 where the graph leads to no more, and their scores by the vectors."""
        rows, scores = self._found(queries, min(width, self._nodes), width)
        for start in range(0, len(rows), RESCORED) if self.compact else ():
            part = slice(start, start + RESCORED)
            of = rows[part] if self._doubles is None else self._doubles.first[rows[part]]
            scores[part] = np.einsum("mrd,md->mr", vectors[of], queries[part])
        return rows, scores

    def _found(self, queries: NDArray, many: int, width: int) -> Found:
        """What faiss finds, by the function below its own wrapper, which takes a tenth of a query's time."""
        if queries.shape[1] != self._columns:
            raise ValueError(f"queries of {queries.shape[1]} components in a graph of {self._columns}")
        settings = None if width == self.width else self._faiss.SearchParametersHNSW(efSearch=width)
        queries, pointer = np.ascontiguousarray(queries, np.float32), self._faiss.swig_ptr
        rows, scores = np.empty((len(queries), many), np.int64), np.empty((len(queries), many), np.float32)
        self.core.search_c(len(queries), pointer(queries), many, pointer(scores), pointer(rows), settings)
        return rows, scores

    def _tuned(self, vectors: NDArray) -> tuple[int, Reach]:
        """The least width whose recall of the sample's nearest, but for itself, is high enough; 0 where none is."""
        few = min(NEIGHBOURS + 1, self._nodes)
        if few == 1:
            return WIDTHS[0], EVERYWHERE
        sample = np.linspace(0, self._nodes - 1, min(SAMPLE, self._nodes)).astype(int)
        queries = vectors[sample if self._doubles is None else self._doubles.first[sample]]
        tenth = self._exact(vectors, queries, few)[1][:, -1]
        usual, spread = np.median(tenth), np.median(tenth) - np.quantile(tenth, SPREAD)
        near, far = (float(usual - times * spread) for times in APART)
        hard = tenth < near
        enough = COMPACT_RECALL if self.compact else RECALL
        others = _unlike(queries)
        least = self._exact(vectors, others, min(NEIGHBOURS, self._nodes))[1][:, -1]
        for width in WIDTHS:
            recall, _ = self._recall(vectors, queries, tenth, width)
            if hard.any():
                recall[hard], _ = self._recall(vectors, queries[hard], tenth[hard], WIDER * width)
            if recall.mean() < enough:
                continue
            if self._finds_unlike(vectors, others, least, width, (near, far)) >= COMPACT_RECALL:
                return width, (near, far)
        return 0, EVERYWHERE

    def _finds_unlike(
        self, vectors: NDArray, queries: NDArray, least: NDArray, width: int, reach: Reach
    ) -> float:
        """The recall of queries unlike the rows, searched as `nearest` does."""
        recall, tenth = self._recall(vectors, queries, least, width, 0)
        if len(hard := np.flatnonzero(tenth < reach[0])):
            recall[hard], tenth[hard] = self._recall(vectors, queries[hard], least[hard], WIDER * width, 0)
        return float(np.where(tenth < reach[1], 1.0, recall).mean())

    def _recall(
        self, vectors: NDArray, queries: NDArray, least: NDArray, width: int, own: int = 1
    ) -> tuple[NDArray, NDArray]:
        """Shares of the nearest that a search finds, equal scores count; and the last one's score.

        The first is passed over where the queries are rows of their `own`.
        """
        rows, scores = self._candidates(vectors, queries, max(NEIGHBOURS + own, width))
        scores = -np.sort(np.where(rows < 0, np.inf, -scores), axis=1)[:, own : NEIGHBOURS + own]
        return (scores >= least[:, None] - 1e-6).mean(axis=1), scores[:, -1]


def _unlike(vectors: NDArray) -> NDArray:
    """Vectors whose components come from any of the given ones: as these in each, and near none of them."""
    mixed = np.random.default_rng(0).permuted(vectors, axis=0)[:UNLIKE]
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-30)
