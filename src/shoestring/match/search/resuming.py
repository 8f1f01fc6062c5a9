"""A build of an index that was interrupted goes on, if it is given the same texts; nothing else may come between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from shoestring._errors import InputError, OutputError
from shoestring.match.search.hits import Document
from shoestring.match.search.metadata import recorded, same
from shoestring.match.search.storage import Generation, Writer


def resumed(
    writer: Writer, documents: Iterable[Document], add: bool, anew: bool
) -> tuple[int, Iterator[Document]]:
    """Begins a build, or goes on with one: a new one is first told of with its first texts.

    Args:
        writer: of the index.
        documents: (text, metadata).
        add: let a finished index take more.
        anew: of a writer anew, which starts again where the texts are others than those of the interrupted build.

    Returns:
        How many texts the interrupted build had, and the others.

    Raises:
        InputError: there are no texts; the interrupted build had others.
        OutputError: the index is finished.
    """
    stream = iter(documents)
    if writer.state.building is not None:
        return _skipped(writer, writer.state.building, stream, anew)
    if writer.state.rows and not add:
        raise OutputError(
            f"{writer.folder}: holds a finished index; add to it with --add, build it anew with --overwrite, or choose "
            "another name"
        )
    first = list(islice(stream, 1))
    if not first and not writer.state.rows:
        raise InputError("no texts to index")
    writer.state = replace(writer.state, building=writer.state.rows)
    return 0, chain(first, stream)


def require_whole(index: object, building: int | None, rows: int) -> None:
    """Refuses to add among the texts of an interrupted build, which could not go on then.

    Args:
        index: for the message.
        building: the row where the build started; None where there is none.
        rows: how many there are.

    Raises:
        OutputError: there is one.
    """
    if building is not None:
        raise OutputError(
            f"{index}: its build was interrupted at {rows:,} texts; give that command again first, or build the index "
            "anew with --overwrite"
        )


def _skipped(
    writer: Writer, start: int, documents: Iterator[Document], anew: bool
) -> tuple[int, Iterator[Document]]:
    """Passes over the texts that the build has, which must be the same."""
    now = Generation(writer.folder, writer.state)
    for row in range(start, now.rows):
        given = list(islice(documents, 1))
        if given and same(recorded(*given[0]), now.record(row)):
            continue
        if anew:
            writer.restart()
            records = map(now.record, range(row))
            return 0, chain(((each["text"], each["metadata"]) for each in records), given, documents)
        raise InputError(
            f"{writer.folder}: an interrupted build had another text {row - start + 1:,} "
            f"({now.record(row)['text']!s:.40}); give the same texts in the same order, or build it anew with "
            "--overwrite"
        )
    return now.rows - start, documents
