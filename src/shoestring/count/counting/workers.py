"""What one worker holds while it counts: a table in the kernel, packed keys, or a table that processes fill."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shoestring import files
from shoestring._errors import InputError
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.tally import NativeTally, RunTally, Tally, new_tally
from shoestring.count.job import Job
from shoestring.files import Part, Report

MODES = {"char": 2, "ngram": 2, "whitespace": 3}  # of the kernel; jieba is 0 without and 1 with HMM
FEED = 1 << 20  # characters of documents taken at a time
HEADROOM = 6  # what sorting and writing a table takes, in tables
CHARACTER = 48  # bytes that packing and sorting take per character, at most
LARGEST_CHUNK = 8 << 20
PIECE = 4  # characters that a text by itself weighs as much as


@dataclass
class Kept:
    """What a worker has counted since its table last went to disk."""

    report: Report = field(default_factory=Report)
    batches: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


class KernelWorker:
    """Cuts and counts in native code, in a thread."""

    def __init__(self, job: Job, table) -> None:
        self.job, self.table = job, table
        self.mode = MODES.get(job.tokenizer, int(job.hmm))
        self.kept = Kept()
        self.tally = self._empty()

    def _empty(self) -> NativeTally:
        job = self.job
        return NativeTally(job.df, self.table) if job.ngrams == (1, 1) else RunTally(job, self.table)

    def count(self, part: Part, spill: Callable[[], None]) -> None:
        """Counts one part; `spill` is called where the table may be written in the midst of it."""
        counter, report = self.tally.counter, self.kept.report
        if part.plain:
            data = files.read_bytes(part, self.job.reading)
            before = counter.documents()
            try:
                bad = counter.feed(data, self.mode, True)
            except ValueError as error:
                raise InputError(f"{part.path}, byte {part.start:,}: {error}") from error
            if bad < 0:  # nothing is counted unless all of it is UTF-8
                report.documents += counter.documents() - before
                report.bytes += len(data)
                report.files += part.start == 0
                return
        texts, held = [], 0
        for text in files.read(part, self.job.reading, report):
            texts.append(text)
            held += len(text)
            if held >= FEED:
                self.tally.counter.feed_texts(texts, self.mode)
                texts, held = [], 0
                spill()
        self.tally.counter.feed_texts(texts, self.mode)

    def settle(self) -> None:
        """Does what it can do alone before its table is merged with those of others."""
        if isinstance(self.tally, RunTally):
            self.tally.settle()

    def is_full(self) -> bool:
        """Whether the table should go to disk."""
        return self.tally.memory() * HEADROOM * self.job.cores > self.job.memory

    def write(self, path: Path) -> bool:
        """Writes what is held, if anything is, and empties the table."""
        from shoestring.count.counting import runs

        columns = self.tally.columns(by_count=False)
        if len(columns):
            runs.write_run(path, columns)
        self.tally = self._empty()
        return len(columns) > 0


class PackedWorker:
    """Collects characters until a chunk is full; a chunk becomes one sorted run."""

    def __init__(self, job: Job) -> None:
        self.job, self.kept = job, Kept()
        self.chunk = min(LARGEST_CHUNK, job.memory // (CHARACTER * job.cores))
        self.held: list = []
        self.size = 0

    def count(self, part: Part, spill: Callable[[], None]) -> None:
        """Collects one part; `spill` is called where what is held may be written in the midst of it."""
        from shoestring.count.counting import packed

        if part.plain:
            data = files.read_bytes(part, self.job.reading)
            if (found := packed.measure(data)) is not None:
                characters, documents = found
                self.kept.report.documents += documents
                self.kept.report.bytes += len(data)
                self.kept.report.files += part.start == 0
                self._hold([(data, True)], characters)
                return
        texts, held = [], 0
        for text in files.read(part, self.job.reading, self.kept.report):
            texts.append(text)
            held += len(text)
            if held >= FEED:
                self._hold_texts(texts)
                texts, held = [], 0
                spill()
        self._hold_texts(texts)

    def settle(self) -> None:
        """Has nothing to do: what is held is sorted when it is written."""

    def _hold_texts(self, texts: list[str]) -> None:
        """Texts without ends of lines become the lines of one piece, so that a short one costs its bytes only."""
        lines = [text for text in texts if "\n" not in text and "\r" not in text]
        others = [text.encode() for text in texts if "\n" in text or "\r" in text]
        self._hold([("\n".join(lines).encode(), True)], sum(map(len, lines)) + len(lines))
        self._hold([(text, False) for text in others], sum(len(text) + PIECE for text in others))

    def _hold(self, pieces: list, characters: int) -> None:
        self.held += pieces
        self.size += characters

    def is_full(self) -> bool:
        """Whether a chunk is complete."""
        return self.size >= self.chunk

    def columns(self) -> Columns:
        """Sorts and counts what is held, as a table."""
        from shoestring.count.counting import packed

        return packed.table(self.held, self.job.ngrams)

    def write(self, path: Path) -> bool:
        """Sorts, counts and writes what is held, if anything is."""
        from shoestring.count.counting import packed

        if self.size:
            packed.write_run(path, self.held, self.job.ngrams[1])
        wrote, self.held, self.size = self.size > 0, [], 0
        return wrote


class TableWorker:
    """Adds up the tables that processes return."""

    def __init__(self, job: Job) -> None:
        self.job, self.kept = job, Kept()
        self.tally: Tally = new_tally(job.df)

    def add(self, columns: Columns, report: Report) -> None:
        """Adds one batch."""
        self.tally.add(columns)
        self.kept.report += report

    def is_full(self) -> bool:
        """Whether the table should go to disk."""
        return self.tally.memory() * HEADROOM > self.job.memory

    def write(self, path: Path) -> bool:
        """Writes what is held, if anything is, and empties the table."""
        from shoestring.count.counting import runs

        columns = self.tally.columns(by_count=False)
        if len(columns):
            runs.write_run(path, columns)
        self.tally = new_tally(self.job.df)
        return len(columns) > 0
