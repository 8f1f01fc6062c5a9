"""The log of a run: one JSON line a record, and the history that is read back from it.

- A resumed run drops the lines after its checkpoint first, so that every step is there once.
- Lines are flushed as they are written; a line that a killed process left half-written is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.files import atomic


@dataclass(frozen=True)
class History:
    """What a training run did.

    Args:
        steps: the optimiser steps at which the loss was logged.
        losses: the mean training loss since the previous one, in nats per target.
        eval_losses: (step, loss over the evaluation examples) pairs.
        seconds: time spent training, over all its parts if it was interrupted.
        resumed_from: the step at which the last part started, 0 if there was only one.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    eval_losses: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    resumed_from: int = 0

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The training loss as (step, loss) points, ready for `plot.loss_curves`."""
        return list(zip(self.steps, self.losses, strict=True))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a log, without what is half-written; nothing if there is no log."""
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append(path: Path, record: dict[str, Any]) -> None:
    """Adds a record to a log."""
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def cut(path: Path, step: int) -> None:
    """Drops the records after a step, so that the run can go on from it."""
    kept = [record for record in read(path) if record["step"] <= step]
    with atomic(path) as log:
        log.writelines(json.dumps(record) + "\n" for record in kept)


def history(path: Path, seconds: float = 0.0, resumed_from: int = 0) -> History:
    """Returns what a log tells about its run."""
    records = list(read(path))
    trained = [record for record in records if "loss" in record]
    return History(
        steps=tuple(record["step"] for record in trained),
        losses=tuple(record["loss"] for record in trained),
        eval_losses=tuple(
            (record["step"], record["eval_loss"]) for record in records if "eval_loss" in record
        ),
        seconds=seconds,
        resumed_from=resumed_from,
    )
