"""`parallel_map`: a function over many items in several processes, results in order, nothing ever hangs.

- An exception names the item it came from; a process that dies has its item tried once more, alone, and then named.
- At most a few results wait in memory, however many items there are; the parent sleeps while it waits.
- Processes are spawned, not forked: the same on Linux, macOS and Windows, and safe beside threads.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

from shoestring._errors import InputError, OptionError, ShoestringError
from shoestring.count.job import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # items per process that are given out before results are taken


class WorkerDied(ShoestringError):
    """A process died twice on the same item."""


class ItemFailed(InputError):
    """The function raised an exception on an item; it is the `__cause__`."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int = 0,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    name: Callable[[Item], str] = repr,
) -> Iterator[Result]:
    """Yields `function(item)` for every item, in order, computed in `workers` processes.

    Args:
        function: importable from a module, as are the items picklable.
        items: taken as they are needed.
        workers: processes; 0 takes every core.
        initializer: runs once in each new process, with `initargs`.
        initargs: its arguments.
        name: how messages call an item.

    Raises:
        ItemFailed: the function raised; the message has the item and the exception. Our own errors pass as they are.
        WorkerDied: a process was killed, or crashed, twice on the same item.

    >>> list(parallel_map(abs, [-1, 2, -3], workers=2))
    [1, 2, 3]
    """
    try:
        pickle.dumps((function, initializer, initargs))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionError(
            f"{function}: define it at the top of a module, so that processes can import it"
        ) from error

    def pool(size: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(size, get_context("spawn"), _begin, (initializer, initargs))

    size = workers or usable_cores()
    pending: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    executor = pool(size)
    try:
        while True:
            _fill(executor, function, source, pending, size * AHEAD)
            if not pending:
                return
            item, future = pending[0]
            try:
                result = future.result()
            except BrokenProcessPool:
                executor.shutdown(wait=False, cancel_futures=True)
                suspects = [item for item, future in pending if not _finished(future)]
                results = {id(item): _alone(pool, function, item, name) for item in suspects}
                executor = pool(size)
                pending = deque((item, results.get(id(item), future)) for item, future in pending)
                continue
            except ShoestringError:
                raise
            except Exception as error:
                raise ItemFailed(f"{name(item)}: {type(error).__name__}: {error}") from error
            pending.popleft()
            yield result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _begin(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """In a new process: Ctrl-C is the parent's business, and when the parent is gone, so is this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fill(executor, function, source, pending, most: int) -> None:
    while len(pending) < most:
        try:
            item = next(source)
        except StopIteration:
            return
        try:
            pending.append((item, executor.submit(function, item)))
        except BrokenProcessPool as error:  # it died while idle; the item is one of the suspects
            pending.append((item, _failed(error)))


def _finished(future: Future) -> bool:
    return future.done() and not future.cancelled() and not isinstance(future.exception(), BrokenProcessPool)


def _alone(pool, function, item, name):
    """Runs one item in a process of its own, so that a second death has one possible cause."""
    with pool(1) as executor:
        future = executor.submit(function, item)
        if isinstance(error := future.exception(), BrokenProcessPool):
            raise WorkerDied(
                f"{name(item)}: the process that worked on it died twice (killed, out of memory, or a crash)"
            ) from error
        return future  # with its result, or its own exception, when its turn comes


def _failed(error: BaseException) -> Future:
    future: Future = Future()
    future.set_exception(error)
    return future
