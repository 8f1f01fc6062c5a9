"""The same search on a Qdrant server, for more texts than one machine holds.

- Start one: `docker run -p 6333:6333 qdrant/qdrant`, then `shoestring match index TEXTS -o qdrant:http://HOST:6333/NAME`.
- A name ends with the model's fingerprint, so another model cannot search it by mistake. It is an alias of a
  collection: one that replaces another is built beside it, and the alias led to it when it is whole.
- Rows are numbered 0, 1, 2, ...; text and metadata are the points' payload, these also as the marks that a filter
  compares, since a server tells 3 from "3" and takes a dot in a name for a path. A deleted row loses its payload and is
  passed over, but stays, so that its number is never given again.
- The first point of a build carries a mark until the build is finished; an interrupted one goes on behind its last row,
  if it is given the same texts.
- One process may write at a time, which nothing watches; searches with words (hybrid) are the folder's only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OptionError, OutputError
from shoestring._extras import require
from shoestring.match.matcher import Matcher, Progress
from shoestring.match.search.hits import Document, Hit, answered, row_numbers
from shoestring.match.search.metadata import marks, plain, require_names, same, wanted_marks
from shoestring.match.search.resuming import require_whole

ROWS = 256
GONE, BUILDING = "deleted", "building"  # marks in a payload
NAMES, VALUES = "names", "values"  # of the metadata, as they are filtered by


class QdrantIndex:
    """Texts in a Qdrant collection.

    Args:
        client: a `qdrant_client.QdrantClient`; `connect` makes one from an address.
        name: of the collection; the model's fingerprint is put behind it.
        matcher: a bi-encoder.
    """

    def __init__(self, client: Any, name: str, matcher: Matcher) -> None:
        if matcher.crossed:
            raise OptionError(f"{matcher.folder}: is a cross-encoder; an index needs a bi-encoder")
        self.models: Any = require("qdrant", "qdrant_client.models")
        self.client, self.matcher = client, matcher
        self.name = f"{name}-{matcher.fingerprint()[:12]}"
        self._starts: int | None = None  # the row where a build starts
        self._require_same_model(name)

    def __len__(self) -> int:
        """The number of texts that can be found."""
        return self._count(self._marked(GONE, inverse=True))

    searched = "qdrant"

    @property
    def rows(self) -> int:
        """The number of rows, deleted ones too."""
        return self._count()

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> int:
        """Embeds and appends documents, and returns how many.

        Raises:
            InputError: a text is empty.
            OutputError: a build was interrupted.
        """
        if self._starts is None:
            require_whole(self.name, self._building(), self.rows)
        if not self.client.collection_exists(self.name):
            self._lead_to(self._made(1))
        before, stream = self.rows, iter(documents)
        while batch := list(islice(stream, ROWS)):
            row = self.rows
            empty = [at for at, (text, _) in enumerate(batch) if not text.strip()]
            if empty:
                raise InputError(f"document {row - before + empty[0] + 1:,}: empty text")
            vectors = self.matcher.embed([text for text, _ in batch], role="document")
            payloads = [_payload(*each) for each in batch]
            if self._starts == row:
                payloads[0][BUILDING] = True
            points = [
                self.models.PointStruct(id=row + at, vector=vector.tolist(), payload=payload)
                for at, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
            ]
            self.client.upsert(self.name, points=points, wait=True)
            if progress:
                progress(len(batch))
        return self.rows - before

    def build(
        self, documents: Iterable[Document], add: bool = False, overwrite: bool = False,
        progress: Progress | None = None,
    ) -> tuple[int, int]:  # fmt: skip
        """Makes a collection, or goes on with a build that was interrupted; see `Index.build`.

        Raises:
            InputError: the interrupted build had other texts.
            OutputError: the collection is finished and neither `add` nor `overwrite` is given.
        """
        stream = iter(documents)
        if overwrite:
            return self._anew(stream, progress)
        start = self._building()
        if start is None and self.rows and not add:
            raise OutputError(
                f"{self.name}: holds a finished index; add to it with --add, build it anew with --overwrite, or choose "
                "another name"
            )
        self._starts = self.rows if start is None else start
        try:
            done = 0 if start is None else self._skipped(start, stream)
            added = self.add(stream, progress)
        finally:
            self._starts = None
        if not self.rows:
            raise InputError("no texts to index")
        self.client.delete_payload(self.name, keys=[BUILDING], points=self._marked(BUILDING), wait=True)
        return done, added

    def put(
        self, documents: Iterable[tuple[str, Document]], progress: Progress | None = None
    ) -> dict[str, int]:
        """Refused: keys of the user's own are for an index in a folder.

        Raises:
            OptionError: always.
        """
        raise OptionError("--key: an index on a Qdrant server has none; leave it out, or index into a folder")

    def document(self, row: int) -> Document:
        """Returns (text, metadata) of a row."""
        (point,) = self.client.retrieve(self.name, ids=[row])
        return point.payload["text"], point.payload["metadata"]

    def delete(self, ids: Iterable[int], keys: Iterable[str] = ()) -> int:
        """Makes rows disappear and returns how many; see `Index.delete`.

        Raises:
            InputError: there is no such row.
            OptionError: a key is given, of which there are none.
        """
        if list(keys):
            raise OptionError("--key: an index on a Qdrant server has none; delete by id")
        wanted, before = sorted(row_numbers(self.name, ids, self.rows)), len(self)
        self.client.overwrite_payload(self.name, payload={GONE: True}, points=wanted, wait=True)
        return before - len(self)

    def search(
        self, queries: Sequence[str], k: int = 5, rerank: Matcher | None = None, candidates: int = 50,
        where: Mapping[str, object] | None = None, hybrid: bool = False,
    ) -> list[list[Hit]]:  # fmt: skip
        """Returns the k nearest texts of every query, best first; see `Index.search`."""
        if hybrid:
            raise OptionError(
                "--hybrid: an index on a Qdrant server has no words; leave it out, or use a folder"
            )
        those, payloads = self._those(where or {}), {}

        def nearest(texts: list[str], count: int) -> tuple[NDArray, NDArray]:
            rows, scores = [], []
            for vector in self.matcher.embed(texts, role="query"):
                points = self.client.query_points(
                    self.name, query=vector.tolist(), limit=count, query_filter=those
                ).points
                payloads.update((point.id, point.payload) for point in points)
                rows.append([point.id for point in points])
                scores.append([point.score for point in points])
            return np.array(rows, np.int64), np.array(scores, float)

        return answered(list(queries), k, nearest, payloads.__getitem__, self.matcher, rerank, candidates)

    @property
    def unfinished(self) -> bool:
        """Whether a build was interrupted, so that texts may be missing."""
        return self._building() is not None

    def _anew(self, documents: Iterator[Document], progress: Progress | None) -> tuple[int, int]:
        """Builds a collection beside the one that is there, which answers until the new one is whole."""
        if self._led_to() is None and self.client.collection_exists(self.name):
            raise OutputError(
                f"{self.name}: is a collection itself, no alias of one; delete it on the server, or choose another name"
            )
        first = list(islice(documents, 1))  # what cannot be read at all makes nothing
        if not first:
            raise InputError("no texts to index")
        beside = copy(self)
        beside.name = self._made(2 if self._led_to() == f"{self.name}-1" else 1)
        found = beside.build(chain(first, documents), progress=progress)
        self._lead_to(beside.name)
        return found

    def _made(self, number: int) -> str:
        """Makes an empty collection, in the place of what a killed build may have left."""
        name = f"{self.name}-{number}"
        size = self.models.VectorParams(size=self.matcher.width, distance=self.models.Distance.COSINE)
        self.client.delete_collection(name)
        self.client.create_collection(name, vectors_config=size)
        return name

    def _led_to(self) -> str | None:
        """The collection that the name stands for."""
        found = {each.alias_name: each.collection_name for each in self.client.get_aliases().aliases}
        return found.get(self.name)

    def _lead_to(self, collection: str) -> None:
        """Lets the name stand for a collection, at once, and removes the one that it stood for."""
        old, models = self._led_to(), self.models
        new = models.CreateAlias(collection_name=collection, alias_name=self.name)
        gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name))
        steps = [*([gone] if old else []), models.CreateAliasOperation(create_alias=new)]
        self.client.update_collection_aliases(change_aliases_operations=steps)
        if old:
            self.client.delete_collection(old)

    def _building(self) -> int | None:
        """The row where a build that is not finished started."""
        if not self.rows:
            return None
        marked, _ = self.client.scroll(self.name, scroll_filter=self._marked(BUILDING), limit=1)
        return marked[0].id if marked else None

    def _skipped(self, start: int, documents: Iterator[Document]) -> int:
        for row in range(start, self.rows):
            given = next(documents, None)
            if given is None or not same({given[0]: plain(given[1])}, dict([self.document(row)])):
                raise InputError(
                    f"{self.name}: an interrupted build had another text {row - start + 1:,}; give the same "
                    "texts in the same order, or build it anew with --overwrite"
                )
        return self.rows - start

    def _those(self, where: Mapping[str, object]) -> Any:
        """A filter: not deleted, and these values in the metadata."""
        require_names(where, [name for name in where if self._count(self._having(NAMES, name))], self.name)
        values = [
            self.models.FieldCondition(key=VALUES, match=self.models.MatchAny(any=wanted_marks(*each)))
            for each in where.items()
        ]
        return self.models.Filter(must=values, must_not=[self._match(GONE, True)])

    def _having(self, key: str, value: object) -> Any:
        return self.models.Filter(must=[self._match(key, value)])

    def _match(self, key: str, value: object) -> Any:
        return self.models.FieldCondition(key=key, match=self.models.MatchValue(value=value))

    def _count(self, those: Any = None) -> int:
        if not self.client.collection_exists(self.name):
            return 0
        return self.client.count(self.name, count_filter=those, exact=True).count

    def _marked(self, mark: str, inverse: bool = False) -> Any:
        return self.models.Filter(**{"must_not" if inverse else "must": [self._match(mark, True)]})

    def _require_same_model(self, name: str) -> None:
        names = [each.alias_name for each in self.client.get_aliases().aliases]
        other = [each for each in names if each.rpartition("-")[0] == name and each != self.name]
        if other and self.name not in names:
            raise InputError(
                f"qdrant: {name} was made with another model ({other[0].rpartition('-')[2]}) than "
                f"{self.matcher.folder} ({self.name.rpartition('-')[2]}); give that model, or another name"
            )


def _payload(text: str, metadata: Mapping[str, object]) -> dict[str, Any]:
    kept = plain(metadata)
    return {"text": text, "metadata": kept, NAMES: list(kept), VALUES: list(marks(kept))}


def connect(address: str, matcher: Matcher) -> QdrantIndex:
    """Opens `qdrant:http://HOST:PORT/NAME`.

    Raises:
        InputError: there is no server.
        OptionError: the address is no such.
    """
    url, _, name = address.removeprefix("qdrant:").rpartition("/")
    if not url.startswith(("http://", "https://")) or not name:
        raise OptionError(f"{address!r}: write qdrant:http://HOST:6333/NAME")
    client: Any = require("qdrant", "qdrant_client").QdrantClient(url=url)
    try:
        return QdrantIndex(client, name, matcher)
    except (InputError, OptionError):
        raise
    except (
        Exception
    ) as error:  # httpx, grpc and qdrant have an error class each for a server that is not there
        raise InputError(f"{url}: no Qdrant server answers ({type(error).__name__}); start one") from error
