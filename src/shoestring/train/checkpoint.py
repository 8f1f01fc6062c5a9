"""Checkpoints that are complete or absent: written aside, flushed to the disk, renamed into place, the last two kept.

- A checkpoint is the folder `checkpoint-N` that transformers' Trainer writes (N: optimiser steps done) plus
  `run.json`: what the run was, and what the loop needs beyond the Trainer's own state.
- Whatever a killed process left is in `.partial`, which nothing reads and the next save removes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoestring.files.atomic import flush, sync_folder

KEPT = 2
PARTIAL = ".partial"
RUN = "run.json"
PICKLED_ARGUMENTS = "training_args.bin"  # a pickle that nothing needs


def all_of(folder: Path) -> list[Path]:
    """Returns the complete checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if (path / RUN).is_file()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Returns the number of optimiser steps that a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


def load(checkpoint: Path) -> dict[str, Any]:
    """Returns a checkpoint's `run.json`."""
    return json.loads((checkpoint / RUN).read_text("utf-8"))


def publish(written: Path, folder: Path, run: Mapping[str, Any]) -> None:
    """Moves a checkpoint that is fully written into its folder, then removes the ones it replaces.

    Args:
        written: `folder/.partial/checkpoint-N`.
        folder: where checkpoints live.
        run: becomes its `run.json`.
    """
    (written / PICKLED_ARGUMENTS).unlink(missing_ok=True)
    (written / RUN).write_text(json.dumps(run, indent=1), "utf-8")
    flush(written)
    target = folder / written.name
    shutil.rmtree(target, ignore_errors=True)
    written.rename(target)
    sync_folder(folder)
    for old in all_of(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def discard(folder: Path) -> None:
    """Removes every checkpoint, the newest first, so that an interrupted removal leaves no wrong one last."""
    for checkpoint in reversed(all_of(folder)):
        shutil.rmtree(checkpoint)
