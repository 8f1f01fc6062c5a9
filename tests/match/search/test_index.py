"""Search after add and delete equals a rebuilt index; interrupted builds go on; bad requests are told."""

from __future__ import annotations

import json

import pytest
from hits import documents, found
from killed import Hashing

from promised import kept
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.match.matcher import Matcher
from shoestring.match.search import index as module
from shoestring.match.search import qdrant
from shoestring.match.search.index import Index
from shoestring.match.search.qdrant import QdrantIndex


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
    assert "longer" not in match("search", "idx", "我喜欢猫", *model).stderr
    long = match("search", "idx", "猫" * 99, "狗" * 99, "猫", "--rerank", trained["cross"], *model).stderr
    assert long.count("2 texts are longer than the model reads") == 1
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
