"""The work of one count: batches go to workers, tables come back, memory stays bounded, nothing counts twice.

- With the kernel, workers are threads: each reads, cuts and counts a batch at a time into a table of its own.
- Without it, workers are processes that return one table per batch, never tokens; the parent adds them up.
- When the tables outgrow their budget, or half a minute has passed, they go to disk as sorted runs together with a
  line of the ledger; `resume` goes on from there after any kind of death.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event, Lock

from shoestring import files
from shoestring._errors import InputError
from shoestring.count import runs
from shoestring.count.columns import Columns
from shoestring.count.job import Job
from shoestring.count.parallel import parallel_map
from shoestring.count.tally import NativeTally, Tally, new_tally
from shoestring.count.tokenizers import choose_engine, kernel_table, tokenizer
from shoestring.files import Part, Report

MODES = {"char": 2, "whitespace": 3}  # of the kernel; jieba is 0 without and 1 with HMM
FEED = 1 << 20  # characters of documents given to the kernel at a time
MOST_FILES = 1000  # in one batch
HEADROOM = 6  # what sorting and writing a table takes, in tables

Batch = tuple[Part, ...]


@dataclass
class Worker:
    """One worker's table and what is in it."""

    tally: Tally
    report: Report = field(default_factory=Report)
    batches: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


class Count:
    """One count from sources to a table in order.

    Args:
        job: what and how.
        sources: files, folders, patterns, addresses or `-`.
        folder: where runs and the ledger lie; None takes a temporary folder if one is needed.
        resume: go on with what a killed run has left in `folder`.
        progress: called with the bytes that were read.
        checkpoint: seconds after which a table goes to disk; only with a `folder`.

    Attributes:
        native: whether the kernel also counts.
        engine: what cuts: kernel, rjieba, jieba or python.
        remark: why it is not the fastest one, or "".
        report: what reading met.
        tokens: how many there were.
        distinct: how many different ones; known when `pieces` has been read to the end.
    """

    def __init__(
        self,
        job: Job,
        sources: Sequence[str | Path] | str | Path,
        folder: Path | None = None,
        resume: bool = False,
        progress: Callable[[int], object] = lambda size: None,
        checkpoint: float = 30,
    ) -> None:
        self.job, self.progress, self.checkpoint = job, progress, checkpoint
        self.stop_words = job.stop_set()
        self.engine, self.remark = choose_engine(job)
        self.native = self.engine == "kernel" and job.ngrams == (1, 1)
        self.parts = files.parts(sources, job.reading, job.part_bytes)
        self.batches = batched(self.parts, job.part_bytes)[job.shard[0] - 1 :: job.shard[1]]
        self.bytes = sum(part.size for batch in self.batches for part in batch)
        self.report, self.tokens, self.distinct = Report(), 0, 0
        self.resumed = 0
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._folder, self._resume = folder, resume
        self._ledger: runs.Ledger | None = None
        self._tally: Tally | None = None
        self._lock, self._stop, self._numbers = Lock(), Event(), count(1)

    def run(self) -> None:
        """Counts everything; afterwards `pieces` has the table.

        Raises:
            InputError: the data are unreadable, or there is no document in them.
            WorkerDied: a process died twice on the same batch.
        """
        if self._resume and self._folder and self._folder.exists():
            self._disk()
        done = self._ledger.done if self._ledger else set()
        todo = [index for index in range(len(self.batches)) if index not in done]
        self.resumed = len(done)
        self.progress(sum(part.size for index in done for part in self.batches[index]))
        self._numbers = count(1 + (len(self._ledger.runs) if self._ledger else 0))
        workers = self._threads(todo) if self.native else self._processes(todo)
        if self._ledger is not None:
            for worker in workers:
                self._flush(worker, last=True)
            self.report = self._ledger.report
        else:
            self._tally = merged(workers)
            self.report = sum((worker.report for worker in workers), Report())
        if not self.report.documents and self.job.shard == (1, 1):
            raise InputError("no document in there: every line or field is empty")

    def pieces(self) -> Iterator[Columns]:
        """Yields the table by count, then by code point, without what the job leaves out."""
        job = self.job
        if self._tally is not None:
            self._tally.discard(self.stop_words)
            self.tokens = self._tally.tokens()
            columns = self._tally.columns(by_count=True)
            self.distinct = len(columns)
            kept = self._kept(columns)
            yield columns if kept == len(columns) else columns.slice(0, kept)
        elif self._ledger is not None:
            folder = self._ledger.folder
            rows = self._watched(
                runs.merge(
                    [folder / name for name in self._ledger.runs], job.memory // 2, job.df, self.stop_words
                )
            )
            yield from runs.by_count(rows, folder / "order", job.min_count, job.top)

    def _kept(self, columns: Columns) -> int:
        """Rows that min_count and top leave; they are the first ones."""
        counts = memoryview(columns.counts).cast("q")
        low, high = 0, len(columns)
        while low < high and self.job.min_count > 1:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if counts[middle] >= self.job.min_count else (low, middle)
        return min(high, self.job.top or high)

    def _watched(self, pieces: Iterator[Columns]) -> Iterator[Columns]:
        for piece in pieces:
            self.distinct += len(piece)
            self.tokens += sum(memoryview(piece.counts).cast("q"))
            yield piece

    def close(self, keep: bool = False) -> None:
        """Removes what lies on disk, unless `keep` leaves it for `resume`."""
        if self._temporary is not None:
            self._temporary.cleanup()
        elif self._ledger is not None and not keep:
            self._ledger.remove()

    # ---- workers ----

    def _threads(self, todo: Sequence[int]) -> list[Worker]:
        table = kernel_table(self.job)
        mode = MODES.get(self.job.tokenizer, int(self.job.hmm))
        source = iter(todo)

        def work() -> Worker:
            worker = Worker(NativeTally(self.job.df, table))
            try:
                while not self._stop.is_set():
                    with self._lock:
                        index = next(source, None)
                    if index is None:
                        break
                    for part in self.batches[index]:
                        self._count_part(worker, part, mode)
                    self._finished(worker, index)
            except BaseException:
                self._stop.set()
                raise
            return worker

        size = min(self.job.cores, max(1, len(todo)))
        if size == 1:
            return [work()]
        with ThreadPoolExecutor(size) as executor:
            futures = [executor.submit(work) for _ in range(size)]
            try:
                return [future.result() for future in futures]
            finally:
                self._stop.set()

    def _count_part(self, worker: Worker, part: Part, mode: int) -> None:
        counter, report = worker.tally.counter, worker.report
        if part.plain:
            data = files.read_bytes(part)
            before = counter.documents()
            if counter.feed(data, mode, True) < 0:  # nothing was counted unless all of it is UTF-8
                report.documents += counter.documents() - before
                report.bytes += len(data)
                report.files += part.start == 0
                return
        texts, held = [], 0
        for text in files.read(part, self.job.reading, report):
            texts.append(text)
            held += len(text)
            if held >= FEED:
                counter.feed_texts(texts, mode)
                texts, held = [], 0
                self._spill_if_full(worker)
        counter.feed_texts(texts, mode)

    def _processes(self, todo: Sequence[int]) -> list[Worker]:
        worker = Worker(new_tally(self.job.df))
        batches = [self.batches[index] for index in todo]
        here = self.job.cores == 1 or len(batches) == 1 or any(part.path == "-" for part in self.parts)
        if here:
            prepare(self.job, self.engine)
            results = map(count_batch, batches)
        else:
            results = parallel_map(
                count_batch,
                batches,
                min(self.job.cores, len(batches)),
                prepare,
                (self.job, self.engine),
                describe,
            )
        for index, (columns, report) in zip(todo, results, strict=True):
            worker.tally.add(columns)
            worker.report += report
            self._finished(worker, index)
        return [worker]

    def _finished(self, worker: Worker, index: int) -> None:
        worker.batches.append(index)
        with self._lock:
            self.progress(sum(part.size for part in self.batches[index]))
        late = self._folder is not None and time.monotonic() - worker.since > self.checkpoint
        if late or worker.runs or self._full(worker):
            self._flush(worker)

    # ---- disk ----

    def _full(self, worker: Worker) -> bool:
        workers = self.job.cores if self.native else 1
        return worker.tally.memory() * HEADROOM * workers > self.job.memory

    def _spill_if_full(self, worker: Worker) -> None:
        """Writes a run in the midst of a batch; the ledger hears of it when the batch is done."""
        if self._full(worker):
            with self._lock:
                self._write(worker)

    def _flush(self, worker: Worker, last: bool = False) -> None:
        with self._lock:
            if worker.batches or not last:
                self._write(worker)
                self._disk().commit(worker.batches, worker.runs, worker.report)
        worker.batches, worker.runs, worker.report = [], [], Report()

    def _write(self, worker: Worker) -> None:
        columns = worker.tally.columns(by_count=False)
        if len(columns):
            name = f"run-{next(self._numbers):05}.arrow"
            runs.write_run(self._disk().folder / name, columns)
            worker.runs.append(name)
        if self.native:
            worker.tally = NativeTally(self.job.df, kernel_table(self.job))
        else:
            worker.tally = new_tally(self.job.df)
        worker.since = time.monotonic()

    def _disk(self) -> runs.Ledger:
        if self._ledger is None:
            if self._folder is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="shoestring-count-")
            folder = self._folder or Path(self._temporary.name)
            ledger = runs.Ledger(folder, self.job.fingerprint(self.parts))
            ledger.open(self._resume)
            self._ledger = ledger
        return self._ledger


def batched(parts: Sequence[Part], size: int) -> list[Batch]:
    """Puts small parts together, in order, until they have `size` bytes."""
    batches: list[Batch] = []
    held: list[Part] = []
    weight = 0
    for part in parts:
        held.append(part)
        weight += part.size
        if weight >= size or len(held) == MOST_FILES:
            batches.append(tuple(held))
            held, weight = [], 0
    return [*batches, tuple(held)] if held else batches


def merged(workers: Sequence[Worker]) -> Tally:
    """Adds up the workers' tables into the first one."""
    first, *others = [worker.tally for worker in workers]
    for other in others:
        first.merge(other)
    return first


def describe(batch: Batch) -> str:
    """Names a batch by its files and bytes."""
    first, last = batch[0], batch[-1]
    if len(batch) == 1:
        return f"{first.path}, bytes {first.start}-{first.stop}"
    return f"{first.path} to {last.path} ({len(batch)} files)"


# ---- in a worker process ----

_state: dict = {}


def prepare(job: Job, engine: str) -> None:
    """Builds the tokenizer once per process."""
    _state["job"], _state["cut"] = job, tokenizer(job, engine)


def count_batch(batch: Batch) -> tuple[Columns, Report]:
    """Reads, cuts and counts one batch into one table."""
    job, cut = _state["job"], _state["cut"]
    report, counts, documents = Report(), Counter(), Counter()
    stop = job.stop_set() if job.ngrams != (1, 1) else frozenset()
    for part in batch:
        for text in files.read(part, job.reading, report):
            tokens = cut(text) if job.ngrams == (1, 1) else list(ngrams(cut(text), job.ngrams, stop))
            counts.update(tokens)
            if job.df:
                documents.update(set(tokens))
    counts.pop("", None)
    return Columns.of(((word, count, documents[word]) for word, count in counts.items()), job.df), report


def ngrams(tokens, lengths: tuple[int, int], stop: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yields the runs of tokens, joined by spaces; stop words are taken out first.

    >>> list(ngrams(["a", "b", "c"], (1, 2)))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    kept = [token for token in tokens if token not in stop]
    for length in range(lengths[0], lengths[1] + 1):
        for start in range(len(kept) - length + 1):
            yield " ".join(kept[start : start + length])
