"""A graph finds what sorting everything finds: among doubles, deleted rows, unlike queries, in few bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import Hashing

from shoestring.match.search import nearest
from shoestring.match.search.index import Index
from shoestring.match.search.nearest import WIDTHS, Graph, exact, has_faiss


@pytest.mark.parametrize("kind", ["hnsw", "int4"])
@pytest.mark.parametrize("left", [0, 1, 99])
def test_a_graph_that_is_behind_and_mostly_deleted_is_no_matter(tmp_path, kind, left):
    """As between a batch that replaces texts and the graph's own turn, or after a writer that keeps no graph."""
    old = [(str(at), (f"old {at}", {})) for at in range(100)]
    Index(tmp_path, Hashing(), kind).put(old)
    new = [(str(at), (f"new {at}", {})) for at in range(left, 400)]
    Index(tmp_path, Hashing(), "exact").put(new)
    queries = ["new 5", "new 399", "old 0"]
    for k in (1, 7, 999):
        graph, exactly = (Index(tmp_path, Hashing(), each).search(queries, k) for each in (kind, "exact"))
        for mine, theirs in zip(graph, exactly, strict=True):
            assert len(mine) == min(k, 400) == len({hit.key for hit in mine})
            assert [hit.score for hit in mine[:1]] == pytest.approx(
                [hit.score for hit in theirs[:1]], abs=1e-6
            )


@pytest.mark.parametrize("hybrid", [False, True])
def test_no_queries_have_no_hits(tmp_path, hybrid):
    index = Index(tmp_path, Hashing())
    index.add([("text", {})])
    assert index.search([], hybrid=hybrid) == []


@pytest.mark.parametrize("compact", [False, True])
def test_the_graph_is_as_wide_as_its_recall_wants(tmp_path, compact):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 16)).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graph = Graph(compact=compact)
    graph.extend(vectors[:1000])
    graph.extend(vectors)
    queries = vectors[1::7]
    rows, scores = graph.nearest(vectors, queries, 10)
    assert scores == pytest.approx(np.einsum("qkd,qd->qk", vectors[rows], queries), abs=1e-6)
    assert (scores >= exact(vectors, queries, 10)[1][:, -1:] - 1e-6).mean() > 0.98
    assert graph.width in WIDTHS[:-1]
    graph.save(str(tmp_path / "graph"))
    again = Graph(tmp_path / "graph", compact, graph.reach)
    assert again.width == graph.width
    assert (
        again.nearest(vectors, queries.astype(float)[:, ::-1], 3)[0]
        == graph.nearest(vectors, queries[:, ::-1], 3)[0]
    ).all()
    with pytest.raises(ValueError, match="queries of 8 components in a graph of 16"):
        again.nearest(vectors, queries[:, ::2], 3)
    if compact:  # few texts of another kind came first
        other = np.concatenate([0.1 * vectors[:5] + np.float32(0.2), vectors])
        late = Graph(compact=True)
        late.extend(other[:5])
        late.extend(other)
        found = late.nearest(other, queries, 10)[1]
        assert (found >= exact(other, queries, 10)[1][:, -1:] - 1e-6).mean() > 0.98
        assert late.width in WIDTHS[:-1]
    gone = np.unique(rows[:, 0])
    assert not set(again.nearest(vectors, queries, 10, gone)[0].ravel().tolist()) & set(gone.tolist())


def test_a_compact_graph_takes_less_than_a_quarter(tmp_path):
    """At 384 components, as small encoders have, with all links; what it finds is scored by the vectors."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 384))[rng.integers(0, 40, 2000)] + 0.7 * rng.normal(size=(2000, 384))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f")
    sizes = []
    for compact in (False, True):
        graph = Graph(compact=compact)
        graph.extend(vectors)
        graph.save(str(tmp_path / "graph"))
        sizes.append((tmp_path / "graph").stat().st_size)
        rows, scores = graph.nearest(vectors, vectors[::9], 10)
        assert scores == pytest.approx(np.einsum("qkd,qd->qk", vectors[rows], vectors[::9]), abs=1e-6)
        assert (scores >= exact(vectors, vectors[::9], 10)[1][:, -1:] - 1e-6).mean() > 0.99
    assert sizes[1] < sizes[0] / 4


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("noise", [0.3, 1.3])
def test_queries_unlike_all_texts_find_their_nearest(compact, noise):
    """A graph whose rows are like each other leads others astray, though each of its rows finds all of its nearest.

    Where the rows are loosely alike, what an unlike query finds is not farther away than what they find themselves.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 48))[rng.integers(0, 300, 6000)] + noise * rng.normal(size=(6000, 48))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f")
    others = rng.normal(size=(200, 48)).astype("f")
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    graph = Graph(compact=compact)
    graph.extend(vectors)
    for k in (1, 10, 40):
        for queries in (others, vectors[::30]):
            found, wanted = graph.nearest(vectors, queries, k)[1], exact(vectors, queries, k)[1]
            assert (found >= wanted[:, -1:] - 1e-6).mean() > (0.985 if k <= 10 else 0.97)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_where_a_graph_leads_to_too_few_rows_all_are_compared(compact, k, monkeypatch):
    """A row of which no other knows is never come upon: faiss says -1, and the least score there is."""
    vectors = np.random.default_rng(0).normal(size=(400, 16)).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graph = Graph(compact=compact)
    graph.extend(vectors)
    found, queries, wanted = graph._found, vectors[::40], exact(vectors, vectors[::40], k)

    def shortened(*asked):
        rows, scores = found(*asked)
        scores[::2, 3:], rows[::2, 3:] = np.finfo("f").min, -1
        return rows, scores

    monkeypatch.setattr(graph, "_found", shortened)
    rows, scores = graph.nearest(vectors, queries, k)
    assert scores[::2] == pytest.approx(wanted[1][::2], abs=1e-6)
    assert rows.min() >= 0


@pytest.mark.parametrize("compact", [False, True])
def test_a_search_goes_on_behind_what_is_deleted(compact):
    """Whole topics are deleted, and the queries are about them."""
    rng = np.random.default_rng(0)
    topics, of = rng.normal(size=(60, 32)), rng.integers(0, 60, 3000)
    vectors = topics[of] + 0.5 * rng.normal(size=(3000, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f")
    graph = Graph(compact=compact)
    graph.extend(vectors)
    queries = vectors[of < 24][::7]
    for gone in (np.flatnonzero(of < 24), np.sort(rng.permutation(3000)[:1200])):
        rows, scores = graph.nearest(vectors, queries, 10, gone)
        assert (scores >= exact(vectors, queries, 10, gone)[1][:, -1:] - 1e-6).mean() > 0.98
        assert not set(rows.ravel().tolist()) & set(gone.tolist())


@pytest.mark.parametrize("compact", [False, True])
def test_rows_of_the_same_vector_are_found_like_all_others(compact, tmp_path):
    """Half of the rows are doubles, some of hundreds; more come later, and some go."""
    rng = np.random.default_rng(0)
    distinct = rng.normal(size=(60, 32))[rng.integers(0, 60, 1500)] + 0.6 * rng.normal(size=(1500, 32))
    distinct = (distinct / np.linalg.norm(distinct, axis=1, keepdims=True)).astype("f")
    of = rng.permutation(np.concatenate([np.arange(1500), rng.zipf(1.5, 1500) % 1500]))
    vectors, graph = distinct[of], Graph(compact=compact)
    graph.extend(vectors[:2000])
    graph.save(str(tmp_path / "graph"))
    graph = Graph(tmp_path / "graph", compact, graph.reach, 2000)
    graph.extend(vectors)
    graph.save(str(tmp_path / "graph"))
    again = Graph(tmp_path / "graph", compact, graph.reach, len(vectors))
    assert (len(again), again.core.ntotal) == (3000, 1500)
    assert again.width in WIDTHS[:-1]
    most = np.flatnonzero(of == np.bincount(of).argmax())
    queries = np.concatenate([vectors[most[:1]], distinct[::20], distinct[::50] + np.float32(0.02)])
    for gone in (None, most[:1], most[:-1], most, np.sort(rng.permutation(3000)[:1200])):
        for k in (1, 10, 300):
            rows, scores = again.nearest(vectors, queries, k, gone)
            assert scores == pytest.approx(np.einsum("qkd,qd->qk", vectors[rows], queries), abs=1e-6)
            assert (scores >= exact(vectors, queries, k, gone)[1][:, -1:] - 1e-6).mean() > 0.98
            assert all(len(set(each)) == k for each in rows.tolist())
            assert gone is None or not np.isin(rows, gone).any()


@pytest.mark.parametrize("compact", [False, True])
def test_a_graph_that_finds_too_little_is_not_searched(compact, tmp_path, monkeypatch):
    monkeypatch.setattr(nearest, "COMPACT_RECALL", 1.1)
    vectors = np.random.default_rng(0).normal(size=(400, 16)).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graph = Graph(compact=compact)
    graph.extend(vectors)
    assert graph.nearest(vectors, vectors[::50], 10) is None
    graph.save(str(tmp_path / "graph"))
    assert Graph(tmp_path / "graph", compact).nearest(vectors, vectors[::50], 10) is None
    index = Index(tmp_path / "index", Hashing(), "int4" if compact else "hnsw")
    index.add((f"text {at}", {}) for at in range(300))
    assert index.searched == "exact"
    assert len(index.search(["text 3"], 30)[0]) == 30


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 80), st.integers(1, 9), st.lists(st.integers(0, 79), max_size=20), st.integers(0, 99),
    st.booleans(),
)  # fmt: skip
def test_exact_search_equals_sorting_everything(rows, k, gone, seed, faiss):
    rng = np.random.default_rng(seed)
    vectors, queries = rng.normal(size=(rows, 4)).astype("f"), rng.normal(size=(3, 4)).astype("f")
    gone = sorted({each for each in gone if each < rows})
    k = min(k, rows - len(gone))
    if not k:
        return
    before, nearest.BLOCK = nearest.BLOCK, 16
    nearest.has_faiss = lambda: faiss
    try:
        ids, scores = exact(vectors, queries, k, np.array(gone, int))
    finally:
        nearest.BLOCK, nearest.has_faiss = before, has_faiss
    products = queries @ vectors.T
    products[:, gone] = -np.inf
    assert scores == pytest.approx(-np.sort(-products, axis=1)[:, :k], abs=1e-5)
    assert not set(ids.ravel().tolist()) & set(gone)
