"""The full shape of 2.6 billion weights: speed, and peak memory of loading and running, a process for each engine.

The best of six dozen tokens; the speed at which memory can be read is taken after each engine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoestring.lm.weights.conversion import convert
from width.checkpoints import LAYERS, build
from width.converting import conversion
from width.decoding import read_speed

PROGRAM = """
import re, sys, time, torch
from pathlib import Path
from shoestring.lm.engines.load import load

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

started = time.perf_counter()
engine = load(sys.argv[1], precision=sys.argv[2], threads=torch.get_num_threads(), device="cpu")
loaded, loading = time.perf_counter() - started, peak()
best = 0.
session = engine.open([list(range(100, 228))])
for _ in range(6):
    started = time.perf_counter()
    for _ in range(12):
        session.step([int(session.logits[0].argmax())])
    best = max(best, 12 / (time.perf_counter() - started))
print(loaded, loading, best, peak())
"""
TARGETS = ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m")


def whole(work: Path, vocabulary: Path, say: Callable[[str], Any]) -> dict[str, Any]:
    """Returns a row for each engine, one for int8 out of an fp16 folder, and the conversion of the release's size."""
    model = build(work / "full", LAYERS, vocabulary)
    rows: dict[str, Any] = {"int8 out of fp16": _measured(model, "int8")}
    say(f"int8 out of fp16: {rows['int8 out of fp16']}")
    for target in TARGETS:
        name = target.replace("gguf-", "llama.cpp ")
        convert(model, work / "few", to=target)
        rows[name] = _measured(work / "few", "auto")
        shutil.rmtree(work / "few")
        say(f"{name}: {rows[name]}")
    return {"engines": rows, "conversion": conversion(work, model, LAYERS, 1)}


def _measured(folder: Path, precision: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, str(folder), precision]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded, loading, decode, peak = map(float, done.stdout.split())
    return {
        "load_seconds": loaded, "loading_gb": loading / 1e9, "decode": decode, "peak_gb": peak / 1e9,
        "read_gigabytes_per_second": read_speed(),
    }  # fmt: skip
