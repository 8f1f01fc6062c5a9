"""The same search on a Qdrant server, for more texts than one machine holds.

- Start one: `docker run -p 6333:6333 qdrant/qdrant`, then `shoestring match index TEXTS -o qdrant:http://HOST:6333/NAME`.
- The collection's name ends with the model's fingerprint, so another model cannot search it by mistake.
- Rows are numbered 0, 1, 2, ...; text and metadata are the points' payload. A deleted row loses its payload and is
  passed over, but stays, so that its number is never given again.
- The first point of a build carries a mark until the build is finished; an interrupted one goes on behind its last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from shoestring._errors import InputError, OptionError, OutputError
from shoestring._extras import require
from shoestring.match.matcher import Matcher, Progress
from shoestring.match.search.hits import Document, Hit, hits, reranked

ROWS = 256
GONE, BUILDING = "deleted", "building"  # marks in a payload


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
        self._starts: int | None = None  # the row where a build that was begun starts
        self._require_same_model(name)

    def __len__(self) -> int:
        """The number of texts that can be found."""
        return self._count(self._marked(GONE, inverse=True))

    @property
    def rows(self) -> int:
        """The number of rows, deleted ones too."""
        return self._count()

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> int:
        """Embeds and appends documents, and returns how many.

        Raises:
            InputError: a text is empty.
        """
        if not self.client.collection_exists(self.name):
            size = self.models.VectorParams(size=self.matcher.width, distance=self.models.Distance.COSINE)
            self.client.create_collection(self.name, vectors_config=size)
        before, stream = self.rows, iter(documents)
        while batch := list(islice(stream, ROWS)):
            row = self.rows
            empty = [at for at, (text, _) in enumerate(batch) if not text.strip()]
            if empty:
                raise InputError(f"document {row - before + empty[0] + 1:,}: empty text")
            vectors = self.matcher.embed([text for text, _ in batch])
            payloads: list[dict[str, Any]] = [{"text": text, "metadata": dict(data)} for text, data in batch]
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

    def begin(self, add: bool = False) -> int:
        """Starts a build that may be interrupted, or goes on with one; see `Index.begin`.

        Raises:
            OutputError: the collection is finished and `add` is not given.
        """
        if self.rows:
            marked, _ = self.client.scroll(self.name, scroll_filter=self._marked(BUILDING), limit=1)
            if marked:
                return self.rows - marked[0].id
            if not add:
                raise OutputError(
                    f"{self.name}: holds a finished index; add to it with --add, or choose another name"
                )
        self._starts = self.rows
        return 0

    def finish(self) -> None:
        """Ends what `begin` started."""
        self.client.delete_payload(self.name, keys=[BUILDING], points=self._marked(BUILDING), wait=True)
        self._starts = None

    def delete(self, ids: Iterable[int]) -> int:
        """Makes rows disappear and returns how many.

        Raises:
            InputError: there is no such row.
        """
        wanted, rows, before = sorted(set(ids)), self.rows, len(self)
        if wrong := [each for each in wanted if not 0 <= each < rows]:
            raise InputError(f"{self.name}: no row {wrong[0]}; there are 0 to {rows - 1:,}")
        self.client.overwrite_payload(self.name, payload={GONE: True}, points=wanted, wait=True)
        return before - len(self)

    def search(
        self, queries: Sequence[str], k: int = 5, rerank: Matcher | None = None, candidates: int = 50
    ) -> list[list[Hit]]:
        """Returns the k nearest texts of every query, best first; see `Index.search`."""
        if k < 1 or not all(query.strip() for query in queries):
            raise OptionError("a search needs texts that are not empty, and k of at least 1")
        count = max(k, candidates) if rerank else k
        out = []
        for query, vector in zip(queries, self.matcher.embed(list(queries)), strict=True):
            points = self.client.query_points(
                self.name, query=vector.tolist(), limit=count, query_filter=self._marked(GONE, inverse=True)
            ).points
            documents = [(point.payload["text"], point.payload["metadata"]) for point in points]
            found = hits(
                [point.id for point in points], [point.score for point in points], documents, self.matcher
            )
            out.append(reranked(query, found, rerank)[:k] if rerank else found)
        return out

    def _count(self, those: Any = None) -> int:
        if not self.client.collection_exists(self.name):
            return 0
        return self.client.count(self.name, count_filter=those, exact=True).count

    def _marked(self, mark: str, inverse: bool = False) -> Any:
        condition = self.models.FieldCondition(key=mark, match=self.models.MatchValue(value=True))
        return self.models.Filter(**{"must_not" if inverse else "must": [condition]})

    def _require_same_model(self, name: str) -> None:
        names = [each.name for each in self.client.get_collections().collections]
        other = [each for each in names if each.rpartition("-")[0] == name and each != self.name]
        if other and self.name not in names:
            raise InputError(
                f"qdrant: {name} was made with another model ({other[0].rpartition('-')[2]}) than "
                f"{self.matcher.folder} ({self.name.rpartition('-')[2]}); give that model, or another name"
            )


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
