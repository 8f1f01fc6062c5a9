"""`shoestring count bench`: when do N processes give more than N? The experiment, on your text and machine.

- The baseline is the loop everybody writes: `for text: for token in cut(text): d[token] += 1`, one process.
- The same tokens then go through batch tables, per-text results and batch tables of N processes, and our engines.
- Each way runs in a fresh process, start-up and dictionary included; tables must agree, or it is no result.
- `profile` says where the loop's time goes: cutting, counting, sending results, merging.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from shoestring import files
from shoestring._errors import ShoestringError
from shoestring._extras import require
from shoestring.count.job import Job

BATCH = 500  # documents per batch, as in the story


@dataclass(frozen=True)
class Timing:
    """One way of counting, timed.

    Args:
        way: its name, one of `WAYS`.
        processes: how many it used (threads, for the kernel).
        seconds: wall clock, whole process.
        cpu: CPU seconds of it and its children.
        speedup: the baseline's wall clock over this one's.
        per_process: that, per process.
    """

    way: str
    processes: int
    seconds: float
    cpu: float
    speedup: float = 1.0
    per_process: float = 1.0


def documents(corpus: Sequence[str]) -> Iterator[str]:
    """The documents that every way counts."""
    return files.documents(corpus, files.Reading(errors="replace", max_document_bytes=None))


def naive(corpus: Sequence[str], workers: int) -> dict[str, int]:
    """The loop everybody writes."""
    cut, counts = _cut(), {}
    for text in documents(corpus):
        for token in cut(text):
            counts[token] = counts.get(token, 0) + 1
    return counts


def batch_tables(corpus: Sequence[str], workers: int) -> dict[str, int]:
    """One table per batch, added up, still in one process."""
    counts: dict[str, int] = {}
    for batch in _batches(documents(corpus)):
        _add(counts, count_batch(batch))
    return counts


def per_text_results(corpus: Sequence[str], workers: int) -> dict[str, int]:
    """N processes; the tokens of every text come back."""
    counts: dict[str, int] = {}
    for results in _pooled(cut_batch, corpus, workers):
        for tokens in results:
            for token in tokens:
                counts[token] = counts.get(token, 0) + 1
    return counts


def pooled_tables(corpus: Sequence[str], workers: int) -> dict[str, int]:
    """N processes; one table per batch comes back."""
    counts: dict[str, int] = {}
    for table in _pooled(count_batch, corpus, workers):
        _add(counts, table)
    return counts


def engine(name: str) -> Callable[[Sequence[str], int], dict[str, int]]:
    """Ours, with one of its engines."""

    def count(corpus: Sequence[str], workers: int) -> dict[str, int]:
        from shoestring.count.table import count_words

        reading = files.Reading(errors="replace", max_document_bytes=None)
        return dict(count_words(corpus, Job(engine=name, workers=workers, reading=reading)).counts)

    return count


WAYS: dict[str, tuple[str, Callable[[Sequence[str], int], dict[str, int]], bool]] = {
    "naive": ("naive loop", naive, False),
    "batch": ("batch tables", batch_tables, False),
    "texts": ("per-text results", per_text_results, True),
    "tables": ("batch tables", pooled_tables, True),
    "rjieba": ("ours, rjieba repaired", engine("rjieba"), True),
    "kernel-1": ("ours, kernel", engine("kernel"), False),
    "kernel": ("ours, kernel", engine("kernel"), True),
}


def run_way(way: str, corpus: Sequence[str], workers: int) -> tuple[Timing, str]:
    """Times one way in a fresh interpreter; returns also a digest of its table.

    Raises:
        ShoestringError: it failed; the message has its last line.
    """
    title, _, parallel = WAYS[way]
    processes = workers if parallel else 1
    command = [sys.executable, "-m", "shoestring.count.analysis.experiment", way, str(processes), *corpus]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise ShoestringError(f"bench {way}: {(done.stderr.strip().splitlines() or ['it died'])[-1]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    unit = "process" if processes == 1 else "threads" if way.startswith("kernel") else "processes"
    return Timing(f"{title}, {processes} {unit}", processes, seconds, cpu), done.stdout.strip()


def experiment(corpus: Sequence[str], workers: int, ways: Iterable[str] = WAYS) -> list[Timing]:
    """Times the ways one after another; the first is the baseline.

    Raises:
        ShoestringError: two ways counted differently.
    """
    timings: list[Timing] = []
    expected = None
    for way in ways:
        timing, digest = run_way(way, corpus, workers)
        expected = expected or digest
        if digest != expected:
            raise ShoestringError(
                f"{timing.way} counted differently from {timings[0].way}; please report this"
            )
        base = timings[0].seconds if timings else timing.seconds
        speedup = base / timing.seconds
        timings.append(
            Timing(
                timing.way, timing.processes, timing.seconds, timing.cpu, speedup, speedup / timing.processes
            )
        )
    return timings


def profile(corpus: Sequence[str], documents_at_most: int = 4000) -> dict[str, float]:
    """Seconds that a process spends on the first documents: cutting, counting, sending either result, merging."""
    cut, clock = _cut(), time.perf_counter
    texts = list(islice(documents(corpus), documents_at_most))
    start = clock()
    tokens = [list(cut(text)) for text in texts]
    times = {"cut": clock() - start}
    start = clock()
    tables = [Counter(token for each in batch for token in each) for batch in _batches(tokens)]
    times["count"] = clock() - start
    for name, results in (
        ("transfer of per-text results", list(_batches(tokens))),
        ("transfer of tables", tables),
    ):
        start = clock()
        for result in results:
            pickle.loads(pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
        times[name] = clock() - start
    start = clock()
    counts: dict[str, int] = {}
    for table in tables:
        _add(counts, table)
    times["merge"] = clock() - start
    return times


def sample(corpus: Sequence[str], megabytes: float, folder: Path) -> tuple[list[str], int]:
    """Writes the first documents of a corpus into one file; returns it and its size in bytes."""
    path, size = folder / "sample.txt", 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for text in documents(corpus):
            line = text.replace("\n", " ") + "\n"
            file.write(line)
            size += len(line.encode())
            if size >= megabytes * 1e6:
                break
    return [str(path)], size


def _cut() -> Callable[[str], Iterable[str]]:
    jieba = require("count", "jieba")
    jieba.setLogLevel(60)
    jieba.initialize()
    return jieba.cut


def _batches(items: Iterable) -> Iterator[list]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


def _add(counts: dict[str, int], table: dict[str, int]) -> None:
    for token, count in table.items():
        counts[token] = counts.get(token, 0) + count


def _pooled(function: Callable, corpus: Sequence[str], workers: int) -> Iterator:
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare) as pool:
        yield from pool.map(function, _batches(documents(corpus)))


_process: dict = {}


def _prepare() -> None:
    _process["cut"] = _cut()


def cut_batch(texts: list[str]) -> list[list[str]]:
    """In a worker: the tokens of every text."""
    return [list(_process["cut"](text)) for text in texts]


def count_batch(texts: list[str]) -> dict[str, int]:
    """In a worker, or the only process: one table for the batch."""
    cut, counts = _process.get("cut") or _process.setdefault("cut", _cut()), {}
    for text in texts:
        for token in cut(text):
            counts[token] = counts.get(token, 0) + 1
    return counts


def digest(counts: dict[str, int]) -> str:
    """Identifies a table."""
    rows = "".join(f"{word}\0{count}\n" for word, count in sorted(counts.items()))
    return blake2b(rows.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def report(corpus: Sequence[str], workers: int, megabytes: float, ways: Iterable[str] = WAYS) -> dict:
    """Runs the experiment on the first megabytes of a corpus."""
    with TemporaryDirectory(prefix="shoestring-bench-") as folder:
        path, size = sample(corpus, megabytes, Path(folder))
        timings = experiment(path, workers, ways)
        times = profile(path)
    return {"bytes": size, "workers": workers, "ways": [asdict(each) for each in timings], "seconds": times}


if __name__ == "__main__":
    _, way, count, *paths = sys.argv
    print(digest(WAYS[way][1](paths, int(count))))
