"""Binarised MNIST in 15 minutes of two cores, beside a plain VAE -> `mnist` in benchmarks/results/nvae.json.

    python benchmarks/nvae_mnist.py DIR [--only ours|official|plain] [--keep FOLDER]     DIR: MNIST's four idx files

- The budget is CPU time: 30 minutes of one thread are the 15 minutes of two cores, and come out alike on a busy
  machine. The step count is fixed beforehand, by timing a few steps. Wall time stands beside it.
- Our CPU seconds include the evaluations on the way; the plain VAE's do not.
- The peer: 784-512-512-z40 and back, ReLU, Adam at 1e-3, the same images in the same order, 100 a step.
- The official form: its cells, full resolution, one reduction of size per scale; 4 and 2 groups of 16 channels, batch
  32, by our code, whose step takes less time than the official one's (benchmarks/nvae_peer.py).
- With --keep an interrupted run of ours goes on. Each part is written to the results as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from shoestring import plot
from shoestring.nvae import evaluate, preset, read_images, readjusted, train
from shoestring.nvae.batches import indices, prepared, tensor
from shoestring.nvae.images import Images
from shoestring.nvae.inference import pictures
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import load
from shoestring.nvae.training.settings import NVAESettings, recipe
from shoestring.nvae.training.step import Stepper
from shoestring.train import checkpoint
from shoestring.ui import UI

RESULTS = Path(__file__).parent / "results" / "nvae.json"
DOCS = Path(__file__).parents[1] / "docs"
CONFIG = preset("mnist-cpu")
OFFICIAL = preset("mnist", groups=(4, 2), encoder_channels=16, decoder_channels=16)
WARM, TIMED = 3, 15
MARGIN = 0.9  # of the budget; evaluations take the rest
EVALUATIONS = 8


class PlainVAE(nn.Module):
    """784-512-512-z40 and back, ReLU: what people write first."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 80)
        )
        self.down = nn.Sequential(
            nn.Linear(40, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 784)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the negative ELBO of every image in nats."""
        mean, log_variance = self.up(x.flatten(1)).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        pixels = functional.binary_cross_entropy_with_logits(self.down(z), x.flatten(1), reduction="none")
        return pixels.sum(1) + kl


def plain(images: Images, test: Images, budget: float) -> dict[str, object]:
    """Trains a plain VAE; its curve is (images seen, CPU seconds of training, test nats)."""
    torch.manual_seed(0)
    model, curve, spent, seen, due, start = PlainVAE(), [], 0.0, 0, 5.0, time.monotonic()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    x_test = prepared(tensor(test, indices(0, 0, len(test), len(test))), CONFIG)
    while spent < budget:
        before = time.process_time()
        x = prepared(tensor(images, indices(0, seen, seen + 100, len(images))), CONFIG)
        optimiser.zero_grad()
        model(x).mean().backward()
        optimiser.step()
        seen, spent = seen + 100, spent + time.process_time() - before
        if spent > due or spent >= budget:
            due *= 1.25
            with torch.no_grad():
                curve.append((seen, round(spent, 1), model(x_test).mean().item()))
    return {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "test_curve": curve,
        "negative_elbo": curve[-1][2],
        "least_negative_elbo": min(point[2] for point in curve),
        "images": seen,
        "cpu_seconds": spent,
        "seconds": time.monotonic() - start,
    }


def ours(images: Images, test: Images, budget: float, folder: Path) -> dict[str, object]:
    """Trains the preset, weighs its bound by importance and draws."""
    found = trained(images, test, budget, folder, CONFIG, 100)
    model = load(folder)
    weighted = evaluate(model, test.part(0, 500), samples=100)
    torch.manual_seed(0)
    pictures.write(DOCS / "nvae-mnist.png", readjusted(model, 0.8).sample(40, 0.8), 10)
    return {**found, "importance_weighted_100_of_500": -(weighted.importance_weighted or weighted.elbo)}


def trained(
    images: Images, test: Images, budget: float, folder: Path, config: NVAEConfig, batch: int
) -> dict[str, object]:
    """Trains a model; its curve is like that of `plain`, on 1,000 test images, the last point on all."""
    run = replace(recipe("mnist-cpu"), device="cpu", evaluations=EVALUATIONS, batch_size=batch)
    run = replace(run, steps=steps_within(budget, images, config, run, folder))
    done = train(images, config, run, folder, test=test, overwrite=_finished(folder), ui=UI())
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return {
        "weights": done.parameters,
        "test_curve": [
            (line["images"], line["cpu_seconds"], line["eval_loss"]) for line in log if "eval_loss" in line
        ],
        "negative_elbo": -done.evaluation.elbo,
        "steps": run.steps,
        "images": log[-1]["images"],
        "cpu_seconds": log[-1]["cpu_seconds"],
        "seconds": done.seconds,
        "skipped": done.skipped,
        "rollbacks": done.rollbacks,
    }


def steps_within(budget: float, images: Images, config: NVAEConfig, run: NVAESettings, folder: Path) -> int:
    """Returns how many steps the CPU time allows; a resumed run keeps its number."""
    if not _finished(folder) and (interrupted := checkpoint.all_of(folder / "checkpoints")):
        return checkpoint.load(interrupted[-1])["identity"]["steps"]
    trial, seconds = Stepper(images, config, replace(run, steps=10**6)), []
    for step in range(WARM + TIMED):
        start = time.process_time()
        trial.take(step)
        seconds.append(time.process_time() - start)
    return round(MARGIN * budget / statistics.median(seconds[WARM:]))


def _finished(folder: Path) -> bool:
    return (folder / "config.json").exists()


def merged(name: str, part: dict[str, object], budget: float) -> dict[str, object]:
    """Writes one part into the results and returns all that is there about MNIST."""
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    about = {
        "budget_cpu_seconds": budget,
        "threads": torch.get_num_threads(),
        "load_at_end": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }
    results["mnist"] = {**results.get("mnist", {}), name: {**about, **part}}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return results["mnist"]


def draw(measured: dict) -> None:
    """Draws both curves over images seen and over CPU seconds, for the guide."""
    names = {"ours": "NVAE (mnist-cpu)", "official": "NVAE, official form", "plain": "plain VAE"}
    for place, axis in enumerate(("images", "seconds")):
        lines = {
            label: [(point[place], point[2]) for point in measured[name]["test_curve"]]
            for name, label in names.items()
            if name in measured
        }
        x = "images seen" if axis == "images" else "CPU seconds of training"
        plot.nats(lines, DOCS / f"nvae-{axis}.png", title="Binarised MNIST, test", x=x, log_x=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mnist", metavar="DIR", help="folder of MNIST's four idx files")
    parser.add_argument(
        "--only",
        choices=("ours", "official", "plain"),
        help="train one of the three; the others' figures stay",
    )
    parser.add_argument("--cpu-minutes", type=float, default=30, help="of each training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER", help="of our run; given again, it goes on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, test = read_images(options.mnist), read_images(options.mnist, test=True)
    budget, measured = options.cpu_minutes * 60, {}
    with tempfile.TemporaryDirectory() as unused:
        folder = Path(options.keep or unused)
        ways: dict[str, Callable[[], dict[str, object]]] = {
            "ours": lambda: ours(images, test, budget, folder / "m"),
            "official": lambda: trained(images, test, budget, folder / "official", OFFICIAL, 32),
            "plain": lambda: plain(images, test, budget),
        }
        for name in [options.only] if options.only else ways:
            measured = merged(name, ways[name](), budget)
    print(json.dumps(measured, indent=1))
    draw(measured)


if __name__ == "__main__":
    main()
