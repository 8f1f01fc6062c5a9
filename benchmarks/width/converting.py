"""Two Megatron shards to a Hugging Face folder, beside copying as many bytes; both wait for the disk."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from width.checkpoints import shards, weights

PROGRAM = """
import re, sys, threading, time
from pathlib import Path
from transformers import GPT2LMHeadModel
from shoestring.lm.weights.conversion import convert

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(.005)

before = anonymous()
peak = [before]
threading.Thread(target=watch, daemon=True).start()
started, worked = time.perf_counter(), time.process_time()
convert(sys.argv[1], sys.argv[2], published=False)
print(time.perf_counter() - started, time.process_time() - worked, peak[0] - before)
"""


def conversion(work: Path, model: Path, layers: int, rounds: int) -> dict[str, Any]:
    """Returns medians; the source is in memory, nothing else waits to be written, and both end with fsync."""
    source = shards(model, work / "shards", layers)
    copies, runs = [], []
    try:
        for _ in range(rounds):
            os.sync()
            copies.append(_copied(source, work / "copied"))
            shutil.rmtree(work / "copied")
            os.sync()
            runs.append(_converted(source, work / "converted"))
            size = weights(work / "converted")
            shutil.rmtree(work / "converted")
    finally:
        shutil.rmtree(source)
    seconds, cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    copied = statistics.median(copies)
    return {
        "bytes": size, "rounds": rounds, "seconds": seconds, "cpu_seconds": cpu, "copy_seconds": copied,
        "times_copy": copied / seconds, "memory_mb": memory / 1e6,
    }  # fmt: skip


def _copied(source: Path, target: Path) -> float:
    started = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - started


def _converted(source: Path, target: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, cpu, memory = map(float, done.stdout.split())
    return seconds, cpu, memory
