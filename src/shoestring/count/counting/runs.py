"""Sorted runs on disk, the ledger of what they hold, and their exact merge within bounded memory.

- A run is a table sorted by code point, in Arrow's file format, written beside its name and renamed.
- A line of the ledger says which batches a set of runs holds; batches are in it wholly or not at all.
- Merging goes by ranges of words: of each range the runs' rows are added in one table, so memory is bounded.
- The result's order, count and then code point, needs no sorting of everything: rare words go to one file per
  count as they come, in code point order; frequent ones stay in memory.
"""

from __future__ import annotations

import json
import os
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.tally import new_tally
from shoestring.files import Report, atomic

BATCH = 1 << 16  # rows per block of a run
RARE = 48  # counts below it have a file each while the result is put in order


def write_run(path: Path, columns: Columns) -> None:
    """Writes a sorted run atomically."""
    pyarrow = require("count", "pyarrow")
    schema = Columns.of([], columns.documents is not None).arrow().schema
    with atomic(path, "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
        for first in range(0, len(columns), BATCH):
            writer.write_batch(columns.slice(first, min(first + BATCH, len(columns))).arrow())


class Run:
    """A run, read block by block from its first word on."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb")  # noqa: SIM115 - closed by merge()
        self.reader = require("count", "pyarrow").ipc.open_file(self.file)
        self.block = 0
        self.rest: Columns | None = None

    def bounds(self) -> list[bytes]:
        """Returns the first word of every block."""
        return [_word(self._read(block), 0) for block in range(self.reader.num_record_batches)]

    def until(self, bound: bytes | None) -> Iterator[Columns]:
        """Yields the rows up to the bound, not including it; each row once."""
        while True:
            if self.rest is None or not len(self.rest):
                if self.block == self.reader.num_record_batches:
                    return
                self.rest = self._read(self.block)
                self.block += 1
            cut = len(self.rest) if bound is None else _find(self.rest, bound)
            if cut:
                yield self.rest.slice(0, cut)
            if cut < len(self.rest):
                self.rest = self.rest.slice(cut, len(self.rest))
                return
            self.rest = None

    def _read(self, block: int) -> Columns:
        return Columns.from_arrow(self.reader.get_batch(block))


def _word(columns: Columns, row: int) -> bytes:
    start, stop = memoryview(columns.offsets).cast("q")[row : row + 2]
    return columns.words[start:stop]


def _find(columns: Columns, bound: bytes) -> int:
    return bisect_left(range(len(columns)), bound, key=lambda row: _word(columns, row))


def merge(
    paths: Sequence[Path], memory: int, with_documents: bool, stop: frozenset[str] = frozenset()
) -> Iterator[Columns]:
    """Yields the sum of sorted runs, by code point, in pieces.

    Args:
        paths: the runs.
        memory: bytes that one piece may take, about.
        with_documents: whether the runs have document frequencies.
        stop: words to leave out.
    """
    runs = [Run(path) for path in paths]
    try:
        blocks = sorted(bound for run in runs for bound in run.bounds())
        step = max(1, memory // (BATCH * 200))  # a row takes about 200 bytes on its way
        for bound in [*blocks[step::step], None]:
            tally = new_tally(with_documents)
            for run in runs:
                for piece in run.until(bound):
                    tally.add(piece)
            tally.discard(stop)
            yield tally.columns(by_count=False)
    finally:
        for run in runs:
            run.file.close()


def by_count(pieces: Iterator[Columns], folder: Path, min_count: int = 1, top: int = 0) -> Iterator[Columns]:
    """Yields rows that come by code point in the order of the result: by count, then by code point.

    Args:
        pieces: rows by code point.
        folder: where rare rows wait, one file per count.
        min_count: rarer rows are dropped.
        top: only the first so many; 0 takes all.
    """
    import numpy as np

    pyarrow = require("count", "pyarrow")
    rare: dict[int, tuple] = {}
    frequent: list = []
    schema = None
    folder.mkdir(parents=True, exist_ok=True)
    for piece in pieces:
        batch = piece.arrow()
        schema = schema or batch.schema
        counts = np.frombuffer(piece.counts, "<i8")
        frequent.append(batch.filter(pyarrow.array(counts >= max(RARE, min_count))))
        for count in np.unique(counts[(counts < RARE) & (counts >= min_count)]).tolist():
            if count not in rare:
                file = open(folder / f"count-{count}.arrow", "wb")  # noqa: SIM115 - closed below
                rare[count] = (file, pyarrow.ipc.new_stream(file, schema))
            rare[count][1].write_batch(batch.filter(pyarrow.array(counts == count)))
    for file, writer in rare.values():
        writer.close()
        file.close()
    given = 0
    for rows in _in_order(frequent, rare, folder, schema):
        kept = rows.slice(0, top - given) if top else rows
        yield Columns.from_arrow(kept)
        given += len(kept)
        if given == top:
            return


def _in_order(frequent: list, rare: dict[int, tuple], folder: Path, schema) -> Iterator:
    import numpy as np

    pyarrow = require("count", "pyarrow")
    table = pyarrow.Table.from_batches(frequent, schema) if schema else None
    if table is not None and len(table):
        order = np.argsort(-table.column("count").to_numpy(), kind="stable")
        for first in range(0, len(order), BATCH):
            yield table.take(pyarrow.array(order[first : first + BATCH])).combine_chunks().to_batches()[0]
    for count in sorted(rare, reverse=True):
        with open(folder / f"count-{count}.arrow", "rb") as file, pyarrow.ipc.open_stream(file) as reader:
            yield from reader
        os.unlink(folder / f"count-{count}.arrow")


@dataclass
class Ledger:
    """What has been counted and lies on disk: `folder/ledger.jsonl` and the runs it names.

    Args:
        folder: where it and the runs lie.
        fingerprint: of the job; a ledger of another job is not continued.
    """

    folder: Path
    fingerprint: str
    done: set[int] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @property
    def path(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger.jsonl"

    def open(self, resume: bool) -> bool:
        """Takes up what lies there, or starts anew; returns whether there was something to take up.

        Raises:
            OptionError: what lies there was counted with other options, or from other texts.
        """
        lines = self._lines() if resume else []
        if lines and lines[0].get("fingerprint") != self.fingerprint:
            raise OptionError(
                f"--resume: {self.folder} was begun with other options, or the texts have changed since; "
                "type the command that began it, or leave out --resume to start anew"
            )
        if not lines:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._append({"fingerprint": self.fingerprint})
            return False
        for line in lines[1:]:
            self.done.update(line["batches"])
            self.runs += line["runs"]
            places = {(kind, file): (count, at) for kind, file, count, at in line["report"].pop("places")}
            self.report += Report(**line["report"], places=places)
        kept = {"ledger.jsonl", *self.runs}
        for path in self.folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return True

    def _lines(self) -> list[dict]:
        """The complete lines; a kill may leave the last one short, and what it would have named does not count."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        complete = text[: text.rfind(b"\n") + 1]
        if complete != text:
            with atomic(self.path, "wb") as file:
                file.write(complete)
        return [json.loads(line) for line in complete.splitlines()]

    def commit(self, batches: Sequence[int], runs: Sequence[str], report: Report) -> None:
        """Records that these runs hold these batches; from now on they count."""
        places = [[*place, *found] for place, found in report.places.items()]
        values = {**asdict(report), "places": places}
        self._append({"batches": list(batches), "runs": list(runs), "report": values})
        self.done.update(batches)
        self.runs += runs
        self.report += report

    def _append(self, line: dict) -> None:
        with open(self.path, "ab") as file:
            file.write(json.dumps(line, ensure_ascii=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Deletes the folder: the result is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)
