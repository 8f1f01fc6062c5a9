"""A folder of embedded texts: exact search by default, HNSW for many; add, replace and delete at any time.

- Any number of processes may search while one writes; see `storage`. Each 1,024 texts are safe as soon as they are
  told of, and an interrupted build goes on behind them, if it is given the same texts.
- A row's number is its id and is never given again. A deleted row is passed over.
- Texts may have keys of the user's own: what comes again under the same key replaces what was there.
- A graph that is behind the rows is no matter: the rest is searched exactly, and all where the graph finds too little.
- The index remembers the model's fingerprint and refuses another one, whose embeddings would mean something else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.match.matcher import Matcher, Progress
from shoestring.match.search.hits import Document, Hit, answered, row_numbers
from shoestring.match.search.metadata import recorded, same
from shoestring.match.search.nearest import Found, Graph, among, exact, has_faiss, merged, nothing
from shoestring.match.search.resuming import require_whole, resumed
from shoestring.match.search.state import ENDINGS, GraphFile, State
from shoestring.match.search.storage import Generation, Record, Storage, Writer, checked_graph
from shoestring.match.search.words import Words

KINDS = ("auto", "exact", "hnsw", "int4")
MANY = 100_000  # from here on `auto` takes HNSW, if faiss is there
ROWS = 1024  # embedded and written at a time
FUSED = 100  # of each kind that a hybrid search joins
BEHIND = 256  # a graph that lacks less than one row in so many stays as it is: its file is written as a whole
FEW = 8  # where less than one row in so many counts, only these are compared


class Index:
    """Texts of a folder and their embeddings.

    Args:
        folder: of the index; made by the first text.
        matcher: a bi-encoder.
        kind: exact, hnsw, int4 (hnsw in less than a quarter of the memory), or auto for the graph that is there, and
            hnsw from 100,000 rows where faiss is installed.
        anew: `build` will replace what is there, so that it may be of another model, or damaged.

    Raises:
        InputError: the index was made with another model, or is damaged.
    """

    def __init__(self, folder: str | Path, matcher: Matcher, kind: str = "auto", anew: bool = False) -> None:
        if kind not in KINDS:
            raise OptionError(f"kind {kind!r}: choose one of {', '.join(KINDS)}")
        if matcher.crossed:
            raise OptionError(f"{matcher.folder}: is a cross-encoder; an index needs a bi-encoder")
        if kind in ENDINGS:  # before anything is embedded
            require("faiss", "faiss")
        self.folder, self.matcher, self.kind = Path(folder), matcher, kind
        self.storage = Storage(self.folder, matcher.fingerprint(), matcher.width, str(matcher.folder))
        self._lock = threading.Lock()
        self._graph: tuple[str, Graph] | None = None
        self._words: Words | None = None
        if not anew:
            self.storage.read()

    def __len__(self) -> int:
        """The number of texts that can be found."""
        now = self.storage.read()
        return now.rows - len(now.deleted)

    @property
    def unfinished(self) -> bool:
        """Whether a build was interrupted, so that texts may be missing."""
        return self.storage.read().state.building is not None

    @property
    def rows(self) -> int:
        """The number of rows, deleted ones too."""
        return self.storage.read().rows

    @property
    def searched(self) -> str:
        """How texts are found: `exact`, or by the graph, `hnsw` or `int4`."""
        now = self.storage.read()
        graph = self._loaded_graph(now) if self._wants_graph(now.state) else None
        return ("int4" if graph.compact else "hnsw") if graph and graph.width else "exact"

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> int:
        """Embeds and appends documents; every 1,024 of them are safe on disk.

        Args:
            documents: (text, metadata) pairs, with JSON values.
            progress: is told how many were added.

        Returns:
            How many were added.

        Raises:
            InputError: a text is empty.
            OutputError: another process writes, or a build was interrupted.
        """
        with self.storage.writing() as writer:
            require_whole(self.folder, writer.state.building, writer.state.rows)
            return self._add(writer, documents, progress)

    def build(
        self, documents: Iterable[Document], add: bool = False, overwrite: bool = False,
        progress: Progress | None = None,
    ) -> tuple[int, int]:  # fmt: skip
        """Makes an index, or goes on with a build that was interrupted.

        Args:
            documents: as for `add`; those that an interrupted build has already are compared with it.
            add: let a finished index take more.
            overwrite: let it replace whatever is there, which stays until all is done.
            progress: is told how many were added.

        Returns:
            How many texts an interrupted build had already, and how many were added.

        Raises:
            InputError: the interrupted build had other texts.
            OutputError: the index is finished and neither `add` nor `overwrite` is given.
        """
        with self.storage.writing(anew=overwrite) as writer:
            done, rest = resumed(writer, documents, add, overwrite)
            added = self._add(writer, rest, progress)
            writer.commit(replace(writer.state, building=None))
            if overwrite:
                writer.publish()
            return done, added

    def put(
        self, documents: Iterable[tuple[str, Document]], progress: Progress | None = None
    ) -> dict[str, int]:
        """Stores documents under keys of the user's own; the same key again replaces what was there.

        Args:
            documents: (key, (text, metadata)). Of those with the same key the last counts.
            progress: is told how many were looked at.

        Raises:
            InputError: a text is empty, or a key is no text.
            OutputError: another process writes, or a build was interrupted.

        Returns:
            How many were `added`, `replaced` and `unchanged`, together all that were given: the last are not
            embedded again.
        """
        counts = {"added": 0, "replaced": 0, "unchanged": 0}
        with self.storage.writing() as writer:
            require_whole(self.folder, writer.state.building, writer.state.rows)
            known = self._keys(Generation(self.folder, writer.state))
            stream = iter(documents)
            while batch := list(islice(stream, ROWS)):
                newest = dict(batch)
                counts["replaced"] += len(batch) - len(newest)
                self._put(writer, newest, known, counts)
                if progress:
                    progress(len(batch))
            self._extend_graph(writer)
        return counts

    def delete(self, ids: Iterable[int], keys: Iterable[str] = ()) -> int:
        """Makes rows disappear and returns how many.

        Args:
            ids: numbers of rows.
            keys: under which others are stored.

        Raises:
            InputError: there is no such row or key; nothing is deleted then.
        """
        named = set(keys)
        with self.storage.writing() as writer:
            now = Generation(self.folder, writer.state)
            given = row_numbers(self.folder, ids, now.rows)
            known = self._keys(now) if named else {}
            if unknown := sorted(named - known.keys()):
                raise InputError(f"{self.folder}: no key {unknown[0]!r}; {len(known):,} texts have one")
            new = {*given, *(known[key][0] for key in named)} - set(now.deleted.tolist())
            if new:
                writer.append([], np.zeros((0, self.matcher.width)), new)
        return len(new)

    def documents(self) -> Iterator[tuple[int, Document]]:
        """Yields (id, (text, metadata)) of the rows that are there."""
        for row, record in self.storage.read().records():
            yield row, (record["text"], record["metadata"])

    def search(
        self, queries: Sequence[str], k: int = 5, rerank: Matcher | None = None, candidates: int = 50,
        where: Mapping[str, object] | None = None, hybrid: bool = False,
    ) -> list[list[Hit]]:  # fmt: skip
        """Returns the k nearest texts of every query, best first.

        Args:
            queries: texts.
            k: how many of each.
            rerank: a cross-encoder that sorts the nearest `candidates` anew.
            candidates: how many it looks at.
            where: only texts whose metadata have these values.
            hybrid: join the nearest with the best by BM25, by their reciprocal ranks.
        """
        now = self.storage.read()
        allowed = self._known_words(now).where(where) if where else None

        def nearest(texts: list[str], count: int) -> Found:
            vectors = self.matcher.embed(texts, role="query")
            if not hybrid:
                return self._nearest(now, vectors, count, allowed)
            more = max(count, FUSED)
            found, _ = self._nearest(now, vectors, more, allowed)
            return self._known_words(now).fused(texts, vectors, found, count, allowed)

        return answered(list(queries), k, nearest, now.record, self.matcher, rerank, candidates)

    def nearest(self, vectors: NDArray, k: int) -> Found:
        """Returns (rows, scores), each (queries, min(k, texts)), of embeddings, best first."""
        return self._nearest(self.storage.read(), vectors, k)

    def _nearest(self, now: Generation, vectors: NDArray, k: int, allowed: NDArray | None = None) -> Found:
        if allowed is not None:
            return among(now.vectors, vectors, k, np.setdiff1d(allowed, now.deleted))
        left = now.rows - len(now.deleted)
        k = min(k, left)
        if k and self._wants_graph(now.state) and 2 * left > now.rows:
            found = self._by_graph(now, vectors, k)
            if found is not None:
                return found
        if k and FEW * left < now.rows:
            return among(now.vectors, vectors, k, np.setdiff1d(np.arange(now.rows), now.deleted))
        return exact(now.vectors, vectors, k, now.deleted) if k else nothing(len(vectors))

    def _by_graph(self, now: Generation, vectors: NDArray, k: int) -> Found | None:
        """By the graph, and by comparing with all rows that it has not; None where it is of no use."""
        graph = self._loaded_graph(now)
        if graph is None:
            return None
        within = min(k, len(graph) - int(np.searchsorted(now.deleted, len(graph))))
        if not within:
            return None  # all that it has is deleted
        found = graph.nearest(now.vectors, vectors, within, now.deleted[now.deleted < len(graph)])
        if found is None or len(graph) == now.rows:
            return found
        gone = now.deleted[now.deleted >= len(graph)] - len(graph)
        few = min(k, now.rows - len(graph) - len(gone))
        rest = exact(now.vectors[len(graph) :], vectors, few, gone) if few else nothing(len(vectors))
        return merged(found, (rest[0] + len(graph), rest[1]), k)

    def _add(self, writer: Writer, documents: Iterable[Document], progress: Progress | None) -> int:
        before, stream = writer.state.rows, iter(documents)
        while batch := list(islice(stream, ROWS)):
            empty = [at for at, (text, _) in enumerate(batch) if not text.strip()]
            if empty:
                raise InputError(f"document {writer.state.rows - before + empty[0] + 1:,}: empty text")
            writer.append([recorded(*each) for each in batch], self._embedded([text for text, _ in batch]))
            if progress:
                progress(len(batch))
        self._extend_graph(writer)
        return writer.state.rows - before

    def _put(
        self, writer: Writer, batch: Mapping[str, Document], known: dict[str, tuple[int, Record]],
        counts: dict[str, int],
    ) -> None:  # fmt: skip
        records = {key: {**recorded(*document), "key": key} for key, document in batch.items()}
        for key, record in records.items():
            if not isinstance(key, str):
                raise InputError(f"key {key!r}: keys are texts; give {str(key)!r}")
            if not record["text"].strip():
                raise InputError(f"key {key!r}: empty text")
        new = [
            record for key, record in records.items() if key not in known or not same(known[key][1], record)
        ]
        replaced = [known[record["key"]][0] for record in new if record["key"] in known]
        counts["unchanged"] += len(records) - len(new)
        counts["replaced"] += len(replaced)
        counts["added"] += len(new) - len(replaced)
        if new:
            row = writer.state.rows
            writer.append(new, self._embedded([record["text"] for record in new]), replaced)
            known.update((record["key"], (row + at, record)) for at, record in enumerate(new))

    def _embedded(self, texts: list[str]) -> NDArray:
        """Each text once: beside others of another length it comes out different in the last bits."""
        place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        return self.matcher.embed(list(place), role="document")[[place[text] for text in texts]]

    def _keys(self, now: Generation) -> dict[str, tuple[int, Record]]:
        return {record["key"]: (row, record) for row, record in now.records() if "key" in record}

    def _extend_graph(self, writer: Writer) -> None:
        if not writer.state.rows or not self._wants_graph(writer.state):
            return
        now, stored = Generation(self.folder, writer.state), writer.state.graph
        if stored is not None and self.kind in ENDINGS and stored.compact != (self.kind == "int4"):
            stored = None  # of another kind: made anew
        if stored is not None and BEHIND * (now.rows - stored.rows) < now.rows:
            return
        graph = (
            self._opened(stored) if stored else Graph(compact=self.kind == "int4")
        )  # one that nobody searches
        graph.extend(now.vectors)
        writer.put_graph(now.rows, graph.compact, graph.reach, graph.save)

    def _wants_graph(self, state: State) -> bool:
        """Whether to search by a graph: `auto` does where there is one, or should be."""
        wanted = state.graph is not None or state.rows >= MANY
        return self.kind in ENDINGS or (self.kind == "auto" and wanted and has_faiss())

    def _loaded_graph(self, now: Generation) -> Graph | None:
        """The graph of a generation; read again when there is another."""
        wanted = now.state.graph
        if wanted is None:
            return None
        with self._lock:
            if self._graph is None or self._graph[0] != wanted.name:
                try:
                    self._graph = (wanted.name, self._opened(wanted))
                except FileNotFoundError:
                    return None  # replaced meanwhile; all rows are compared
            return self._graph[1]

    def _opened(self, graph: GraphFile) -> Graph:
        return Graph(checked_graph(self.folder, graph), graph.compact, graph.reach, graph.rows)

    def _known_words(self, now: Generation) -> Words:
        with self._lock:
            if self._words is None or self._words.now is not now:
                self._words = Words(now)
            return self._words
