"""The work of one count: batches go to workers, tables come back, memory stays bounded, nothing counts twice.

- With the kernel, and for runs of characters, workers are threads: each reads, cuts and counts a batch at a time
  into a table of its own, outside of Python's lock.
- Else workers are processes that return one table per batch, never tokens; the parent adds them up.
- When a table outgrows its budget, or half a minute has passed, it goes to disk as a sorted run together with a
  line of the ledger; `resume` goes on from there after any kind of death.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import count
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING

from shoestring import files
from shoestring._errors import InputError
from shoestring.count.counting.batches import batched, count_batch, describe, prepare
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.tally import NativeTally, Tally
from shoestring.count.counting.workers import Kept, KernelWorker, PackedWorker, TableWorker
from shoestring.count.cutting.tokenizers import choose_engine, counts_natively, doubt, kernel_table
from shoestring.count.job import Job
from shoestring.files import Report

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from shoestring.count.counting import runs

Worker = KernelWorker | PackedWorker | TableWorker


class Count:
    """One count from sources to a table in order.

    Args:
        job: what and how.
        sources: files, folders, patterns, addresses or `-`.
        folder: where runs and the ledger lie; None takes a temporary folder if one is needed.
        resume: go on with what a killed run has left in `folder`.
        dask: address of a Dask scheduler whose workers count; None counts here.
        checkpoint: seconds after which a table goes to disk; only with a `folder`.

    Attributes:
        engine: what cuts: kernel, rjieba, jieba or python.
        remark: why it is not the fastest one, and which user words can never be found, or "".
        progress: called with the bytes that were read.
        bytes: how many there are, on disk.
        resumed: batches that an earlier run had counted.
        report: what reading met.
        tokens: how many there were; known, as `distinct`, when `pieces` has been read to the end.
        distinct: how many different ones.
    """

    def __init__(
        self,
        job: Job,
        sources: Sequence[str | Path] | str | Path,
        folder: Path | None = None,
        resume: bool = False,
        dask: str | None = None,
        checkpoint: float = 30,
    ) -> None:
        self.job, self.dask, self.checkpoint = job, dask, checkpoint
        self._packed = job.packed and dask is None  # a cluster's workers return tables of strings
        self.stop_words = job.stop_set()
        self.engine, slower = choose_engine(job)
        self.remark = "; ".join(filter(None, (slower, doubt(job))))
        self._met = Report()  # while the files were looked for
        self.parts = files.parts(sources, job.reading, job.part_bytes, self._met)
        if resume:
            job.fingerprint(self.parts)  # refuses what cannot be resumed
        self.batches = batched(self.parts, job.part_bytes)[job.shard[0] - 1 :: job.shard[1]]
        self.bytes = sum(part.size for batch in self.batches for part in batch)
        self.progress: Callable[[int], object] = lambda size: None
        self.report, self.tokens, self.distinct, self.resumed = Report(), 0, 0, 0
        self._temporary: TemporaryDirectory | None = None
        self._folder, self._resume = folder, resume
        self._ledger: runs.Ledger | None = None
        self._tally: Tally | None = None
        self._lock, self._stop, self._numbers = RLock(), Event(), count(1)

    # ---- counting ----

    def run(self) -> None:
        """Counts everything; afterwards `pieces` has the table.

        Raises:
            InputError: the data are unreadable, or there is no document in them.
            WorkerDied: a process died twice on the same batch.
        """
        if self._packed or (self._resume and self._folder and self._folder.exists()):
            self._disk()
        done = self._ledger.done if self._ledger else set()
        todo = [index for index in range(len(self.batches)) if index not in done]
        self.resumed = len(done)
        self.progress(sum(part.size for index in done for part in self.batches[index]))
        self._numbers = count(
            1 + max((int(name[4:9]) for name in self._ledger.runs), default=0) if self._ledger else 1
        )
        in_threads = self._packed or (self.engine == "kernel" and counts_natively(self.job) and not self.dask)
        workers = self._threads(todo) if in_threads else self._processes(todo)
        if self._ledger is not None:
            for worker in workers:
                if worker.kept.batches:
                    self._flush(worker)
            self.report = self._ledger.report + self._met
        else:
            self.report = sum((worker.kept.report for worker in workers), self._met)
            self._tally = _merged(workers)
        if not self.report.documents and not self.report.skipped and self.job.shard == (1, 1):
            raise InputError("no document in there: every line or field is empty")

    def _threads(self, todo: Sequence[int]) -> Sequence[Worker]:
        table = kernel_table(self.job) if not self._packed else None
        source = iter(todo)

        def work() -> Worker:
            worker = PackedWorker(self.job) if self._packed else KernelWorker(self.job, table)
            try:
                while not self._stop.is_set():
                    with self._lock:
                        index = next(source, None)
                    if index is None:
                        break
                    for part in self.batches[index]:
                        worker.count(part, lambda: self._spill_if_full(worker))
                    self._finished(worker, index)
                worker.settle()
            except BaseException:
                self._stop.set()
                raise
            return worker

        return _at_once(work, min(self.job.cores, max(1, len(todo))), self._stop)

    def _processes(self, todo: Sequence[int]) -> Sequence[Worker]:
        worker = TableWorker(self.job)
        batches = [self.batches[index] for index in todo]
        size = min(self.job.cores, len(batches))
        if self.dask:
            from shoestring.count.counting.cluster import count_on

            results = count_on(self.dask, self.job, batches)
        elif size <= 1 or any(part.path == "-" for part in self.parts):
            prepare(self.job, self.engine)
            results = map(count_batch, batches)
        else:
            from shoestring.count.counting.parallel import parallel_map

            results = parallel_map(count_batch, batches, size, prepare, (self.job, self.engine), describe)
        for index, (columns, report) in zip(todo, results, strict=True):
            worker.add(columns, report)
            self._finished(worker, index)
        return [worker]

    # ---- disk ----

    def _finished(self, worker: Worker, index: int) -> None:
        worker.kept.batches.append(index)
        with self._lock:
            self.progress(sum(part.size for part in self.batches[index]))
        late = self._folder is not None and time.monotonic() - worker.kept.since > self.checkpoint
        if late or worker.kept.runs or worker.is_full():
            self._flush(worker)

    def _spill_if_full(self, worker: Worker) -> None:
        """Writes a run in the midst of a batch; the ledger hears of it when the batch is done."""
        if worker.is_full():
            self._write(worker)

    def _flush(self, worker: Worker) -> None:
        self._write(worker)
        with self._lock:
            self._disk().commit(worker.kept.batches, worker.kept.runs, worker.kept.report)
        worker.kept = Kept()

    def _write(self, worker: Worker) -> None:
        with self._lock:
            name = f"run-{next(self._numbers):05}"
            path = self._disk().folder / name
        if worker.write(path):
            worker.kept.runs.append(name)

    def _disk(self) -> runs.Ledger:
        if self._ledger is None:
            from shoestring.count.counting import runs

            if self._folder is None:
                from tempfile import TemporaryDirectory

                self._temporary = TemporaryDirectory(prefix="shoestring-count-")
            folder = self._folder or Path(self._temporary.name if self._temporary else "")
            kind = "keys" if self._packed else "strings"
            again = all(part.path != "-" for part in self.parts)
            ledger = runs.Ledger(folder, f"{self.job.fingerprint(self.parts) if again else ''}-{kind}")
            ledger.open(self._resume)
            self._ledger = ledger
        return self._ledger

    def close(self, keep: bool = False) -> None:
        """Removes what lies on disk, unless `keep` leaves it for `resume`."""
        if self._temporary is not None:
            self._temporary.cleanup()
        elif self._ledger is not None and not keep:
            self._ledger.remove()

    # ---- the table ----

    def pieces(self) -> Iterator[Columns]:
        """Yields the table by count, then by code point, without what the job leaves out."""
        if self._tally is not None:
            self._tally.discard(self.stop_words)
            self.tokens = self._tally.tokens()
            columns = self._tally.columns(by_count=True)
            self.distinct = len(columns)
            yield columns.slice(0, _kept(columns, self.job))
        elif self._ledger is not None:
            from shoestring.count.counting import runs

            order = self._ledger.folder / "order"
            rows = self._packed_rows() if self._packed else self._rows()
            yield from runs.by_count(rows, order, self.job.min_count, self.job.top)

    def _paths(self) -> list[Path]:
        return [self._ledger.folder / name for name in self._ledger.runs] if self._ledger else []

    def _rows(self) -> Iterator[Columns]:
        from shoestring.count.counting import runs

        for piece in runs.merge(self._paths(), self.job.memory // 2, self.job.df, self.stop_words):
            self.distinct += len(piece)
            self.tokens += sum(memoryview(piece.counts).cast("q"))
            yield piece

    def packed(self) -> Iterator[tuple]:
        """Yields sorted keys, counts and the alphabet of all runs of characters, those below min_count too."""
        from shoestring.count.counting import packed

        memory = self.job.memory // 4
        for keys, counts, alphabet in packed.merged(self._paths(), self.job.ngrams, memory, self.stop_words):
            self.distinct += len(keys)
            self.tokens += int(counts.sum())
            yield keys, counts, alphabet

    def _packed_rows(self) -> Iterator[Columns]:
        from shoestring.count.counting import packed

        for keys, counts, alphabet in self.packed():
            kept = counts >= self.job.min_count
            yield from packed.decode(keys[kept], counts[kept], alphabet)


def _at_once(work: Callable[[], Worker], size: int, stop: Event) -> Sequence[Worker]:
    """Runs `work` in this thread and in others beside it, and raises what one of them raised when all have ended.

    What `work` raises sets `stop`, by which the others end.
    `concurrent.futures` does the same; to import it takes as long as to count a megabyte.
    """
    workers: list[Worker] = []
    errors: list[BaseException] = []

    def one() -> None:
        try:
            workers.append(work())
        except BaseException as error:
            errors.append(error)

    others = [Thread(target=one) for _ in range(size - 1)]
    try:
        for thread in others:
            thread.start()
        one()
        for thread in others:
            thread.join()
    except BaseException:  # Ctrl-C while the others end, or the system has no more threads
        stop.set()
        for thread in filter(Thread.is_alive, others):
            thread.join()
        raise
    if errors:
        raise errors[0]
    return workers


def _merged(workers: Sequence[Worker]) -> Tally:
    """Adds up the workers' tables into the first one."""
    tallies = [worker.tally for worker in workers if not isinstance(worker, PackedWorker)]

    def add(into: Tally, other: Tally) -> Tally:
        if isinstance(into, NativeTally) and isinstance(other, NativeTally):
            into.merge(other)
        return into

    return reduce(add, tallies)


def _kept(columns: Columns, job: Job) -> int:
    """Rows that min_count and top leave; they are the first ones."""
    counts = memoryview(columns.counts).cast("q")
    low, high = 0, len(columns)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if counts[middle] >= job.min_count else (low, middle)
    return min(low, job.top or low)
