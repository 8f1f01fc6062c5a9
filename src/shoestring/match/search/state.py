"""What counts of an index's files: one small file, replaced in one rename, that names the rest and its checksums."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shoestring._errors import InputError
from shoestring.files import atomic

STATE = "index.json"
NEXT = "next.json"  # of a build that will replace the index
FORMAT = 2
VECTORS, RECORDS, OFFSETS, DELETED = "vectors.f32", "records.jsonl", "offsets.i64", "deleted.i64"
ENDINGS = {"hnsw": False, "int4": True}  # of a graph's file: whether it is compact
GROWING = (VECTORS, RECORDS, OFFSETS, DELETED)


@dataclass(frozen=True)
class Part:
    """How much of a file counts.

    Args:
        size: bytes from its start.
        crc: CRC-32 of these.
    """

    size: int = 0
    crc: int = 0

    def grown(self, data: bytes) -> Part:
        """Returns the part that has `data` behind it."""
        return Part(self.size + len(data), zlib.crc32(data, self.crc))


@dataclass(frozen=True)
class GraphFile:
    """An HNSW graph beside the vectors, over the first `rows` of them, and how far it reaches."""

    name: str
    rows: int
    part: Part
    reach: tuple[float, float]

    @property
    def compact(self) -> bool:
        """Whether it has half bytes instead of vectors."""
        return ENDINGS[self.name.rpartition(".")[2]]


@dataclass(frozen=True)
class State:
    """One generation of an index.

    Args:
        model: fingerprint of the model whose embeddings these are.
        width: of an embedding.
        rows: deleted ones too.
        epoch: is in the names of the files; a build that replaces an index has the next.
        parts: how much of each growing file counts.
        building: the row where a build that is not finished started.
        graph: None where there is none.
    """

    model: str
    width: int
    rows: int = 0
    epoch: int = 0
    parts: Mapping[str, Part] = field(default_factory=lambda: {name: Part() for name in GROWING})
    building: int | None = None
    graph: GraphFile | None = None

    def name(self, part: str) -> str:
        """Returns the name of a growing file in this epoch."""
        return f"{self.epoch}.{part}"

    def sizes(self) -> dict[str, int]:
        """Returns the size that each growing file must have: vectors, offsets and deleted rows are of fixed width."""
        return {VECTORS: 4 * self.width * self.rows, OFFSETS: 8 * self.rows}


def read_state(folder: Path, name: str = STATE) -> State | None:
    """Returns the newest generation, or None where there is no index.

    Raises:
        InputError: damaged, or of another version.
    """
    path = folder / name
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise damaged(path, "not UTF-8") from error
    try:
        values = json.loads(text)
        if values.pop("format", None) != FORMAT and "rows" in values:
            raise InputError(f"{path}: of another version of shoestring; build it anew with --overwrite")
        checksum = values.pop("checksum")
        if checksum != _checksum(values):
            raise damaged(path, "its checksum is wrong")
        parts = {name: Part(**part) for name, part in values.pop("parts").items()}
        state = State(graph=_graph(values.pop("graph")), parts=parts, **values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, repr(error)) from error
    if any(state.parts[name].size != size for name, size in state.sizes().items()):
        raise damaged(path, "its numbers contradict each other")
    return state


def _graph(values: dict[str, Any] | None) -> GraphFile | None:
    """One of an earlier version, whose reach is not known, is as none."""
    if values is None or "reach" not in values:
        return None
    return GraphFile(values["name"], values["rows"], Part(**values["part"]), tuple(values["reach"]))


def write_state(folder: Path, state: State, name: str = STATE) -> None:
    """Makes a generation the newest."""
    values = asdict(state)
    with atomic(folder / name) as file:
        json.dump({"format": FORMAT, **values, "checksum": _checksum(values)}, file)


def _checksum(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def damaged(path: Path, why: str) -> InputError:
    """Returns the error of a file that is not what was written."""
    return InputError(f"{path}: damaged ({why}); build it anew with --overwrite")
