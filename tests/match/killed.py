"""Processes that add, replace, delete and search one index and are killed at random, and what must hold after.

`schedule(folder, seed)` forks three processes. Each has a matcher that needs no model: a text's vector is made from its
hash. A writer tells the parent through a pipe before and after each change. It is killed either by the parent, at a
random moment, or by itself, at a random system call of the storage, in the middle of a `write` too.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import signal
import time
from pathlib import Path

import faiss
import numpy as np

from shoestring.match.search import index as module
from shoestring.match.search.index import Index

WIDTH = 8
faiss.omp_set_num_threads(1)  # libgomp's other threads do not outlive a fork


class Hashing:
    """Stands for a bi-encoder."""

    crossed, folder, width, decision, searches_as_it_judges = False, Path("hashing"), WIDTH, None, True

    def fingerprint(self) -> str:
        return "0" * 64

    def embed(self, texts, *_, **__):
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        rows = np.array([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds], np.float32)
        rows = rows.reshape(len(texts), WIDTH)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Dying:
    """Ends the process at the n-th system call of the storage, half-way through if it writes."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.real = {name: getattr(os, name) for name in ("fsync", "replace", "open", "unlink")}
        for name, call in self.real.items():
            setattr(os, name, lambda *each, call=call, **more: self.count() or call(*each, **more))
        opened = Path.open
        Path.unlink, unlink = (lambda path, **each: self.count() or unlink(path, **each)), Path.unlink
        Path.open = lambda path, *each, **more: self.count() or opened(path, *each, **more)
        written = module.Writer._written

        def half(writer, name, data):
            if random.random() < 0.2:
                self.left = min(self.left, 3)
                if self.left <= 3 and data:
                    path = writer.folder / writer.state.name(name)
                    with open(path, "ab") as file:
                        file.write(data[: random.randrange(len(data))])
                    if random.random() < 0.5:
                        os._exit(9)
            return written(writer, name, data)

        module.Writer._written = half

    def count(self) -> None:
        self.left -= 1
        if self.left <= 0:
            os._exit(9)


def write(folder: Path, seed: int, pipe: int) -> None:
    rng, number = random.Random(seed), 0
    random.seed(seed)
    if rng.random() < 0.5:
        Dying(rng.randrange(5, 120))
    index, mine, keys = Index(folder, Hashing(), rng.choice(("exact", "hnsw", "int4"))), [], {}

    def tell(*what) -> None:
        data = pickle.dumps(what)
        os.write(pipe, len(data).to_bytes(4, "little") + data)

    for _ in range(rng.randrange(1, 8)):
        kind = rng.choice(("add", "add", "put", "delete", "build"))
        texts = [f"{seed}-{number + at} {'文' * rng.randrange(20)}" for at in range(rng.randrange(1, 12))]
        number += len(texts)
        if kind == "delete" and mine:
            gone = rng.sample(mine, rng.randrange(1, len(mine) + 1))
            rows = [row for row, (text, _) in index.documents() if text in gone]
            tell("deleting", gone)
            index.delete(rows)
            tell("deleted", gone)
            mine = [text for text in mine if text not in gone]
        elif kind == "put":
            documents = {f"{seed}-{rng.randrange(6)}": text for text in texts}
            replaced = [keys[key] for key in documents if key in keys]
            tell("putting", list(documents.values()), replaced)
            index.put((key, (text, {"n": text})) for key, text in documents.items())
            tell("put", list(documents.values()), replaced)
            keys.update(documents)
        else:
            tell("adding", texts)
            index.add((text, {"n": text}) for text in texts)
            tell("added", texts)
            mine += texts
    os._exit(0)


def read(folder: Path, seed: int, pipe: int) -> None:
    """Searches as long as it lives; leaves with 3 if anything that it sees is not whole."""
    index, rng, known = Index(folder, Hashing(), rng_kind(seed)), random.Random(seed), {}
    try:
        while True:
            for row, (text, metadata) in index.documents():
                assert metadata == {"n": text}
                assert known.setdefault(row, text) == text
                if rng.random() < 0.2:
                    (hits,) = index.search([text], 1)
                    assert not hits or hits[0].text == text or hits[0].score < 1.0001
            now = index.storage.read()
            texts = [now.record(row)["text"] for row in range(now.rows)]
            assert np.array_equal(now.vectors, Hashing().embed(texts))
    except BaseException as error:
        os.write(pipe, repr(error).encode())
        os._exit(3)


def rng_kind(seed: int) -> str:
    return "exact" if seed % 4 else "hnsw"


def schedule(folder: Path, seed: int) -> dict[str, int]:
    """Runs one schedule and checks what is left.

    Returns:
        How many texts were lost, resurrected, mismatched and alive.
    """
    rng, children = random.Random(seed), []
    module.ROWS = 4
    for role, each in ((write, 2 * seed), (write, 2 * seed + 1), (read, seed)):
        out, into = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(out)
                role(folder, each, into)
            except BaseException as error:
                os.write(2, f"{role.__name__} {each}: {error!r}\n".encode())
                os._exit(4)
        os.close(into)
        children.append((child, out))
    time.sleep(rng.random() * 0.03)
    for child, _ in children[:2]:
        if rng.random() < 0.6:
            os.kill(child, signal.SIGKILL)
    codes = [os.waitpid(child, 0)[1] for child, _ in children[:2]]
    os.kill(children[2][0], signal.SIGKILL)
    codes.append(os.waitpid(children[2][0], 0)[1])
    told = [_told(out) for _, out in children[:2]]
    reader = b"".join(iter(lambda: os.read(children[2][1], 4096), b""))
    for _, out in children:
        os.close(out)
    return _checked(folder, told, reader, codes)


def _told(pipe: int) -> list[tuple]:
    data, found = b"".join(iter(lambda: os.read(pipe, 65536), b"")), []
    while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4], "little")):
        found.append(pickle.loads(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def _checked(folder: Path, told: list[list[tuple]], reader: bytes, codes: list[int]) -> dict[str, int]:
    must, must_not, may = set(), set(), set()
    for events in told:
        for kind, texts, *replaced in events:
            gone = set(replaced[0]) if replaced else set()
            if kind in ("adding", "putting", "deleting"):  # until it is told that it is done, either
                may |= set(texts) | gone
                must -= set(texts) | gone
            elif kind == "deleted":
                must_not |= set(texts)
                may -= set(texts)
            else:
                must |= set(texts)
                must_not |= gone
                may -= set(texts) | gone
    index = Index(folder, Hashing())
    there = [text for _, (text, _) in index.documents()]
    now = index.storage.read()
    every = [now.record(row)["text"] for row in range(now.rows)]
    wrong = int((now.vectors != Hashing().embed(every)).any(axis=1).sum()) if every else 0
    known = must | must_not | may
    wrong += sum(text not in known for text in there) + len(there) - len(set(there))
    index.add([("the next one", {"n": "the next one"})])  # it can be written to
    assert index.search(["the next one"], 1)[0][0].text == "the next one"
    wrong += bool(reader) + any(os.waitstatus_to_exitcode(code) in (3, 4) for code in codes)
    return {
        "lost": len(must - set(there)), "resurrected": len(must_not & set(there)), "mismatched": wrong,
        "alive": len(there), "killed": sum(code != 0 for code in codes[:2]),
    }  # fmt: skip
