"""A folder of embedded texts: exact search by default, HNSW for many, add and delete at any time.

- `vectors.f32` (memory-mapped), `records.jsonl` (text and metadata), `offsets.i64` (where each record starts) only
  grow; `index.json` says how many rows count, so an interrupted `add` goes on where it was.
- A deleted row keeps its number and is passed over. A row's number is its id.
- Exact search by default, HNSW for many rows where faiss is installed; see `nearest`.
- The index remembers the model's fingerprint and refuses another one, whose embeddings would mean something else.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OptionError, OutputError
from shoestring.files import atomic
from shoestring.match.matcher import Matcher, Progress
from shoestring.match.search.hits import Document, Hit, hits, reranked
from shoestring.match.search.nearest import Graph, exact, has_faiss

STATE, VECTORS, RECORDS, OFFSETS, GRAPH = (
    "index.json",
    "vectors.f32",
    "records.jsonl",
    "offsets.i64",
    "hnsw.faiss",
)
KINDS = ("auto", "exact", "hnsw")
MANY = 100_000  # from here on `auto` takes HNSW, if faiss is there
ROWS = 1024  # embedded and written at a time


class Index:
    """Texts of a folder and their embeddings.

    Args:
        folder: of the index; made if it is not there.
        matcher: a bi-encoder.
        kind: exact, hnsw, or auto for hnsw beyond 100,000 rows where faiss is installed.

    Raises:
        InputError: the index was made with another model, or is damaged.
    """

    def __init__(self, folder: str | Path, matcher: Matcher, kind: str = "auto") -> None:
        if kind not in KINDS:
            raise OptionError(f"kind {kind!r}: choose one of {', '.join(KINDS)}")
        if matcher.crossed:
            raise OptionError(f"{matcher.folder}: is a cross-encoder; an index needs a bi-encoder")
        self.folder, self.matcher, self.kind = Path(folder), matcher, kind
        self.width, fingerprint = matcher.width, matcher.fingerprint()
        self.state = self._opened(fingerprint)
        self._lock = threading.Lock()
        self._graph: Graph | None = None
        self._trim()

    def __len__(self) -> int:
        """The number of texts that can be found."""
        return self.rows - len(self.state["deleted"])

    @property
    def rows(self) -> int:
        """The number of rows, deleted ones too."""
        return self.state["rows"]

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> int:
        """Embeds and appends documents; every 1,024 of them are safe on disk.

        Args:
            documents: (text, metadata) pairs, with JSON values.
            progress: is told how many were added.

        Returns:
            How many were added.

        Raises:
            InputError: a text is empty.
        """
        before, stream = self.rows, iter(documents)
        while batch := list(islice(stream, ROWS)):
            empty = [at for at, (text, _) in enumerate(batch) if not text.strip()]
            if empty:
                raise InputError(f"document {self.rows - before + empty[0] + 1:,}: empty text")
            self._append(batch)
            if progress:
                progress(len(batch))
        if self.rows and self._wants_graph():
            self._loaded_graph().extend(self._vectors())
        return self.rows - before

    def begin(self, add: bool = False) -> int:
        """Starts a build that may be interrupted, or goes on with one; returns how many texts it has already.

        Args:
            add: let a finished index take more.

        Raises:
            OutputError: the index is finished and `add` is not given.
        """
        start = self.state.get("building")
        if start is not None:
            return self.rows - start
        if self.rows and not add:
            raise OutputError(
                f"{self.folder}: holds a finished index; add to it with --add, or choose another name"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.rows:
            self._write({**self.state, "building": self.rows})
        else:
            self.state["building"] = 0
        return 0

    def finish(self) -> None:
        """Ends what `begin` started."""
        self._write({name: value for name, value in self.state.items() if name != "building"})

    def delete(self, ids: Iterable[int]) -> int:
        """Makes rows disappear and returns how many.

        Raises:
            InputError: there is no such row.
        """
        wanted = set(ids)
        wrong = sorted(each for each in wanted if not 0 <= each < self.rows)
        if wrong:
            raise InputError(f"{self.folder}: no row {wrong[0]}; there are 0 to {self.rows - 1:,}")
        new = wanted - set(self.state["deleted"])
        self._write({**self.state, "deleted": sorted({*self.state["deleted"], *new})})
        return len(new)

    def documents(self) -> Iterator[tuple[int, Document]]:
        """Yields (id, (text, metadata)) of the rows that are there."""
        gone = set(self.state["deleted"])
        yield from ((row, self.document(row)) for row in range(self.rows) if row not in gone)

    def document(self, row: int) -> Document:
        """Returns (text, metadata) of a row."""
        start = int(np.fromfile(self.folder / OFFSETS, np.int64, 1, offset=8 * row)[0])
        with (self.folder / RECORDS).open("rb") as file:
            file.seek(start)
            record = json.loads(file.readline())
        return record["text"], record["metadata"]

    def search(
        self, queries: Sequence[str], k: int = 5, rerank: Matcher | None = None, candidates: int = 50
    ) -> list[list[Hit]]:
        """Returns the k nearest texts of every query, best first.

        Args:
            queries: texts.
            k: how many of each.
            rerank: a cross-encoder that sorts the nearest `candidates` anew.
            candidates: how many it looks at.
        """
        if k < 1:
            raise OptionError(f"k {k}: must be at least 1")
        if not all(query.strip() for query in queries):
            raise InputError("empty query: give a text")
        count = max(k, candidates) if rerank else k
        rows, scores = self.nearest(self.matcher.embed(list(queries)), count)
        found = [
            hits(list(map(int, ids)), row, [self.document(int(each)) for each in ids], self.matcher)
            for ids, row in zip(rows, scores, strict=True)
        ]
        if rerank is None:
            return found
        return [reranked(query, each, rerank)[:k] for query, each in zip(queries, found, strict=True)]

    def nearest(self, vectors: NDArray, k: int) -> tuple[NDArray, NDArray]:
        """Returns (rows, scores), each (queries, min(k, texts)), of embeddings, best first."""
        k = min(k, len(self))
        if k == 0:
            return np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.float32)
        deleted = np.array(self.state["deleted"], np.int64)
        if self._wants_graph() and (self.folder / GRAPH).exists():
            return self._loaded_graph().nearest(vectors, k, deleted)
        return exact(self._vectors(), vectors, k, deleted)

    def _opened(self, fingerprint: str) -> dict[str, Any]:
        path = self.folder / STATE
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise OutputError(f"{self.folder}: exists and is no index; choose another name")
            return {"rows": 0, "width": self.width, "model": fingerprint, "deleted": []}
        try:
            state = json.loads(path.read_text("utf-8"))
            made, width = state["model"], state["width"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error!r}); build the index again") from error
        if (made, width) != (fingerprint, self.width):
            raise InputError(
                f"{self.folder}: was made with another model ({made[:12]}) than {self.matcher.folder} "
                f"({fingerprint[:12]}); give that model, or build the index again"
            )
        return state

    def _trim(self) -> None:
        """Cuts what an interrupted `add` had written beyond the rows that count."""
        rows = self.rows
        if not rows:
            return
        for name, size in ((VECTORS, 4 * self.width * rows), (OFFSETS, 8 * rows)):
            found = (self.folder / name).stat().st_size
            if found < size:
                raise InputError(
                    f"{self.folder / name}: damaged, {found:,} bytes of {size:,}; build the index again"
                )
            if found > size:
                os.truncate(self.folder / name, size)
        os.truncate(self.folder / RECORDS, self.state["bytes"])

    def _append(self, batch: Sequence[Document]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        vectors = self.matcher.embed([text for text, _ in batch])
        lines = [
            json.dumps({"text": text, "metadata": dict(metadata)}, ensure_ascii=False).encode() + b"\n"
            for text, metadata in batch
        ]
        start = self.state.get("bytes", 0)
        ends = start + np.cumsum([0, *map(len, lines)])
        for name, data in (
            (VECTORS, vectors.tobytes()), (RECORDS, b"".join(lines)), (OFFSETS, ends[:-1].astype(np.int64).tobytes()),
        ):  # fmt: skip
            with (self.folder / name).open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        self._write({**self.state, "rows": self.rows + len(batch), "bytes": int(ends[-1])})

    def _write(self, state: dict[str, Any]) -> None:
        with atomic(self.folder / STATE) as file:
            json.dump(state, file)
        self.state = state

    def _vectors(self) -> NDArray:
        return np.memmap(self.folder / VECTORS, np.float32, "r", shape=(self.rows, self.width))

    def _wants_graph(self) -> bool:
        if self.kind == "hnsw":
            return True
        if self.kind == "exact" or self.rows < MANY:
            return False
        return has_faiss()

    def _loaded_graph(self) -> Graph:
        with self._lock:
            if self._graph is None:
                self._graph = Graph(self.folder / GRAPH)
            return self._graph
