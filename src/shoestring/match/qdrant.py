"""The same search on a Qdrant server, for more texts than one machine holds.

- Start one: `docker run -p 6333:6333 qdrant/qdrant`, then `shoestring match index TEXTS -o qdrant:http://HOST:6333/NAME`.
- The collection's name ends with the model's fingerprint, so another model cannot search it by mistake.
- Rows are numbered upwards; the number of a deleted last row is given again. Text and metadata are the points' payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.match.index import Document, Hit, hits, reranked
from shoestring.match.matcher import Matcher, Progress

ROWS = 256


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
        self._require_same_model(name)

    def __len__(self) -> int:
        """The number of texts that can be found."""
        return self.client.count(self.name).count if self.client.collection_exists(self.name) else 0

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> int:
        """Embeds and appends documents, and returns how many.

        Raises:
            InputError: a text is empty.
        """
        if not self.client.collection_exists(self.name):
            size = self.models.VectorParams(size=self.matcher.width, distance=self.models.Distance.COSINE)
            self.client.create_collection(self.name, vectors_config=size)
        first = row = self._next()
        stream = iter(documents)
        while batch := list(islice(stream, ROWS)):
            if not all(text.strip() for text, _ in batch):
                raise InputError(f"after document {row - first:,}: empty text")
            vectors = self.matcher.embed([text for text, _ in batch])
            points = [
                self.models.PointStruct(
                    id=row + at, vector=vector.tolist(), payload={"text": text, "metadata": dict(data)}
                )
                for at, (vector, (text, data)) in enumerate(zip(vectors, batch, strict=True))
            ]
            self.client.upsert(self.name, points=points, wait=True)
            row += len(batch)
            if progress:
                progress(len(batch))
        return row - first

    def begin(self, add: bool = False) -> int:
        """Returns 0: a server takes texts at any time, and an interrupted build starts again behind them."""
        return 0

    def finish(self) -> None:
        """Nothing is left to do."""

    def delete(self, ids: Iterable[int]) -> int:
        """Deletes rows and returns how many there were."""
        before = len(self)
        self.client.delete(self.name, points_selector=self.models.PointIdsList(points=list(ids)), wait=True)
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
            points = self.client.query_points(self.name, query=vector.tolist(), limit=count).points
            documents = [(point.payload["text"], point.payload["metadata"]) for point in points]
            found = hits(
                [point.id for point in points], [point.score for point in points], documents, self.matcher
            )
            out.append(reranked(query, found, rerank)[:k] if rerank else found)
        return out

    def _next(self) -> int:
        """One more than the largest row."""
        rows, cursor = -1, None
        while True:
            points, cursor = self.client.scroll(self.name, limit=4096, offset=cursor, with_payload=False)
            rows = max([rows, *(point.id for point in points)])
            if cursor is None:
                return rows + 1

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
