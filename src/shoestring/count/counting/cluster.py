"""The same count on a Dask cluster: batches go to its workers, tables come back in order.

- The workers need shoestring installed, and the corpus under the same paths or addresses.
- A worker that dies has its batch done again elsewhere by Dask; a batch that kills every worker it meets is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from shoestring._errors import InputError, OptionError, ShoestringError
from shoestring._extras import require
from shoestring.count.counting.batches import Batch, count_batch, describe, prepare
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.parallel import ItemFailed, WorkerDied
from shoestring.count.counting.workers import KernelWorker, PackedWorker
from shoestring.count.cutting.tokenizers import choose_engine, counts_natively, kernel_table
from shoestring.count.job import Job
from shoestring.files import Report

AHEAD = 3  # batches per thread of the cluster that are given out before results are taken
PATIENCE = 10  # seconds to wait for a scheduler


def count_on(address: str, job: Job, batches: Sequence[Batch]) -> Iterator[tuple[Columns, Report]]:
    """Yields the table and report of every batch, in order.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`.
        job: what to count.
        batches: from `shoestring.count.counting.batches.batched`.

    Raises:
        OptionError: no scheduler answers there.
        WorkerDied: a batch killed the workers it ran on.
    """
    distributed = require("dask", "distributed")
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OptionError(f"--dask {address}: no Dask scheduler answers there ({error})") from error
    with client:
        most = max(1, sum(client.nthreads().values())) * AHEAD
        source = iter(batches)
        pending: deque = deque()
        while True:
            while len(pending) < most and (batch := next(source, None)) is not None:
                pending.append((batch, client.submit(count_remote, batch, job, pure=False)))
            if not pending:
                return
            batch, future = pending.popleft()
            yield _result(distributed, batch, future)


def _result(distributed, batch: Batch, future) -> tuple[Columns, Report]:
    try:
        return future.result()
    except distributed.scheduler.KilledWorker as error:
        raise WorkerDied(f"{describe(batch)}: every Dask worker that worked on it died") from error
    except ShoestringError:
        raise
    except Exception as error:
        raise ItemFailed(f"{describe(batch)}: {type(error).__name__}: {error}") from error


_job: Job | None = None


def count_remote(batch: Batch, job: Job) -> tuple[Columns, Report]:
    """On a worker: reads, cuts and counts one batch with the best engine that is there."""
    global _job  # noqa: PLW0603 - one process may serve several jobs, one after another
    engine, _ = choose_engine(job)
    if any(part.path == "-" for part in batch):
        raise InputError("stdin cannot be read on a cluster; give files or addresses")
    if job.packed:
        characters = PackedWorker(job)
        for part in batch:
            characters.count(part, lambda: None)
        return characters.columns(), characters.kept.report
    if engine == "kernel" and counts_natively(job):
        worker = KernelWorker(job, kernel_table(job))
        for part in batch:
            worker.count(part, lambda: None)
        return worker.tally.columns(by_count=False), worker.kept.report
    if _job != job:
        prepare(job, engine)
        _job = job
    return count_batch(batch)
