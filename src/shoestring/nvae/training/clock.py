"""The time of a run over all its parts, by the wall clock and by the processor.

CPU seconds count what a run has computed, whatever else the machine did meanwhile: two runs on a busy machine are
compared by them.
"""

from __future__ import annotations

import time


class Clock:
    """Goes on from where an interrupted run stopped.

    Args:
        seconds: by the wall clock, of earlier parts.
        cpu_seconds: of all threads of this process, of earlier parts.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._wall = time.monotonic() - seconds
        self._cpu = time.process_time() - cpu_seconds

    @property
    def seconds(self) -> float:
        """By the wall clock."""
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        """Computed by this process."""
        return time.process_time() - self._cpu

    def as_json(self) -> dict[str, float]:
        """Returns both, for logs and checkpoints."""
        return {"seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}
