"""Triton's kernels compiled ahead, many at a time: a cache on disk that whoever runs them finds filled.

One after the other they would take longer than the part may: each form is two kernels of several tiles, and each takes
seconds. Nothing is launched here; calls run with what memory holds, and their results mean nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from shoestring.transformer.talking_heads import kernels

SPREAD = 2  # of the tiles to choose from, how many parts are compiled apart


def compiled(call: Callable[[Any], object], forms: Iterable[Any], seconds: float) -> set[Any]:
    """Compiles what calls need, in as many processes as there are processors.

    Args:
        call: runs the kernels for a form; a function of a module.
        forms: the most telling first.
        seconds: after which the rest is left.

    Returns:
        The forms that are ready, or that cannot be compiled, which their check will say.
    """
    end, done = time.monotonic() + seconds, {}
    tasks = [(call, form, part) for form in forms for part in range(SPREAD)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:  # CUDA does not survive a fork
        coming = pool.imap_unordered(_part, tasks)
        for _ in tasks:
            try:
                form = coming.next(max(end - time.monotonic(), 0.01))
            except multiprocessing.TimeoutError:
                break
            done[form] = done.get(form, 0) + 1
    return {form for form, parts in done.items() if parts == SPREAD}


def _part(task: tuple[Callable[[Any], object], Any, int]) -> Any:
    """Compiles one part of the tiles of a form."""
    call, form, part = task
    for kernel in (kernels._forward, kernels._backward):
        kernel.run = _compiling(kernel, part)
    try:
        call(form)
    except Exception as error:  # such as what a compiler does not know: the check of the form will say it
        print(f"compiling {form}: {error!r:.200}", flush=True)
    return form


def _compiling(kernel: Any, part: int) -> Callable[..., None]:
    """Returns what compiles a kernel where it would be run."""

    def run(*given: Any, grid: Any, warmup: bool, **more: Any) -> None:
        kernel.nargs = dict(zip(kernel.arg_names, given, strict=False))  # as Autotuner.warmup has it
        for choice in kernel.prune_configs(more)[part::SPREAD]:
            kernel.fn.warmup(*given, grid=grid, **more, **choice.all_kwargs())

    return run
