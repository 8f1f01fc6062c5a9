"""CPM's true width on this machine: decoding, prefill, choice, conversion and serving, beside peers in one run.

    python benchmarks/lm.py --vocab chinese_vocab.model    8 of the 32 layers, random weights; 6 GB of disk
    ... --only decode                                      one part: decode, choice, conversion or serving
    ... --full                                             the full 2.6B shape alone: 25 GB of disk, half an hour
    ... --work FOLDER                                      keeps the models there for the next part
    ... --quick                                            1 narrow layer, to try it out; writes no result

Engines take turns within a round; the best and the median of the rounds are kept. A share is the bytes of the
weights that a token needs, times tokens per second, over the speed at which both cores can read memory. Each part
is merged into benchmarks/results/lm.json when it is done.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from width.checkpoints import HIDDEN, build
from width.choosing import choice
from width.converting import conversion
from width.decoding import speeds
from width.serving import serving
from width.whole import TARGETS, whole

from shoestring.lm.engines.load import load
from shoestring.lm.weights.conversion import convert

RESULT = Path(__file__).with_name("results") / "lm.json"
PARTS = ("conversion", "decode", "choice", "serving")
LAYERS, ROUNDS, SECONDS = 8, 3, 60


def measure(part: str, work: Path, vocabulary: Path, quick: bool) -> dict[str, Any]:
    """Returns what a part measures."""
    layers, rounds, hidden = (1, 1, 768) if quick else (LAYERS, ROUNDS, HIDDEN)
    if part == "full":
        return whole(work, vocabulary, _say)
    model = build(work / f"{hidden}x{layers}", layers, vocabulary, hidden)
    if part == "conversion":
        return conversion(work, model, layers, rounds)
    if part == "decode":
        return speeds(model, {target: _converted(model, target) for target in TARGETS}, rounds)
    if part == "choice":
        return {name: choice(load(model, precision=name, device="cpu"), 1) for name in ("fp32", "int8")}
    return serving(_converted(model, "int8"), 4 if quick else SECONDS)


def _converted(model: Path, target: str) -> Path:
    folder = model.with_name(f"{model.name}-{target}")
    if not folder.exists():
        convert(model, folder, to=target)
    return folder


def conditions(quick: bool) -> dict[str, Any]:
    """Returns what the figures depend on."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": torch.get_num_threads(), "processor": found[1] if found else "unknown",
        "instructions": torch.backends.cpu.get_cpu_capability(), "layers": 1 if quick else LAYERS,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "llama-cpp-python")},
    }  # fmt: skip


def measured(part: str, function: Callable[[], dict[str, Any]], quick: bool) -> None:
    """Measures a part and merges it into the results."""
    load_before, started = os.getloadavg()[0], time.perf_counter()
    found = {**function(), "load": load_before}
    gc.collect()
    _say(f"{part}, {time.perf_counter() - started:.0f} s: {json.dumps(found, indent=1)}")
    if not quick:
        result = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
        result |= {**conditions(quick), part: found}
        RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", type=Path, help="CPM's chinese_vocab.model")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument(
        "--quick", action="store_true", help="1 narrow layer, to try it out; writes no result"
    )
    parser.add_argument("--full", action="store_true", help="the full 2.6B shape alone")
    parser.add_argument("--work", type=Path, help="where to keep the models; default: a temporary folder")
    arguments = parser.parse_args()
    if arguments.vocab is None:
        _say("left out: download CPM's vocabulary and give --vocab chinese_vocab.model")
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    parts = ("full",) if arguments.full else (arguments.only,) if arguments.only else PARTS
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for part in parts:
            measured(
                part, lambda part=part: measure(part, work, arguments.vocab, arguments.quick), arguments.quick
            )


if __name__ == "__main__":
    main()
