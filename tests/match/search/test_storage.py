"""The files of an index: killed writers, damage, graphs that are behind; filters, words and keys."""

from __future__ import annotations

import contextlib
import os
import random
import shutil

import numpy as np
import pytest
from killed import Dying, Hashing, schedule

from shoestring._errors import InputError, OutputError
from shoestring.files import Reading
from shoestring.match.search import index as module
from shoestring.match.search import storage
from shoestring.match.search.index import Index
from shoestring.match.search.sources import Met, keyed
from shoestring.match.search.words import words

TEXTS = [f"{number} {'云雨风雪'[number % 4]}" for number in range(40)]


def made(folder, kind="exact", texts=TEXTS):
    index = Index(folder, Hashing(), kind)
    index.build((text, {"number": at, "sky": text[-1]}) for at, text in enumerate(texts))
    return index


def lost_and_found(schedules, folder):
    found = [schedule(folder / str(seed), seed) for seed in schedules]
    assert sum(each["killed"] for each in found) > len(found) / 2
    assert sum(each["alive"] for each in found) > len(found)
    return {name: sum(each[name] for each in found) for name in ("lost", "resurrected", "mismatched")}


NOTHING = {"lost": 0, "resurrected": 0, "mismatched": 0}


def test_killed_processes_lose_nothing_and_bring_nothing_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    assert lost_and_found(range(60), tmp_path) == NOTHING


@pytest.mark.slow
def test_killed_processes_ten_thousand_times(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    for start in range(0, 10_000, 500):
        folder = tmp_path / str(start)
        folder.mkdir()
        assert lost_and_found(range(start, start + 500), folder) == NOTHING
        shutil.rmtree(folder)


def touched(index):
    """Everything that one can ask an index."""
    index.search(["1 雨"], 3, where={"sky": "雨"}, hybrid=True)
    index.search(["2 风"], 3)
    list(index.documents())
    index.add([("one more", {})])


@pytest.mark.parametrize("seed", range(24))
def test_damage_is_told_before_it_is_used(tmp_path, seed):
    """One byte of any file is another, or its end is missing."""
    made(tmp_path / "index", "int4" if seed % 2 else "hnsw").delete([3, 5])
    rng = random.Random(seed)
    files = sorted(each for each in (tmp_path / "index").iterdir() if each.stat().st_size)
    path = files[seed % len(files)]
    data = bytearray(path.read_bytes())
    if seed < 2 * len(files):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(data)
    with pytest.raises((InputError, OutputError), match=r"damaged|another|is no index"):
        touched(Index(tmp_path / "index", Hashing(), "hnsw"))
    assert len(files) == 6


def test_a_missing_file_is_told(tmp_path):
    made(tmp_path / "index")
    (tmp_path / "index" / "0.records.jsonl").unlink()
    with pytest.raises(InputError, match=r"0.records.jsonl: damaged \(missing"):
        Index(tmp_path / "index", Hashing())


def test_a_reader_keeps_what_it_began_with_and_sees_what_is_new(tmp_path):
    reader, writer = made(tmp_path / "index"), Index(tmp_path / "index", Hashing())
    before = reader.storage.read()
    old = before.vectors.copy()
    writer.add([("new", {})])
    writer.delete([0])
    assert reader.search(["new"], 1)[0][0].text == "new"
    writer.build([("only", {})], overwrite=True)
    assert (before.vectors == old).all()
    assert before.record(7)["text"] == TEXTS[7]
    assert [hit.text for hit in reader.search(["new"], 9)[0]] == ["only"]
    assert len(list((tmp_path / "index").glob("*.*.*"))) == 4


def broken_off(texts):
    yield from ((text, {}) for text in texts)
    raise InputError("the rest cannot be read")


def found(index):
    return [text for _, (text, _) in index.documents()]


@pytest.mark.parametrize("state", ["whole", "of another model", "damaged", "unfinished", "none"])
def test_an_index_stays_until_what_replaces_it_is_whole(tmp_path, monkeypatch, state):
    monkeypatch.setattr(module, "ROWS", 4)
    folder, new = tmp_path / "index", [f"new {number}" for number in range(14)]
    if state != "none":
        made(folder)
    if state == "unfinished":
        with pytest.raises(InputError):
            Index(folder, Hashing()).build(broken_off(["more"] * 5), add=True)
    if state == "of another model":
        monkeypatch.setattr(Hashing, "fingerprint", lambda _: "1" * 64)
    if state == "damaged":
        (folder / "index.json").write_text("{}", "utf-8")
    if state in ("of another model", "damaged"):
        with pytest.raises(InputError, match=r"another model|damaged"):
            Index(folder, Hashing())
    index = Index(folder, Hashing(), anew=True)
    before = {each.name: each.read_bytes() for each in folder.iterdir()} if folder.exists() else {}
    for texts in (new[:10], new[:6]):
        with pytest.raises(InputError, match="the rest"):
            index.build(broken_off(texts), overwrite=True)
        kept = {name: (folder / name).read_bytes() for name in before if name[0] != "0" or state != "damaged"}
        assert kept == {name: before[name] for name in kept}
    if state == "whole":
        assert found(index) == TEXTS
        index.add([("between", {})])  # which the next build replaces as well
    assert index.build(((text, {}) for text in [*new[:7], "other", *new[8:]]), overwrite=True) == (0, 14)
    assert found(Index(folder, Hashing())) == [*new[:7], "other", *new[8:]]
    assert len(list(folder.glob("*.*.*"))) <= 4
    assert not index.unfinished


def test_a_killed_process_that_replaces_an_index_leaves_the_old_or_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    new, seen = [f"new {number}" for number in range(6)], set()
    for after in range(1, 90, 2):
        folder = tmp_path / str(after)
        made(folder, texts=TEXTS[:5])
        if not (child := os.fork()):
            random.seed(after)
            Dying(after)
            Index(folder, Hashing(), anew=True).build(((text, {}) for text in new), overwrite=True)
            os._exit(0)
        code = os.waitpid(child, 0)[1]
        whole = found(Index(folder, Hashing()))
        assert whole in (TEXTS[:5], new)
        seen.add((code != 0, whole == new))
        index = Index(folder, Hashing(), anew=True)
        index.build(((text, {}) for text in new), overwrite=True)
        assert found(index) == new
    assert seen >= {(True, False), (True, True), (False, True)}


def test_a_replacing_build_of_other_texts_starts_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    index, new = made(tmp_path / "index"), [f"new {number}" for number in range(14)]
    for texts in (new, ["other", *new[:2]], [*new[:3], "other", *new[4:]], new[:2]):
        with pytest.raises(InputError, match="the rest"):
            index.build(broken_off(new[:9]), overwrite=True)
        assert index.build(((text, {}) for text in texts), overwrite=True) in ((8, 6), (0, len(texts)))
        assert found(index) == texts


def test_nothing_comes_among_the_texts_of_an_interrupted_build(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    index = made(tmp_path / "index")
    with pytest.raises(InputError, match="the rest"):
        index.build(broken_off([f"new {number}" for number in range(6)]), add=True)
    for add in (lambda: index.add([("between", {})]), lambda: index.put([("key", ("between", {}))])):
        with pytest.raises(OutputError, match="interrupted at 44 texts; give that command again first"):
            add()
    index.delete([3, 42])
    assert index.build(((f"new {number}", {}) for number in range(9)), add=True) == (4, 5)


def test_what_cannot_be_read_makes_no_index(tmp_path):
    index = Index(tmp_path / "index", Hashing())
    with pytest.raises(InputError, match="the rest"):
        index.build(broken_off(["one", "two"]))
    assert not index.unfinished
    assert not (tmp_path / "index" / "index.json").exists()


def test_an_older_process_does_not_bring_a_deleted_row_back(tmp_path):
    older, newer = made(tmp_path / "index"), Index(tmp_path / "index", Hashing())
    newer.delete([2])
    older.add([("more", {})])
    assert (older.rows, len(older)) == (41, 40)
    assert 2 not in dict(newer.documents())


def test_a_second_writer_waits_and_then_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 0.2)
    index = made(tmp_path / "index")
    out, into = os.pipe()
    if not (child := os.fork()):
        with contextlib.suppress(BaseException), index.storage.writing():
            os.write(into, b".")
            os.read(os.open("/dev/null", os.O_RDONLY), 1)
            while True:
                os.sched_yield()
        os._exit(1)
    os.read(out, 1)
    try:
        with pytest.raises(OutputError, match="another process is writing"):
            index.add([("more", {})])
        assert index.search([TEXTS[4]], 1)[0][0].text == TEXTS[4]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    index.add([("more", {})])


@pytest.mark.parametrize("kind", ["hnsw", "int4"])
@pytest.mark.parametrize("gone", [0, 1, 5, 20, 38, 39, 40])
@pytest.mark.parametrize("behind", [0, 3, 39])
def test_the_graph_and_all_rows_find_the_same(tmp_path, kind, gone, behind):
    """However many rows the graph lacks, and however many are deleted."""
    index = Index(tmp_path / "index", Hashing(), kind)
    index.add([(text, {}) for text in TEXTS[: len(TEXTS) - behind]])
    exact = Index(tmp_path / "index", Hashing(), "exact")
    exact.add([(text, {}) for text in TEXTS[len(TEXTS) - behind :]])
    exact.delete(random.Random(gone).sample(range(40), gone))
    for k in (1, 7, 40):
        one, two = (each.search(["3 雪", TEXTS[39]], k) for each in (index, exact))
        assert [[hit.id for hit in hits] for hits in one] == [[hit.id for hit in hits] for hits in two]
        assert all(len(hits) == min(k, 40 - gone) for hits in one)


@pytest.mark.parametrize("kind", ["hnsw", "int4"])
def test_a_graph_is_not_written_anew_for_a_few_texts_that_are_found_without(tmp_path, kind):
    index = Index(tmp_path / "index", Hashing(), kind)
    index.add([(f"text {at}", {}) for at in range(600)])
    for at, rows in ((600, 600), (601, 600), (602, 603)):  # one in 256
        index.add([(f"other {at}", {})])
        assert index.storage.read().state.graph.rows == rows
        assert index.search([f"other {at}"], 1)[0][0].id == at


def test_another_kind_of_graph_is_made_anew(tmp_path):
    folder = tmp_path / "index"
    for kind, there in (
        ("hnsw", "hnsw"),
        ("int4", "int4"),
        ("exact", "int4"),
        ("auto", "int4"),
        ("hnsw", "hnsw"),
    ):
        Index(folder, Hashing(), kind).add([(f"{kind} {len(list(folder.glob('*')))}", {})])
        assert [each.suffix for each in folder.glob("0.*.*") if each.suffix in (".hnsw", ".int4")] == [
            f".{there}"
        ]
        assert Index(folder, Hashing(), "int4").search([kind], 1)[0]
        assert Index(folder, Hashing()).searched == there  # what is there is used, and kept up
        assert Index(folder, Hashing(), "exact").searched == "exact"


def test_a_key_replaces_what_was_there(tmp_path):
    index = Index(tmp_path / "index", Hashing())
    assert index.put([("a", ("甲", {})), ("b", ("乙", {})), ("a", ("丙", {}))]) == {
        "added": 2,
        "replaced": 1,
        "unchanged": 0,
    }
    assert index.put([("a", ("丁", {})), ("b", ("乙", {}))]) == {"added": 0, "replaced": 1, "unchanged": 1}
    assert sorted(text for _, (text, _) in index.documents()) == ["丁", "乙"]
    assert Index(tmp_path / "index", Hashing()).search(["丁"], 1)[0][0].text == "丁"
    for key in (1, 1.0, True, None):  # of which Python takes some for the same
        with pytest.raises(InputError, match=f"key {key}: keys are texts; give '{key}'"):
            index.put([(key, ("戊", {}))])


def test_a_number_and_its_digits_are_one_key(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "甲", "id": 1}\n{"text": "乙", "id": "1"}\n{"text": "丙", "id": "01"}\n', "utf-8"
    )
    index = Index(tmp_path / "index", Hashing())
    found = index.put(keyed([str(tmp_path / "a.jsonl")], Met(), Reading(), None, "id"))
    assert found == {"added": 2, "replaced": 1, "unchanged": 0}
    assert sorted(text for _, (text, _) in index.documents()) == ["丙", "乙"]


def test_only_rows_with_the_metadata_are_found(tmp_path):
    index = made(tmp_path / "index")
    index.delete([2])
    for where in ({"sky": "风"}, {"number": 6}, {"sky": "风", "number": "6"}, {"sky": "花"}):
        wanted = {
            at for at, text in enumerate(TEXTS)
            if at != 2 and text[-1] == where.get("sky", text[-1]) and str(where.get("number", at)) == str(at)
        }  # fmt: skip
        assert {hit.id for hit in index.search(["1"], 40, where=where)[0]} == wanted
    with pytest.raises(InputError, match="no text has metadata 'skies'; known: number, sky"):
        index.search(["1"], where={"skies": "风"})


def test_hybrid_is_both_lists_by_their_reciprocal_ranks(tmp_path):
    index = made(tmp_path / "index", texts=[*TEXTS, "花呗怎么还款", "借呗的额度"])
    (hits,) = index.search(["额度怎么提"], 2, hybrid=True)
    assert {hit.text for hit in hits} == {
        "花呗怎么还款",
        "借呗的额度",
    }  # vectors of hashes know nothing of it
    one = Hashing().embed(["额度怎么提"]) @ Hashing().embed([hits[0].text]).T
    assert hits[0].score == pytest.approx(one.item(), abs=1e-6)
    assert [hit.id for hit in index.search(["?!"], 3, hybrid=True)[0]] == [
        hit.id for hit in index.search(["?!"], 3)[0]
    ]
    (few,) = index.search(["额度怎么提"], 3, hybrid=True, where={"sky": "雪"})
    assert {hit.metadata["sky"] for hit in few} == {"雪"}


def test_words_are_words_and_pairs_of_characters():
    assert words("Ａ4 纸，HUAWEI手机") == ["a4", "纸", "huawei", "手", "机", "手机"]
    assert words("") == []


def test_bm25_is_as_published(tmp_path):
    """Lucene's form of Robertson's, by hand: k1 1.5, b 0.75."""
    index = made(tmp_path / "index", texts=["red fish", "blue fish fish", "one"])
    found = index._known_words(index.storage.read())
    tf, length, average = np.array([1, 2, 0]), np.array([2, 3, 1]), 2.0
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    wanted = idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / average))
    assert found._bm25.get_scores(["fish"]) == pytest.approx(wanted, abs=1e-6)
