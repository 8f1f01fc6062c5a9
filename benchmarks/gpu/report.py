"""What a part found, on disk after every line: figures beside their predictions, and checks that may fail."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

# device name -> bytes/s of its memory and FLOP/s of bf16 products, measured with large copies and products
DEVICES = {"H100": (3.0e12, 790e12), "H200": (4.3e12, 790e12)}


class Report:
    """The JSON of one part.

    Args:
        path: where it is written.
        small: the part rehearses on a CPU.
        seconds: what the part may take; `left` says how much remains.
    """

    def __init__(self, path: Path, small: bool, seconds: float) -> None:
        self.path, self.small, self._end = path, small, time.monotonic() + seconds
        self.device = torch.device("cpu" if small else "cuda")
        name = platform.processor() or platform.machine() if small else torch.cuda.get_device_name()
        self.found: dict[str, Any] = {
            "device": name, "torch": torch.__version__, "rehearsal": small, "figures": {}, "checks": {},
        }  # fmt: skip
        self._write()

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self._end - time.monotonic()

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second of the device's memory, if it is known."""
        return self._peak(0)

    @property
    def flops(self) -> float | None:
        """bf16 FLOP per second of the device, if they are known."""
        return self._peak(1)

    def figure(self, name: str, value: Any, predicted: float | None = None) -> None:
        """Writes a figure, and what was predicted from counted bytes and operations."""
        self.found["figures"][name] = {"value": value} | (
            {} if predicted is None else {"predicted": predicted}
        )
        self._write()

    def check(self, name: str, right: bool, detail: str) -> None:
        """Writes whether something is right."""
        self.found["checks"][name] = {"right": bool(right), "detail": detail}
        self._write()

    def _peak(self, which: int) -> float | None:
        known = [peaks[which] for name, peaks in DEVICES.items() if name in self.found["device"]]
        return known[0] if known else None

    def _write(self) -> None:
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.found, indent=1), "utf-8")
        os.replace(draft, self.path)


def milliseconds(call: Any, turns: int, device: torch.device) -> float:
    """Returns the least time of a call in ms, by CUDA events on a GPU."""
    call()
    best = float("inf")
    for _ in range(turns):
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            best = min(best, start.elapsed_time(end))
        else:
            begun = time.perf_counter()
            call()
            best = min(best, 1e3 * (time.perf_counter() - begun))
    return best


def gibibytes(call: Any, device: torch.device) -> float | None:
    """Returns how much memory a call takes at its peak beyond what is there, None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**30
