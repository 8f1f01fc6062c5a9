"""The index beside its peers and at its size: parts of `benchmarks/match.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def alternately(ways: dict[str, Any], rounds: int, clock: Any = time.process_time) -> dict[str, float]:
    """The least seconds of each way over so many rounds, taken in turn."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way()
            least[name] = min(least[name], clock() - start)
    return least


def clustered(rows: int, width: int, count: int) -> tuple[Any, Any]:
    """Unit vectors around 500 centres, and queries near some of them; what a text encoder gives is alike."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(500, width)).astype(np.float32)
    vectors = centres[rng.integers(0, 500, rows)] + 0.6 * rng.normal(size=(rows, width)).astype(np.float32)
    queries = vectors[rng.integers(0, rows, count)] + 0.2 * rng.normal(size=(count, width)).astype(np.float32)
    return tuple(each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, queries))


def stored(graph: Any) -> int:
    """The bytes of a graph's file, about what it takes in memory."""
    with tempfile.NamedTemporaryFile() as file:
        graph.save(file.name)
        return Path(file.name).stat().st_size


def search(quick: bool) -> dict[str, Any]:
    """One query at a time on one thread, as a service gets them; graphs are built on all of them."""
    import faiss
    import hnswlib

    from shoestring.match.search import nearest

    rows, k, cores = 10_000 if quick else 100_000, 10, os.cpu_count() or 1
    vectors, queries = clustered(rows, 384, 200)
    faiss.omp_set_num_threads(cores)
    ours = nearest.Graph()
    start = time.process_time()
    ours.extend(vectors)
    building = {"ours": time.process_time() - start}
    faiss.omp_set_num_threads(1)
    peer = hnswlib.Index("ip", vectors.shape[1])
    start = time.process_time()
    peer.init_index(rows, ef_construction=nearest.BUILD_WIDTH, M=nearest.LINKS)
    peer.add_items(vectors, num_threads=cores)
    building["hnswlib"] = time.process_time() - start
    compact = nearest.Graph(compact=True)
    start = time.process_time()
    faiss.omp_set_num_threads(cores)
    compact.extend(vectors)
    faiss.omp_set_num_threads(1)
    building["ours, int4"] = time.process_time() - start
    nothing = np.zeros(0, np.int64)
    truth = [set(nearest.exact(vectors, query[None], k)[0][0].tolist()) for query in queries]

    def recall(way: Any) -> float:
        found = (set(map(int, way(query))) for query in queries)
        return sum(len(one & two) for one, two in zip(truth, found, strict=True)) / k / len(truth)

    def hnswlib_rows(query: Any) -> Any:
        return peer.knn_query(query[None], k, num_threads=1)[0][0]

    for width in nearest.WIDTHS:  # as wide as ours, or wider until it finds as much
        peer.set_ef(width)
        if width >= ours.width and recall(hnswlib_rows) >= 0.99:
            break
    ways = {
        "exact": lambda query: nearest.exact(vectors, query[None], k)[0][0],
        "exact, numpy alone": lambda query: nearest._by_blocks(vectors, query[None], k, nothing)[0][0],
        "HNSW": lambda query: ours.nearest(vectors, query[None], k)[0][0],
        "HNSW, int4": lambda query: compact.nearest(vectors, query[None], k)[0][0],
        "hnswlib": hnswlib_rows,
    }
    flat = vectors.view(np.uint64).ravel()
    reading: dict[str, Any] = {"read": lambda: [np.add.reduce(flat) for _ in range(len(queries) // 10)]}
    searching = {name: lambda way=way: [way(query) for query in queries] for name, way in ways.items()}
    rounds = 3 if quick else 7
    whole = {name: way for name, way in searching.items() if name.startswith("exact")}
    seconds = alternately(reading | whole, rounds)
    # apart from these, which leave caches, threads and the clock to whichever comes next
    seconds |= alternately({name: way for name, way in searching.items() if name not in whole}, 3 * rounds)
    bandwidth = vectors.nbytes * (len(queries) // 10) / seconds["read"] / 1e9
    out: dict[str, Any] = {"rows": rows, "memory_gb_per_second": bandwidth, "build_cpu_seconds": building}
    out["widths"] = {"HNSW": ours.width, "HNSW, int4": compact.width, "hnswlib": width}
    out["bytes of a row"] = {"HNSW": stored(ours) / rows, "HNSW, int4": stored(compact) / rows}
    for name, way in ways.items():
        per_second = len(queries) / seconds[name]
        out[name] = {"queries_per_second": per_second, "recall": recall(way)}
        if name.startswith("exact"):
            out[name]["of_bandwidth"] = vectors.nbytes * per_second / 1e9 / bandwidth
    return out


WIDTH, STEP = 384, 50_000
CENTRES = np.random.default_rng(0).normal(size=(500, WIDTH)).astype(np.float32)


class Cheap:
    """Stands for a bi-encoder, so that the index is measured: a text's number makes its vector, near one of 500."""

    crossed, folder, width, decision, searches_as_it_judges = False, Path("cheap"), WIDTH, None, True
    seconds = 0.0

    def fingerprint(self) -> str:
        """Of no model."""
        return "0" * 64

    def embed(self, texts: list[str], *_: Any, role: str | None = None, **__: Any) -> Any:
        """Queries lie beside the text of their number."""
        start = time.process_time()
        rows = np.empty((len(texts), WIDTH), np.float32)
        for at, text in enumerate(texts):
            number = int(text.split()[1])
            rng = np.random.default_rng(number)
            rows[at] = CENTRES[number % 500] + 0.6 * rng.standard_normal(WIDTH, np.float32)
            if role == "query":
                rows[at] += 0.2 * rng.standard_normal(WIDTH, np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.seconds += time.process_time() - start
        return rows


SEARCHED = """
import json, sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np
from match_search import Cheap
from shoestring.match.search.index import Index
from shoestring.match.search.nearest import exact

def memory():
    lines = open("/proc/self/status").read().splitlines()
    return {each.split(":")[0]: int(each.split()[1]) / 1024 for each in lines if each.startswith("Rss")}

import faiss
faiss.omp_set_num_threads(1)
before, out = memory(), {}
start = time.monotonic()
index = Index(sys.argv[1], Cheap(), "int4")
out["texts"] = len(index)
out["seconds to open"] = time.monotonic() - start
start = time.monotonic()
index.search(["query 7"], 10)
out["seconds of the first search, which compares all checksums"] = time.monotonic() - start
queries = [f"query {number}" for number in range(0, out["texts"], out["texts"] // 200)]
vectors = index.matcher.embed(queries, role="query")
start = time.monotonic()
found = [index.nearest(each[None], 10)[0][0] for each in vectors]
out["queries per second"] = len(queries) / (time.monotonic() - start)
now = memory()
out["megabytes while searching"] = {name: now[name] - before[name] for name in ("RssAnon", "RssFile")}
truth = exact(index.storage.read().vectors, vectors, 10)[0]
out["recall@10"] = float(np.mean([len(set(one) & set(two)) / 10 for one, two in zip(found, truth)]))
out["width"] = index._graph[1].width
print(json.dumps(out))
"""


def million(quick: bool, texts: int = 1_000_000, work: str | None = None) -> dict[str, Any]:
    """Builds an index of kind int4 in steps, goes on with one, and searches it in a fresh process.

    What an interrupted step had added is not counted, but what the next one does about it is.
    """
    import faiss

    from shoestring.match.search.index import Index

    faiss.omp_set_num_threads(1)
    texts, step = (20_000, 10_000) if quick else (texts, STEP)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(work or temporary) / "index"
        told = folder.with_name("steps.jsonl")
        folder.parent.mkdir(parents=True, exist_ok=True)
        index = Index(folder, Cheap(), "int4")
        while index.rows < texts:
            encoder = index.matcher.seconds
            wall, start, first = time.monotonic(), time.process_time(), index.rows
            index.add((f"text {number}", {}) for number in range(first, min(first + step, texts)))
            spent = time.process_time() - start - (index.matcher.seconds - encoder)
            with told.open("a", encoding="utf-8") as file:
                values = {
                    "added": index.rows - first,
                    "texts": index.rows,
                    "cpu_seconds": spent,
                    "seconds": time.monotonic() - wall,
                }
                file.write(json.dumps(values) + "\n")
        command = [sys.executable, "-c", SEARCHED, str(folder), str(Path(__file__).parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes = {each.name: each.stat().st_size / 2**20 for each in folder.iterdir()}
        steps = [json.loads(line) for line in told.read_text("utf-8").splitlines()]
    spent, added = (sum(each[name] for each in steps) for name in ("cpu_seconds", "added"))
    return {
        **json.loads(done.stdout), "kind": "int4", "texts per CPU second of building": added / spent, "steps": steps,
        "megabytes on disk": sizes,
    }  # fmt: skip


def precision(quick: bool) -> dict[str, Any]:
    """Texts per second of multilingual-e5-small in fp32 and bf16, and whether they find the same."""
    from shoestring import files
    from shoestring.match import Matcher
    from shoestring.tour import models, text

    with tempfile.TemporaryDirectory() as temporary:
        sources = text.write(Path(temporary, "text"))
        texts = list(dict.fromkeys(files.documents([sources["good-reviews"], sources["bad-reviews"]])))
        texts = [str(each) for each in np.random.default_rng(0).permutation(texts)[: 100 if quick else 2000]]
        folder = models.encoder(Path(temporary, "e5"))
        matchers = {name: Matcher(folder, "cpu", precision=name) for name in ("fp32", "bf16")}
        vectors: dict[str, Any] = {}

        def embed(name: str) -> None:
            vectors[name] = matchers[name].embed(texts, role="document")

        seconds = alternately(
            {name: lambda name=name: embed(name) for name in matchers}, 2, time.perf_counter
        )
    scores = {name: each @ each.T - 2 * np.eye(len(texts)) for name, each in vectors.items()}
    nearest = {name: np.argsort(-each, axis=1)[:, :10] for name, each in scores.items()}
    same = [len(set(one) & set(two)) / 10 for one, two in zip(*nearest.values(), strict=True)]
    return {
        "texts": len(texts), "texts per second": {name: len(texts) / each for name, each in seconds.items()},
        "largest difference of a score": float(np.abs(scores["fp32"] - scores["bf16"]).max()),
        "of the ten nearest the same": float(np.mean(same)),
    }  # fmt: skip
