"""How a part is started: its file, its seconds, its data, and whether it rehearses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.report import Report


def start(run: Callable[[Report, Path], None]) -> None:
    """Runs a part as the runner asks for it."""
    path, seconds, data, size = sys.argv[1:]
    run(Report(Path(path), size == "small", float(seconds)), Path(data))
