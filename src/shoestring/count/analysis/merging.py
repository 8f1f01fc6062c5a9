"""The exact sum of tables, by count and then code point; what does not fit in memory goes through disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from shoestring._errors import InputError
from shoestring.count import output
from shoestring.count.counting import runs
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.tally import Tally, new_tally

HEADROOM = 6  # as in the pipeline: what sorting and writing a table takes, in tables


def merged(paths: Sequence[str | Path], memory: int, min_count: int = 1, top: int = 0) -> Iterator[Columns]:
    """Yields the sum of tables, by count and then code point; what does not fit in memory goes through disk.

    Raises:
        InputError: some have document frequencies and some have not, or one is no table.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="shoestring-merge-") as name:
        folder, names = Path(name), []
        tally: Tally | None = None
        kinds: dict[bool, str | Path] = {}
        for path in paths:
            for piece in output.read(path):
                kinds.setdefault(piece.documents is not None, path)
                if len(kinds) == 2:
                    raise InputError(f"{kinds[True]} has document frequencies, {kinds[False]} has none")
                tally = tally or new_tally(piece.documents is not None)
                tally.add(piece)
                if tally.memory() * HEADROOM > memory:
                    names.append(folder / f"run-{len(names)}.arrow")
                    runs.write_run(names[-1], tally.columns(by_count=False))
                    tally = None
        with_documents = True in kinds
        if names and tally:
            names.append(folder / f"run-{len(names)}.arrow")
            runs.write_run(names[-1], tally.columns(by_count=False))
        if names:
            yield from runs.by_count(
                runs.merge(names, memory // 2, with_documents), folder / "order", min_count, top
            )
        elif tally:
            yield tally.columns(True, min_count, top)
