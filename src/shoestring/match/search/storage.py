"""The files of an index: read without a lock, written under one, whole generations only.

- Vectors, records, their offsets and the numbers of deleted rows only grow. The state file names how much of each
  counts. So what a writer appends lies behind all that a reader looks at, until one rename makes it count.
- A writer holds a lock, which the system takes away when it dies, and reads the state anew: what another process
  deleted stays deleted, and what a killed one had half written is written over.
- A build that replaces an index grows beside it, and one rename puts it in its place when it is whole.
- Nothing is believed before its checksum was compared: sizes on opening, CRC-32 at the first use, and then of what
  has grown.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError, OutputError
from shoestring._extras import require
from shoestring.match.search.state import (
    DELETED,
    GROWING,
    NEXT,
    OFFSETS,
    RECORDS,
    STATE,
    VECTORS,
    GraphFile,
    Part,
    State,
    damaged,
    read_state,
    write_state,
)

LOCK = "lock"
PATIENCE = 10.0  # seconds that a writer waits for another
BLOCK = 1 << 20
Record = dict[str, Any]


class Generation:
    """An index as it was at one moment; its files stay open, so nothing that a writer does changes it.

    Raises:
        InputError: a file is missing, too short or damaged.
        FileNotFoundError: the index was replaced since the state was read.
    """

    def __init__(self, folder: Path, state: State, before: Generation | None = None) -> None:
        self.folder, self.state = folder, state
        self._checked: dict[str, Part] = {name: Part() for name in GROWING}
        if before is not None and before.state.epoch == state.epoch:
            self._checked.update(before._checked)
        self._files: dict[str, IO[bytes]] = {}
        for name in GROWING if state.rows else ():
            path = folder / state.name(name)
            self._files[name] = path.open("rb")
            found, wanted = os.fstat(self._files[name].fileno()).st_size, state.parts[name].size
            if found < wanted:
                raise damaged(path, f"{found:,} bytes of {wanted:,}")

    @property
    def rows(self) -> int:
        """The number of rows, deleted ones too."""
        return self.state.rows

    @cached_property
    def vectors(self) -> NDArray:
        """(rows, width) float32, memory-mapped."""
        shape = (self.rows, self.state.width)
        return (
            np.memmap(self._file(VECTORS), np.float32, "r", shape=shape)
            if self.rows
            else np.zeros(shape, "f")
        )

    @cached_property
    def offsets(self) -> NDArray:
        """(rows + 1,) int64: where each record starts, and where the last one ends."""
        return np.append(self._numbers(OFFSETS), self.state.parts[RECORDS].size)

    @cached_property
    def deleted(self) -> NDArray:
        """(m,) int64 numbers of the rows that do not count, sorted."""
        return np.unique(self._numbers(DELETED))

    def record(self, row: int) -> Record:
        """Returns what was stored with a row: `text`, `metadata`, and `key` where it has one."""
        start, end = (int(each) for each in self.offsets[row : row + 2])
        return json.loads(os.pread(self._file(RECORDS).fileno(), end - start, start))

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yields (row, record) of the rows that count."""
        gone = set(self.deleted.tolist())
        yield from ((row, self.record(row)) for row in range(self.rows) if row not in gone)

    def _file(self, name: str) -> IO[bytes]:
        """Returns a file whose checksum was compared; of what an earlier generation compared, only the growth."""
        file, wanted = self._files[name], self.state.parts[name]
        if self._checked[name] != wanted:
            if _crc(file, self._checked[name], wanted.size) != wanted.crc:
                raise damaged(self.folder / self.state.name(name), "its checksum is wrong")
            self._checked[name] = wanted
        return file

    def _numbers(self, name: str) -> NDArray:
        if not self.rows:
            return np.zeros(0, np.int64)
        return np.frombuffer(os.pread(self._file(name).fileno(), self.state.parts[name].size, 0), np.int64)

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()


class Storage:
    """The files of one index.

    Args:
        folder: need not be there yet.
        model: fingerprint of the model.
        width: of its embeddings.
        made_by: how to name the model in an error.
    """

    def __init__(self, folder: Path, model: str, width: int, made_by: str = "this model") -> None:
        self.folder, self.model, self.width, self.made_by = folder, model, width, made_by
        self._newest: Generation | None = None

    def read(self) -> Generation:
        """Returns the newest generation; the same object as long as nothing changed.

        Raises:
            InputError: it was made with another model, or is damaged.
            OutputError: the folder is no index.
        """
        for _ in range(100):
            state = self._state()
            if self._newest is not None and self._newest.state == state:
                return self._newest
            with suppress(FileNotFoundError):  # replaced meanwhile
                self._newest = Generation(self.folder, state, self._newest)
                return self._newest
        missing = [name for name in GROWING if not (self.folder / state.name(name)).exists()]
        raise damaged(self.folder / state.name(missing[0] if missing else VECTORS), "missing")

    @contextmanager
    def writing(self, anew: bool = False) -> Iterator[Writer]:
        """Holds the lock and gives what can change the index.

        Args:
            anew: what is written replaces what is there, of whatever model and however damaged, when it is published;
                it goes on where an interrupted such writer of the same model was.

        Raises:
            OutputError: another process has been writing for 10 seconds.
        """
        _require_ours(self.folder) if anew else self._state()  # refuses before the folder is touched
        locks: Any = require("match", "filelock")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = locks.FileLock(self.folder / LOCK, is_singleton=True)
        try:
            lock.acquire(timeout=PATIENCE)
        except locks.Timeout as error:
            raise OutputError(
                f"{self.folder}: another process is writing to this index; try again when it has ended"
            ) from error
        try:
            yield self._writer_anew() if anew else Writer(self.folder, self._state())
        finally:
            lock.release()

    def _writer_anew(self) -> Writer:
        begun = None
        with suppress(InputError):
            begun = read_state(self.folder, NEXT)
        if begun is None or (begun.model, begun.width) != (self.model, self.width):
            begun = State(self.model, self.width, epoch=_free_epoch(self.folder))
        return Writer(self.folder, begun, NEXT)

    def _state(self) -> State:
        state = read_state(self.folder)
        if state is None:
            _require_ours(self.folder)
            return State(self.model, self.width)
        if (state.model, state.width) == (self.model, self.width):
            return state
        if not state.rows and state.building is None:
            return replace(state, model=self.model, width=self.width)
        raise InputError(
            f"{self.folder}: was made with another model ({state.model[:12]}) than {self.made_by} "
            f"({self.model[:12]}); give that model, or build it anew with --overwrite"
        )


class Writer:
    """Changes an index, one generation at a time; has the lock.

    Attributes:
        state: the newest generation.
    """

    def __init__(self, folder: Path, state: State, name: str = STATE) -> None:
        self.folder, self.state, self._name = folder, state, name
        self._sweep()

    def append(self, records: Sequence[Record], vectors: NDArray, delete: Iterable[int] = ()) -> None:
        """Adds rows, and deletes others, at once.

        Args:
            records: of n rows; JSON values.
            vectors: (n, width) float32.
            delete: numbers of rows, which may be among the new ones.
        """
        lines = [
            json.dumps(each, ensure_ascii=False).encode(errors="surrogatepass") + b"\n" for each in records
        ]
        start = self.state.parts[RECORDS].size
        starts = start + np.cumsum([0, *map(len, lines)])[:-1]
        new = {
            VECTORS: np.ascontiguousarray(vectors, np.float32).tobytes(),
            RECORDS: b"".join(lines),
            OFFSETS: starts.astype(np.int64).tobytes(),
            DELETED: np.array(sorted(delete), np.int64).tobytes(),
        }
        parts = {name: self._written(name, data) for name, data in new.items()}
        self.commit(replace(self.state, rows=self.state.rows + len(records), parts=parts))

    def restart(self) -> None:
        """Begins its build again; who reads what was there keeps it."""
        self.commit(State(self.state.model, self.state.width, epoch=_free_epoch(self.folder), building=0))
        self._sweep()

    def publish(self) -> None:
        """Puts what a writer anew has written in the place of the index."""
        os.replace(self.folder / NEXT, self.folder / STATE)
        self._name = STATE
        self._sweep()

    def put_graph(
        self, rows: int, compact: bool, reach: tuple[float, float], write: Callable[[str], None]
    ) -> None:
        """Stores a graph over the first rows; `write` makes the file of a given name."""
        name = f"{self.state.epoch}.{rows}.{'int4' if compact else 'hnsw'}"
        path = self.folder / name
        write(str(path))
        with path.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
            part = Part(size, _crc(file, Part(), size))
        self.commit(replace(self.state, graph=GraphFile(name, rows, part, reach)))
        self._sweep()

    def commit(self, state: State) -> None:
        """Makes a generation the newest."""
        write_state(self.folder, state, self._name)
        self.state = state

    def _written(self, name: str, data: bytes) -> Part:
        before = self.state.parts[name]
        with open(os.open(self.folder / self.state.name(name), os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.truncate(before.size)  # what a killed writer had appended
            file.seek(before.size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return before.grown(data)

    def _sweep(self) -> None:
        """Removes what no generation names: drafts, replaced graphs, files of earlier epochs."""
        kept = {STATE, NEXT, LOCK}
        for state in (self.state, *self._others()):
            kept |= {state.graph.name} if state.graph else set()
            kept |= {state.name(name) for name in GROWING}
        for path in self.folder.iterdir():
            if path.name not in kept and _is_ours(path.name):
                path.unlink(missing_ok=True)

    def _others(self) -> Iterator[State]:
        """What else is there: the index that this writer will replace, or the one that will replace it."""
        with suppress(InputError):  # damaged: nobody can read it
            other = read_state(self.folder, NEXT if self._name == STATE else STATE)
            if other is not None:
                yield other


def checked_graph(folder: Path, graph: GraphFile) -> Path:
    """Returns the path of a graph whose checksum is right.

    Raises:
        InputError: it is damaged.
        FileNotFoundError: it was replaced meanwhile.
    """
    path = folder / graph.name
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != graph.part.size or _crc(file, Part(), size) != graph.part.crc:
            raise damaged(path, "its checksum is wrong")
    return path


def _crc(file: IO[bytes], done: Part, end: int) -> int:
    crc, at = done.crc, done.size
    while at < end and (block := os.pread(file.fileno(), min(BLOCK, end - at), at)):
        crc, at = zlib.crc32(block, crc), at + len(block)
    return crc


def _is_ours(name: str) -> bool:
    epoch, _, rest = name.partition(".")
    draft = name.startswith((f".{STATE}.", f".{NEXT}.")) and name.endswith(".part")
    return (
        draft
        or name in (STATE, NEXT, LOCK)
        or (epoch.isdigit() and (rest in GROWING or rest.partition(".")[0].isdigit()))
    )


def _free_epoch(folder: Path) -> int:
    """Returns an epoch that no file has in its name, nor an index that is begun where none is."""
    used = [int(epoch) for each in folder.iterdir() if (epoch := each.name.partition(".")[0]).isdigit()]
    return max(used, default=0) + 1


def _require_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; an index is a folder, choose another name")
    if folder.is_dir() and not all(_is_ours(each.name) for each in folder.iterdir()):
        raise OutputError(f"{folder}: exists and is no index; choose another name")
