"""Search after add and delete equals a rebuilt index; interrupted builds go on; the wrong model is refused."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import Hashing

from promised import kept
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.match.matcher import Matcher
from shoestring.match.search import index as module
from shoestring.match.search import nearest, qdrant
from shoestring.match.search.index import Index
from shoestring.match.search.nearest import WIDTHS, Graph, exact, has_faiss
from shoestring.match.search.qdrant import QdrantIndex
from shoestring.match.serve.server import Service, server


@pytest.fixture(scope="session")
def matcher(trained) -> Matcher:
    return Matcher(trained["bi"], "cpu")


@pytest.fixture(scope="session")
def cross(trained) -> Matcher:
    return Matcher(trained["cross"], "cpu")


def documents(pairs, count=60, seed=5):
    texts = dict.fromkeys([*pairs(count, seed).first, *pairs(count, seed).second])
    return [(text, {"number": at}) for at, text in enumerate(texts)]


def found(index, queries, k=5) -> list:
    return [
        [(hit.text, round(hit.score, 5), dict(hit.metadata)) for hit in hits]
        for hits in index.search(queries, k)
    ]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "int4", "qdrant"])
def test_add_and_delete_equal_a_rebuilt_index(matcher, pairs, tmp_path, kind):
    every = documents(pairs)

    def fresh(name):
        if kind != "qdrant":
            return Index(tmp_path / name, matcher, kind)
        from qdrant_client import QdrantClient

        return QdrantIndex(QdrantClient(":memory:"), name, matcher)

    changed, rebuilt = fresh("changed"), fresh("rebuilt")
    changed.add(every[:20])
    assert changed.delete([3, 7, 18]) == 3
    changed.add(every[20:])
    changed.delete([25])
    rebuilt.add([each for at, each in enumerate(every) if at not in (3, 7, 18, 25)])
    assert len(changed) == len(rebuilt) == len(every) - 4
    queries = [text for text, _ in every[:10]]
    mine, theirs = found(changed, queries), found(rebuilt, queries)
    assert [[row[1] for row in each] for each in mine] == [
        pytest.approx([row[1] for row in each], abs=1e-4) for each in theirs
    ]
    assert [each[0] for each in mine] == [each[0] for each in theirs]
    if kind != "qdrant":
        assert found(Index(tmp_path / "changed", matcher, kind), queries) == mine


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


def test_a_text_that_comes_again_is_embedded_once(tmp_path):
    """Beside others, of another length, it would come out different in the last bits."""

    class Counting(Hashing):
        def embed(self, texts, *given, **named):
            assert len(set(texts)) == len(texts)
            return super().embed(texts, *given, **named)

    index = Index(tmp_path, Counting())
    index.add([("a", {}), ("b", {}), ("a", {})])
    index.put([("one", ("b", {})), ("two", ("b", {}))])
    assert (index.storage.read().vectors == Hashing().embed(["a", "b", "a", "b", "b"])).all()


@pytest.mark.parametrize("kind", ["hnsw", "int4"])
def test_an_index_of_few_texts_many_times_is_searched_by_its_graph(tmp_path, kind):
    index = Index(tmp_path, Hashing(), kind)
    index.add((f"text {at % 60}", {}) for at in range(2000))
    index.add((f"text {at % 90}", {}) for at in range(2000))
    again, exactly = Index(tmp_path, Hashing()), Index(tmp_path, Hashing(), "exact")
    assert index.searched == again.searched == kind
    again.delete(range(0, 2000, 7))
    queries = Hashing().embed([f"text {at}" for at in range(90)])
    found, wanted = (each.nearest(queries, 130) for each in (again, exactly))
    assert found[1] == pytest.approx(wanted[1], abs=1e-6)


@pytest.mark.parametrize("kind", ["folder", "qdrant"])
def test_an_interrupted_build_goes_on_with_the_same_texts_only(matcher, pairs, tmp_path, monkeypatch, kind):
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")

    def opened(name):
        return Index(tmp_path / name, matcher) if kind == "folder" else QdrantIndex(client, name, matcher)

    monkeypatch.setattr(module, "ROWS", 8)
    monkeypatch.setattr(qdrant, "ROWS", 8)
    every = documents(pairs)
    whole = opened("whole")
    assert whole.build(every) == (0, len(every))
    assert not whole.unfinished

    def breaking():
        yield from every[:20]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened("cut").build(breaking())
    assert opened("cut").unfinished
    with pytest.raises(InputError, match="another text 3"):
        opened("cut").build([*every[:2], ("别的", {}), *every[3:]])
    with pytest.raises(InputError, match="another text 16"):
        opened("cut").build(every[:15])
    again = opened("cut")
    assert again.build(every) == (16, len(every) - 16)
    queries = [text for text, _ in every[:5]]
    assert found(again, queries) == found(whole, queries)
    with pytest.raises(OutputError, match="--add"):
        opened("cut").build(every)
    assert opened("cut").build(every[:3], add=True) == (0, 3)
    with pytest.raises(KeyboardInterrupt):
        opened("cut").build(breaking(), overwrite=True)
    assert len(opened("cut")) == len(every) + 3  # which answers until what replaces it is whole
    assert not opened("cut").unfinished
    for count in (4, 5):
        opened("cut").build(every[-count:], overwrite=True)
        assert (len(again), len(opened("cut"))) == (count, count)
        assert again.search([every[-1][0]], 1)[0][0].text == every[-1][0]
    collections = [each.name for each in client.get_collections().collections]
    assert sum(name.startswith("cut") for name in collections) == (kind == "qdrant")
    with pytest.raises(InputError, match="no texts"):
        opened("nothing").build([])


@pytest.mark.parametrize("kind", ["folder", "qdrant"])
def test_a_number_is_never_given_again(matcher, tmp_path, kind):
    from qdrant_client import QdrantClient

    index = (
        Index(tmp_path / "index", matcher)
        if kind == "folder"
        else QdrantIndex(QdrantClient(":memory:"), "texts", matcher)
    )
    index.add([("我喜欢猫", {}), ("请看鱼", {})])
    assert (index.delete([1]), index.delete([1])) == (1, 0)
    index.add([("这里有鸟吗", {})])
    assert (index.rows, len(index)) == (3, 2)
    assert {hit.id for hit in index.search(["请看鱼"], 9)[0]} == {0, 2}
    for wrong in (3, -1, True, 0.0):
        with pytest.raises(InputError, match=f"no row {wrong}"):
            index.delete([0, wrong])
    assert len(index) == 2


def test_the_wrong_model_is_refused(matcher, cross, trained, base, tmp_path):
    Index(tmp_path / "index", matcher).add([("我喜欢猫", {})])
    with pytest.raises(InputError, match="another model"):
        Index(tmp_path / "index", Matcher(base, "cpu"))
    with pytest.raises(OptionError, match="cross-encoder"):
        Index(tmp_path / "index", cross)
    shutil.copytree(trained["bi"], tmp_path / "copy")
    copy = Matcher(tmp_path / "copy", "cpu")
    copy.embed(["猫", "鱼" * 50])  # leaves its traces in the tokenizer
    assert len(Index(tmp_path / "index", copy)) == 1


def changed_pooling(model):
    model[1].pooling_mode = "cls"


def changed_weights(model):
    next(model.parameters()).data.view(-1)[0] += 1e-6


def changed_tokenizer(model):
    from tokenizers.normalizers import Lowercase

    model.tokenizer.backend_tokenizer.normalizer = Lowercase()


CHANGES = {
    "pooling": changed_pooling, "weights": changed_weights, "tokenizer": changed_tokenizer,
    "length": lambda model: setattr(model, "max_seq_length", 7),
    "prompt": lambda model: model.prompts.update(query="query: "),
    "default": lambda model: setattr(model, "default_prompt_name", "query"),
    "dimensions": lambda model: setattr(model, "truncate_dim", 16),
    "config": lambda model: setattr(model[0].model.config, "layer_norm_eps", 0.1),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_an_embedding_changes_the_fingerprint(trained, change):
    one, two = Matcher(trained["bi"], "cpu"), Matcher(trained["bi"], "cpu")
    assert one.fingerprint() == two.fingerprint()
    CHANGES[change](two.model)
    assert one.fingerprint() != two.fingerprint()


def test_an_index_of_one_precision_is_searched_in_the_other(trained, tmp_path, monkeypatch):
    exact, fast = Matcher(trained["bi"], "cpu"), Matcher(trained["bi"], "cpu", precision="bf16")
    texts = [
        f"{frame}{thing}" for frame in ("请看", "没有", "这里有") for thing in "猫狗鱼鸟马牛羊鸡花树山水"
    ]
    one, two = exact.embed(texts), fast.embed(texts)
    assert exact.fingerprint() == fast.fingerprint()
    assert np.allclose(np.linalg.norm(two, axis=1), 1, atol=1e-6)
    assert 1e-5 < np.abs(one - two).max() < 0.05
    Index(tmp_path, fast).add((text, {}) for text in texts)
    assert [hits[0].text for hits in Index(tmp_path, exact).search(texts, 1)] == texts
    for able, chosen in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr("shoestring.match.matcher.multiplies_bf16", lambda _, able=able: able)
        assert Matcher(trained["bi"], "cpu", precision="auto").precision == chosen
        assert Matcher(trained["cross"], "cpu", precision="auto").precision == "fp32"
    with pytest.raises(OptionError, match="cross-encoder computes in fp32 only"):
        Matcher(trained["cross"], "cpu", precision="bf16")
    with pytest.raises(OptionError, match="precision 'int8': choose one of fp32, bf16, auto"):
        Matcher(trained["bi"], "cpu", precision="int8")


@pytest.mark.parametrize("read", [False, True])
def test_a_pooler_counts_where_it_is_read_and_only_there(base, read):
    """BERT without a pooler gets a random one at each loading; some models' embedding is what theirs says."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    output = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    own = {"modality_config": output, "module_output_name": "sentence_embedding"} if read else {}
    transformer = Transformer(str(base), **own)
    modules = [transformer] if read else [transformer, Pooling(32)]
    matcher = Matcher(base, model=SentenceTransformer(modules=modules, device="cpu"))
    mark, vectors = matcher.fingerprint(), matcher.embed(["请看猫"])
    torch.nn.init.normal_(transformer.model.pooler.dense.weight)
    assert np.array_equal(vectors, matcher.embed(["请看猫"])) == (not read)
    assert (mark == matcher.fingerprint()) == (not read)


def test_a_search_embeds_as_the_model_wants_queries_and_documents(trained, tmp_path):
    matcher = Matcher(trained["bi"], "cpu")
    matcher.model.prompts.update(query="请看", passage="没有")
    index = Index(tmp_path / "index", matcher)
    index.add([("猫", {}), ("鱼", {})])
    plain = Matcher(trained["bi"], "cpu")
    wanted = plain.embed(["请看鱼"]) @ plain.embed(["没有猫", "没有鱼"]).T
    (hits,) = index.search(["鱼"])
    assert {hit.id: hit.score for hit in hits} == pytest.approx(dict(enumerate(wanted[0].tolist())), abs=1e-5)
    assert [hit.match for hit in hits] == [None, None]  # the threshold was chosen on texts without
    assert plain.scores([("鱼", "猫")]) == pytest.approx(matcher.scores([("鱼", "猫")]))


@pytest.mark.parametrize("role", [None, "query", "document"])
def test_a_role_without_a_prompt_has_the_default_one(trained, role):
    matcher = Matcher(trained["bi"], "cpu")
    matcher.model.prompts["match"], matcher.model.default_prompt_name = "请看", "match"
    assert matcher.embed(["猫"], role=role) == pytest.approx(
        Matcher(trained["bi"], "cpu").embed(["请看猫"]), abs=1e-6
    )


def test_bad_requests_to_an_index_are_told(matcher, tmp_path):
    index = Index(tmp_path / "index", matcher)
    with pytest.raises(InputError, match="document 2: empty text"):
        index.add([("猫", {}), (" ", {})])
    index.add([("猫", {}), ("鱼", {})])
    with pytest.raises(InputError, match="no row 2"):
        index.delete([2])
    with pytest.raises(InputError, match="empty query"):
        index.search([""])
    with pytest.raises(InputError, match="no whole character"):
        index.search(["\ud83d"])
    with pytest.raises(OptionError, match="k 0"):
        index.search(["猫"], 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(OutputError, match="is no index"):
        Index(tmp_path / "other", matcher)


def test_the_cross_encoder_has_the_last_word(matcher, cross, pairs, tmp_path):
    index = Index(tmp_path / "index", matcher)
    index.add(documents(pairs))
    (hits,) = index.search(["我喜欢猫"], 5, cross, candidates=20)
    (twenty,) = index.search(["我喜欢猫"], 20)
    scores = cross.scores([("我喜欢猫", hit.text) for hit in twenty])
    assert [hit.rerank for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:5], abs=1e-5)
    assert [hit.match for hit in hits] == [hit.rerank >= cross.decision.threshold for hit in hits]
    with pytest.raises(OptionError, match="reranking needs a cross-encoder"):
        index.search(["我喜欢猫"], 5, index.matcher)
    assert twenty[0].match == (twenty[0].score >= matcher.decision.threshold)


def test_another_model_s_collection_is_refused(matcher, base):
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    QdrantIndex(client, "texts", matcher).add([("猫", {})])
    with pytest.raises(InputError, match="another model"):
        QdrantIndex(client, "texts", Matcher(base, "cpu"))
    theirs = QdrantIndex(client, "theirs", matcher)
    client.create_collection(
        theirs.name, vectors_config=client.get_collection("texts-" + theirs.name[7:]).config.params.vectors
    )
    with pytest.raises(OutputError, match="no alias"):
        theirs.build([("猫", {})], overwrite=True)
    assert client.collection_exists(theirs.name)


@pytest.fixture
def address(matcher, pairs, tmp_path):
    index = Index(tmp_path / "index", matcher)
    index.add(documents(pairs))
    with server(Service(matcher, index), port=0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def ask(address, data: bytes | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(address, data, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_service_answers_as_the_matcher_does(address, matcher):
    code, said = ask(address + "/match", json.dumps({"text1": "我喜欢猫", "text2": "请看猫"}).encode())
    expected = matcher.predict([("我喜欢猫", "请看猫")])
    assert code == 200
    assert said == {
        "score": pytest.approx(expected.scores[0]), "probability": pytest.approx(expected.probabilities[0]),
        "match": bool(expected.verdicts[0]),
    }  # fmt: skip
    code, hits = ask(address + "/search", json.dumps({"query": "我喜欢猫", "k": 3}).encode())
    assert (code, len(hits["hits"])) == (200, 3)
    for more in ({}, {"hybrid": True}):
        code, hits = ask(
            address + "/search", json.dumps({"query": "a", "where": {"number": 3}, **more}).encode()
        )
        assert (code, [hit["metadata"]["number"] for hit in hits["hits"]]) == (200, [3])


@pytest.mark.parametrize(
    ("path", "data", "code", "message"),
    [
        ("/match", b"{}", 400, "text1"), ("/match", b"[1]", 400, "object"), ("/match", b"no", 400, "not JSON"),
        ("/search", b'{"query": "a", "k": 0}', 400, "k 0"), ("/nothing", b"{}", 404, "there are"),
        ("/search", b'{"query": "a", "k": true}', 400, "k True"), ("/match", b"[" * 99999, 400, "not JSON"),
        ("/match", b'{"text1": "\\ud83d", "text2": "a"}', 400, "no whole character"),
        ("/match", b'{"text1": "a\\u0000", "text2": NaN}', 400, "text2"),
        ("/search", b'{"query": "a", "K": 3}', 400, "no such field; there are query, k, where, hybrid"),
        ("/search", b'{"query": "a", "where": "a=b"}', 400, "an object"),
        ("/search", b'{"query": "a", "where": {"nobody": 1}}', 400, "nobody"),
        ("/search", b'{"query": "a", "hybrid": 1}', 400, "true or false"),
        ("/match", b'{"text1": "a", "text2": "b", "one_way": true}', 400, "no such field"),
        ("/match", b'{"text1": " ", "text2": "a"}', 400, "not empty"), ("/match", b"0" * (1 << 21), 400, "at most"),
    ],
)  # fmt: skip
def test_bad_requests_are_answered(address, path, data, code, message):
    try:
        found, said = ask(address + path, data)
    except (ConnectionError, urllib.error.URLError):
        assert len(data) > 1 << 20  # the answer may come before all was sent
        return
    assert found == code
    assert message in said["error"]


def test_a_length_that_is_no_number_is_refused(address):
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.request("POST", "/match", b"", {"Content-Length": "²"})
    assert connection.getresponse().status == 400


def test_the_page_works_in_a_browser(address):
    import subprocess

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    query = urllib.parse.urlencode({"text1": "我喜欢猫", "text2": "请看猫", "q": "昨天见到鱼了"})
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"{address}/?{query}",
    ]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'class="verdict' in page
    assert "probability" in page
    assert page.count('class="scale"') == 11  # of the pair and of each hit
    assert "left: " in page  # of the mark: browsers drop what they cannot read
    assert page.count("<li>") == 10


def test_the_commands(match, trained, pairs, tmp_path):
    rows = [json.dumps({"text": text, "topic": data["number"]}) for text, data in documents(pairs)]
    rows.append(json.dumps({"text": "我喜欢" * 30, "topic": len(rows)}))
    (tmp_path / "texts.jsonl").write_text("\n".join([*rows, '{"text": " ", "topic": 0}']), "utf-8")
    model = ("--model", trained["bi"], "--device", "cpu")
    done = match("index", "texts.jsonl", "-o", "idx", "--metadata", "topic", "--json", *model)
    assert kept("match index", done.stdout)["texts"] == len(rows), done.stderr
    assert f"1 left out of texts.jsonl, of nothing but spaces (first: line {len(rows) + 1})" in done.stderr
    assert "1 texts are longer than the model reads" in done.stderr
    assert "--add" in match("index", "texts.jsonl", "-o", "idx", *model).stderr
    both = match("index", "texts.jsonl", "-o", "idx", "--add", "--overwrite", *model)
    assert "leave one out" in both.stderr
    found = kept("match search", match("search", "idx", "我喜欢猫", "-k", 2, "--json", *model).stdout)
    first = found["queries"][0]["hits"][0]
    assert first["metadata"]["topic"] == first["id"]
    gone = kept("match delete", match("delete", "idx", first["id"], "--json", *model).stdout)
    assert gone["texts"] == len(rows) - 1
    left = json.loads(match("search", "idx", "我喜欢猫", "-k", 2, "--json", *model).stdout)
    assert first["id"] not in [hit["id"] for hit in left["queries"][0]["hits"]]
    some = match("search", "idx", "猫", "--where", "topic=4", "--hybrid", "--json", *model)
    assert [hit["id"] for hit in json.loads(some.stdout)["queries"][0]["hits"]] == [4]
    assert match("search", "idx", "猫", "--where", "topic=none", *model).stderr == "猫: nothing found\n"
    assert "NAME=VALUE" in match("search", "idx", "猫", "--where", "topic", *model).stderr
    twice = match("search", "idx", "猫", "--where", "topic=4", "--where", "topic=5", *model)
    assert "a name is given twice" in twice.stderr
    assert "no index" in match("search", "none", "猫", *model).stderr
    assert "--key" in match("delete", "idx", *model).stderr
    put = ("index", "texts.jsonl", "-o", "keyed", "--key", "topic", "--json", *model)
    assert json.loads(match(*put).stdout)["added"] == len(rows)
    assert kept("match index", match(*put).stdout) == {
        "index": "keyed", "added": 0, "replaced": 0, "unchanged": len(rows), "texts": len(rows),
        "search": "exact",
    }  # fmt: skip
    mine = match("search", "keyed", documents(pairs)[7][0], "-k", 1, "--json", *model)
    assert json.loads(mine.stdout)["queries"][0]["hits"][0]["key"] == "7"
    assert "no key 'x'" in match("delete", "keyed", 3, "--key", "7", "--key", "x", *model).stderr
    gone = json.loads(match("delete", "keyed", "--key", "7", 3, "--json", *model).stdout)
    assert (gone["deleted"], gone["texts"]) == (2, len(rows) - 2)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200), ({"Host": "evil.example"}, 403), ({"Host": "LocalHost:80"}, 200), ({"Host": "[::1]:8808"}, 200),
        ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ],
)  # fmt: skip
def test_no_other_site_reaches_the_service(address, headers, code):
    request = urllib.request.Request(address + "/match", b'{"text1": "a", "text2": "b"}', headers)
    assert ask(request)[0] == code
