"""The training step of `shoestring nvae` beside the official code's -> the row `official` of results/nvae.json.

    python benchmarks/nvae_peer.py --peer FOLDER --runner FILE [--quick]

- FOLDER is a checkout of NVlabs/NVAE, which its user has and may use (its licence is for research and evaluation only).
- FILE is a Python file of the user's that makes it start without CUDA: it has `build(folder, flags)`, the model for a
  command line's flags, and `Trainer(model)`, whose `step(x)` takes one step of the official training loop.
- Each lives in a process of its own, one thread each, and they take turns: one steps while the other waits. CPU
  seconds, medians and minima; the first two steps, with the official code's 40 power iterations, are not counted.
- Memory is the highest resident memory beyond what the process had before its first step.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results" / "nvae.json"
BATCH = 32
# benchmarks/nvae.py's SMALL in the official words
FLAGS = {
    "dataset": "mnist", "use_se": True, "res_dist": True, "fast_adamax": True, "ada_groups": True, "batch_size": BATCH,
    "num_channels_enc": 16, "num_channels_dec": 16, "num_latent_scales": 2, "num_groups_per_scale": 4,
    "num_latent_per_group": 20, "num_preprocess_blocks": 2, "num_postprocess_blocks": 2, "num_preprocess_cells": 2,
    "num_postprocess_cells": 2, "num_cell_per_cond_enc": 1, "num_cell_per_cond_dec": 1, "weight_decay_norm": 1e-2,
}  # fmt: skip
WARM_UP = 2


def images() -> torch.Tensor:
    """Binary images of 28 x 28."""
    return (torch.rand(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def ours() -> tuple[int, Callable[[], object]]:
    """Returns the number of weights and a step."""
    import nvae

    way, x = nvae.Ours(), images()
    return sum(p.numel() for p in way.model.parameters()), lambda: way(x)


def official(folder: str, runner: str) -> tuple[int, Callable[[], object]]:
    """Returns the number of weights and a step; official images are padded before the network."""
    spec = importlib.util.spec_from_file_location("runner", runner)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build(folder, FLAGS)
    trainer, x = module.Trainer(model), torch.nn.functional.pad(images(), [2] * 4)
    return sum(p.numel() for p in model.parameters()), lambda: trainer.step(x)


def resident(name: str) -> float:
    """Returns VmRSS or VmHWM of this process in MB."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def serve(who: str, folder: str, runner: str) -> None:
    """Takes a step for each line that comes in and tells its CPU seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the official code prints
    torch.set_num_threads(1)
    weights, step = ours() if who == "ours" else official(folder, runner)
    before = resident("VmRSS")
    print(json.dumps({"weights": weights}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        step()
        spent = time.process_time() - start
        print(json.dumps({"seconds": spent, "grown": resident("VmHWM") - before}), file=answers, flush=True)


def measure(folder: str, runner: str, rounds: int) -> dict[str, object]:
    """Lets both take turns."""
    workers = {
        who: subprocess.Popen(
            [sys.executable, __file__, "--serve", who, "--peer", folder, "--runner", runner],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for who in ("ours", "official")
    }  # fmt: skip
    answers = {who: [json.loads(worker.stdout.readline())] for who, worker in workers.items()}
    for _ in range(WARM_UP + rounds):
        for who, worker in workers.items():
            worker.stdin.write("step\n")
            worker.stdin.flush()
            answers[who].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return summary(answers)


def summary(answers: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Returns medians, minima and ratios of what the two said."""
    found = {}
    for who, (first, *rest) in answers.items():
        seconds = [answer["seconds"] for answer in rest[WARM_UP:]]
        found[who] = {
            "weights": first["weights"], "cpu_seconds": statistics.median(seconds), "least": min(seconds),
            "grown_mb": rest[-1]["grown"],
        }  # fmt: skip
    mine, theirs = found["ours"], found["official"]
    return {
        **found,
        "times_faster": theirs["cpu_seconds"] / mine["cpu_seconds"],
        "times_faster_least": theirs["least"] / mine["least"],
        "memory_ratio": mine["grown_mb"] / theirs["grown_mb"],
        "rounds": len(answers["ours"]) - 1 - WARM_UP,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, metavar="FOLDER")
    parser.add_argument("--runner", required=True, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="two rounds; writes nothing")
    parser.add_argument("--serve", choices=["ours", "official"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.peer, options.runner)
        return
    row = measure(options.peer, options.runner, 2 if options.quick else 15)
    print(json.dumps(row, indent=1))
    if not options.quick:
        results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**results, "official": row}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
