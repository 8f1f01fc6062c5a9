"""Writes the new tensors in chunks of rows: headers first, any order, any number of threads, resumable.

- Memory: a chunk per thread, whatever the size of the model. Files are `pread` and `pwritten`, never mapped.
- A journal in the draft says which tensors are whole. A killed run of the same growth goes on after them; since every
  number depends on (seed, tensor, row) alone, the bytes are those of a run that was never killed. What a machine that
  went down had not yet put on disk is unknown, so after a reboot it starts again.
- With `check`, every chunk is projected back before it is written and compared with what was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from shoestring import __version__
from shoestring._errors import InputError, OutputError
from shoestring.grow.plan.planning import Plan
from shoestring.grow.stored.checkpoint import INDEX, SINGLE
from shoestring.grow.stored.dtypes import STORAGE, TORCH, Array, convert, decode, encode, finite, size
from shoestring.grow.stored.tensor import Stored
from shoestring.grow.tensors.rows import Growth
from shoestring.ui import UI

SHARD = 5_000_000_000  # bytes of tensors in one file
CHUNK = 4 << 20  # bytes of new rows made at a time
MARGIN = 64 << 20  # bytes of disk that are left alone
ROUNDINGS = 8.0  # of its row: so close is a number that was scaled, divided and put together again
JOURNAL, STATE = "growing.txt", "growing.json"


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        resumed: tensors that an earlier, killed run had written.
        checked: tensors that were projected back.
        distance: the worst distance of a stored number from what its new ones give back, in roundings of the new dtype.
        rounded: stored numbers that the new dtype does not hold exactly.
    """

    resumed: int
    checked: int
    distance: float
    rounded: int = 0


@dataclass(frozen=True)
class Place:
    """Where a new tensor goes."""

    file: str
    offset: int


def write(
    plan: Plan,
    draft: Path,
    ui: UI | None = None,
    *,
    check: bool = True,
    shard: int = SHARD,
    threads: int | None = None,
) -> Written:
    """Writes every tensor of a plan into a folder.

    Args:
        plan: what to write.
        draft: the folder; what a killed run of the same plan left there is kept.
        ui: shows progress.
        check: project every tensor back and compare.
        shard: bytes of tensors in one file.
        threads: by default one for each core, at most 8.

    Raises:
        InputError: the old model cannot be read, or is not given back by what it grew into.
    """
    ui, places = ui or UI(quiet=True), layout(plan, shard)
    done = _prepared(plan, draft, places, shard)
    waiting = [growth for growth in plan.growths if growth.name not in done]
    with ExitStack() as stack, ui.bar("growing", plan.bytes, "B") as bar:
        files = _Files(stack, plan, draft, places)
        journal = stack.enter_context((draft / JOURNAL).open("a", encoding="utf-8"))
        pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1))
        stack.callback(pool.shutdown, cancel_futures=True)
        bar.update(sum(_bytes(growth) for growth in plan.growths if growth.name in done))
        worst, rounded = 0.0, 0
        tasks = [(growth, start, stop) for growth in waiting for start, stop in chunks(growth, plan)]
        for (growth, _, stop), (distance, lost) in zip(
            tasks, pool.map(lambda task: files.chunk(*task, check=check), tasks), strict=True
        ):
            worst, rounded = max(worst, distance), rounded + lost
            if stop == growth.rows.source:
                journal.write(growth.name + "\n")
                journal.flush()
                bar.update(_bytes(growth))
    if len({place.file for place in places.values()}) > 1:
        _write_index(plan, draft, places)
    return Written(len(done), len(waiting) if check else 0, worst, rounded)


def layout(plan: Plan, shard: int = SHARD) -> dict[str, Place]:
    """Returns where each tensor goes; offsets count from the end of the file's header."""
    shards: list[list[Growth]] = [[]]
    filled = 0
    for growth in plan.growths:
        if filled and filled + _bytes(growth) > shard:
            shards.append([])
            filled = 0
        shards[-1].append(growth)
        filled += _bytes(growth)
    places = {}
    for number, growths in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        offset = 0
        for growth in sorted(
            growths, key=lambda each: -size(each.dtype)
        ):  # wide numbers first: all are aligned
            places[growth.name] = Place(file, offset)
            offset += _bytes(growth)
    return places


def chunks(growth: Growth, plan: Plan) -> Iterator[tuple[int, int]]:
    """Yields the ranges of old rows that are grown at a time."""
    stored = plan.checkpoint.tensors[growth.source]
    copies = max(1, growth.rows.size // max(1, growth.rows.source))
    row = max(1, growth.columns.size * copies * size(growth.dtype))
    step = max(1, CHUNK // row)
    for start in range(0, max(1, stored.rows), step):
        yield start, min(start + step, max(1, stored.rows))


class _Files:
    """The open files of both models, and the work on one chunk."""

    def __init__(self, stack: ExitStack, plan: Plan, draft: Path, places: dict[str, Place]) -> None:
        self.sources = plan.checkpoint.tensors
        self.places = places
        self.old: dict[Path, int] = {}
        for path in {stored.path for stored in self.sources.values()}:
            self.old[path] = _opened(stack, path, os.O_RDONLY)
        self.new: dict[str, int] = {}
        self.data: dict[str, int] = {}
        for name in {place.file for place in places.values()}:
            self.new[name] = _opened(stack, draft / name, os.O_RDWR)
            self.data[name] = 8 + struct.unpack("<Q", os.pread(self.new[name], 8, 0))[0]

    def chunk(self, growth: Growth, start: int, stop: int, check: bool) -> tuple[float, int]:
        """Reads, grows, checks and writes some rows; the last chunk writes the rows that copy nothing too.

        Returns:
            The distance of what the new rows give back from what was stored, and how many stored numbers the new dtype
            does not hold.
        """
        stored = self.sources[growth.source]
        last = stop == max(1, stored.rows)
        read = stored.read(self.old[stored.path], start, stop)
        block = convert(read, stored.dtype, growth.dtype) if stored.dtype in STORAGE else read
        truth, rounded = _examined(stored, growth, read, block) if check else (None, 0)
        if growth.fill is not None:
            if growth.fill and last:
                shape = growth.rows.size, growth.columns.size
                self._write(growth, 0, encode(np.full(shape, growth.fill), growth.dtype))
            return 0.0, 0
        if growth.copied and truth is None:
            self._write(growth, start, block)
            return 0.0, 0
        pieces, distance = growth.grown(growth.prepared(block, start), start, check, truth)
        for place, rows in pieces:
            self._write(growth, place, rows)
        if last and growth.rows.new:
            mean = self._mean(stored, growth) if growth.needs_mean else None
            for place, rows in growth.new_rows(mean):
                self._write(growth, place, rows)
        if check and not distance <= ROUNDINGS * max(
            1, int(growth.columns.count.max()), int(growth.rows.count.max())
        ):
            _refuse_distance(stored, growth, distance)
        return distance, rounded

    def _read(self, stored: Stored, growth: Growth, start: int, stop: int) -> Array:
        block = stored.read(self.old[stored.path], start, stop)
        return convert(block, stored.dtype, growth.dtype) if stored.dtype in STORAGE else block

    def _mean(self, stored: Stored, growth: Growth) -> Array:
        total, step = np.zeros(stored.columns), max(1, CHUNK // (8 * stored.columns))
        for start in range(0, stored.rows, step):
            block = self._read(stored, growth, start, min(start + step, stored.rows))
            total += decode(block, growth.dtype).sum(0, dtype=np.float64)
        return total / stored.rows

    def _write(self, growth: Growth, row: int, rows: Array) -> None:
        place = self.places[growth.name]
        view = np.ascontiguousarray(rows).data.cast("B")
        at = self.data[place.file] + place.offset + row * growth.columns.size * size(growth.dtype)
        while view:
            put = os.pwrite(self.new[place.file], view, at)
            view, at = view[put:], at + put


def _examined(stored: Stored, growth: Growth, read: Array, block: Array) -> tuple[Array | None, int]:
    """Refuses numbers that are none; returns what was stored, where another dtype is written, and how much it lost.

    Raises:
        InputError: NaN or infinity is stored, or what the new dtype makes of a number.
    """
    if stored.dtype not in STORAGE:
        return None, 0
    if not finite(read, stored.dtype):
        raise InputError(
            f"{stored.path}: {growth.source} has NaN or infinity in it; what such a model computes cannot be kept, "
            "repair it first"
        )
    if stored.dtype == growth.dtype:
        return None, 0
    if not finite(block, growth.dtype):
        raise InputError(
            f"{stored.path}: {growth.source} has numbers up to {np.abs(decode(read, stored.dtype)).max():.3g}, which "
            f"{TORCH[growth.dtype]} cannot hold; choose --dtype float32 or bfloat16, or leave it out"
        )
    truth = decode(read, stored.dtype)
    return truth, int(np.count_nonzero(decode(block, growth.dtype) != truth))


def _refuse_distance(stored: Stored, growth: Growth, distance: float) -> None:
    if stored.dtype != growth.dtype:
        raise InputError(
            f"{stored.path}: {growth.source} has numbers that {TORCH[growth.dtype]} is too coarse for (they lose "
            f"{distance:.3g} roundings); choose another --dtype or leave it out"
        )
    raise InputError(
        f"{stored.path}: {growth.source} is not given back by what it grew into ({distance:.3g} roundings); "
        "this is a fault of shoestring or of the disk, please report it"
    )


def _bytes(growth: Growth) -> int:
    return prod(growth.shape) * size(growth.dtype)


def _opened(stack: ExitStack, path: Path, flags: int) -> int:
    handle = os.open(path, flags)
    stack.callback(os.close, handle)
    return handle


def finish(draft: Path) -> None:
    """Forgets the journal and puts everything in the folder on disk, so that it survives the machine."""
    for name in (JOURNAL, STATE):
        (draft / name).unlink()
    for path in draft.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _prepared(plan: Plan, draft: Path, places: dict[str, Place], shard: int) -> set[str]:
    """Makes the draft with its headers, or returns what a killed run of the same plan has written there."""
    state = {"growth": fingerprint(plan, shard), "boot": _boot()}
    if (draft / STATE).is_file() and json.loads((draft / STATE).read_text("utf-8")) == state:
        done = (draft / JOURNAL).read_text("utf-8") if (draft / JOURNAL).is_file() else ""
        return set(done.splitlines()[: done.count("\n")])
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for name in {place.file for place in places.values()}:
        _write_header(plan, draft / name, {key: place for key, place in places.items() if place.file == name})
    (draft / STATE).write_text(json.dumps(state), "utf-8")
    return set()


def fingerprint(plan: Plan, shard: int = SHARD) -> str:
    """Returns what decides the bytes of a growth, in short: the old files, the sizes and how it is done."""
    files = {stored.path for stored in plan.checkpoint.tensors.values()}
    facts: list[object] = [
        __version__,
        shard,
        str(plan.new),
        str(replace(plan.request, allow_lossy=False)),
        dict(plan.config),
    ]
    for path in sorted(files):
        facts.append(
            (str(path), *(getattr(path.stat(), name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns")))
        )
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def check_space(needed: int, draft: Path) -> None:
    """Looks whether there is room for so many bytes, with what a killed run's draft has or gives back.

    Raises:
        OutputError: there is not.
    """
    taken = sum(each.stat().st_blocks * 512 for each in draft.iterdir()) if draft.is_dir() else 0
    free = shutil.disk_usage(draft.parent).free + taken
    if needed + MARGIN > free:
        raise OutputError(
            f"{draft.parent}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free; make room, choose "
            "another disk, or grow less"
        )


def _write_header(plan: Plan, path: Path, places: dict[str, Place]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    here = sorted(
        (growth for growth in plan.growths if growth.name in places), key=lambda g: places[g.name].offset
    )
    for growth in here:
        offset = places[growth.name].offset
        header[growth.name] = {
            "dtype": growth.dtype, "shape": list(growth.shape), "data_offsets": [offset, offset + _bytes(growth)]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        total = 8 + len(text) + sum(_bytes(growth) for growth in here)
        file.truncate(total)
        with suppress(OSError):  # the space is ours from now on, where the file system can promise that
            os.posix_fallocate(file.fileno(), 0, total)


def _write_index(plan: Plan, draft: Path, places: dict[str, Place]) -> None:
    index = {
        "metadata": {"total_size": plan.bytes, "total_parameters": plan.parameters},
        "weight_map": {name: places[name].file for name in sorted(places)},
    }
    (draft / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
