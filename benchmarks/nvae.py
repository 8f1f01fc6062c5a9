"""Claims of `shoestring nvae`, measured again -> benchmarks/results/nvae.json.

    python benchmarks/nvae.py [--quick] [--only step|importance|learning_rates]

The training step and its memory; importance weighting; high learning rates. MNIST is measured by nvae_mnist.py.

- The training step is measured against the same mathematics written plainly: modules in NCHW that keep what autograd
  keeps, four power iterations layer by layer from fresh vectors, Adamax without foreach. Same configuration, same
  number of weights. The published code, which is for research only and starts on CUDA alone, is run beside ours by
  nvae_peer.py, if there is a checkout of it; its figures stay in the results.
- Both take turns in one process; CPU seconds of one thread, medians. Memory is what autograd keeps for the backward
  pass: bytes of distinct tensors, counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from shoestring.nvae import NVAEConfig, preset, read_images, train
from shoestring.nvae.inference.evaluation import importance_weighted
from shoestring.nvae.model import cells as cells_module
from shoestring.nvae.model.layers import bn_conv, effective_weight
from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.model.towers import Cells
from shoestring.nvae.training.objective import batch_norm_scales, objective
from shoestring.nvae.training.settings import NVAESettings, recipe
from shoestring.nvae.training.step import RunState
from shoestring.train.memory import keep_freed
from shoestring.ui import UI

RESULTS = Path(__file__).parent / "results" / "nvae.json"
# The published architecture at 2.23 M weights: 32 x 32 pixels, every kind of cell, two scales.
SMALL = NVAEConfig(
    image_size=28, padding=2, encoder_channels=16, decoder_channels=16, groups=(4, 2), block_cells=2, encoder_cells=1,
    decoder_cells=1,
)  # fmt: skip
BATCH = 32
QUIET = UI(quiet=True)


# -- the training step -----------------------------------------------------------------------------------


class Ours:
    """Our step: lean layers, channels_last, stacked regulariser with persistent vectors, foreach Adamax.

    Freed memory is kept, as `train` does it; in `steps` that helps all ways alike.
    """

    def __init__(self, recompute: bool = False) -> None:
        keep_freed()
        torch.manual_seed(0)
        self.model = NVAE(SMALL).to(memory_format=torch.channels_last).train()
        for module in self.model.modules():
            if isinstance(module, Cells):
                module.recompute = recompute
        self.state = RunState(self.model, NVAESettings(steps=1000, batch_size=BATCH))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Returns what a step makes smaller."""
        loss = objective(self.model(x), SMALL, 0.5, True).total
        return loss + 1e-2 * (self.state.spectral() + batch_norm_scales(self.model))

    def __call__(self, x: torch.Tensor) -> None:
        """Takes one step."""
        self.state.optimiser.zero_grad(set_to_none=True)
        self.loss(x).backward()
        self.state.apply(1, 1.0)


class Naive:
    """The same written plainly."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = NVAE(SMALL).train()
        self.optimiser = torch.optim.Adamax(
            self.model.parameters(), lr=1e-2, eps=1e-3, weight_decay=3e-4, foreach=False
        )

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Returns what a step makes smaller."""
        cells_module.bn_conv = plain_bn_conv
        try:
            loss = objective(self.model(x), SMALL, 0.5, True).total
        finally:
            cells_module.bn_conv = bn_conv
        layers = [layer for layer in self.model.modules() if isinstance(layer, nn.Conv2d)]
        norms = [norm for norm in self.model.modules() if isinstance(norm, nn.BatchNorm2d)]
        spectral = sum(plain_spectral_norm(effective_weight(layer).flatten(1)) for layer in layers)
        return loss + 1e-2 * (spectral + sum(norm.weight.abs().max() for norm in norms))

    def __call__(self, x: torch.Tensor) -> None:
        """Takes one step."""
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(x).backward()
        self.optimiser.step()


def plain_bn_conv(x, norm, layer, *, swish=True):
    y = norm(x)
    return layer(functional.silu(y) if swish else y)


def plain_spectral_norm(weight: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        right = torch.randn(weight.shape[1])
        for _ in range(4):
            left = functional.normalize(weight @ right, dim=0)
            right = functional.normalize(left @ weight, dim=0)
    return left @ weight @ right


def kept_bytes(forward: Callable, x: torch.Tensor) -> int:
    """Returns how much a forward pass keeps for the backward pass, weights left out."""
    kept: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        if not (isinstance(value, nn.Parameter) or (value.is_leaf and value.requires_grad)):
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        alive.append(value)
        return value

    alive: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        forward(x)
    return sum(kept.values())


def steps(rounds: int) -> dict[str, object]:
    x = (torch.rand(BATCH, 1, 28, 28) < 0.3).float()
    ways = {"ours": Ours(), "naive": Naive(), "recompute": Ours(recompute=True)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way(x)
            if index:  # the first warms up
                seconds[name].append(time.process_time() - start)
    found = {
        name: {"cpu_seconds": statistics.median(values), "least": min(values)}
        for name, values in seconds.items()
    }
    memory = {name: kept_bytes(way.loss, x) / 1e6 for name, way in ways.items()}
    weights = {name: sum(p.numel() for p in way.model.parameters()) for name, way in ways.items()}
    return {
        **found,
        "weights": weights,
        "times_faster": found["naive"]["cpu_seconds"] / found["ours"]["cpu_seconds"],
        "kept_mb": memory,
        "memory_ratio": memory["ours"] / memory["naive"],
    }


# -- importance weighting --------------------------------------------------------------------------------


@torch.no_grad()
def importance(samples: int) -> dict[str, float]:
    """One image under K samples: features once and side by side, and one after the other with the encoder each time."""
    torch.manual_seed(0)
    model = NVAE(SMALL).to(memory_format=torch.channels_last).eval()
    x = (torch.rand(1, 1, 28, 28) < 0.3).float()

    def again() -> torch.Tensor:
        weights = torch.stack([model(x).log_weight for _ in range(samples)], 1)
        return torch.logsumexp(weights.double(), 1) - math.log(samples)

    seconds = {}
    for name, run in (("ours", lambda: importance_weighted(model, x, samples)), ("again", again)):
        start = time.process_time()
        seconds[name] = (run().item(), time.process_time() - start)
    batched = _encoder_again(model, x, samples)
    return {
        "samples": samples,
        "ours_seconds": seconds["ours"][1],
        "one_by_one_seconds": seconds["again"][1],
        "batched_encoder_again_seconds": batched,
        "times_faster": seconds["again"][1] / seconds["ours"][1],
        "times_faster_than_batched": batched / seconds["ours"][1],
    }


@torch.no_grad()
def _encoder_again(model: NVAE, x: torch.Tensor, samples: int) -> float:
    start = time.process_time()
    for done in range(0, samples, 250):
        model(x.repeat(min(250, samples - done), 1, 1, 1))
    return time.process_time() - start


# -- high learning rates ---------------------------------------------------------------------------------


def rates(steps: int) -> list[dict[str, object]]:
    """The digits preset at 1, 3 and 10 times its learning rate."""
    found = []
    for times in (1, 3, 10):
        with tempfile.TemporaryDirectory() as folder:
            run = recipe("digits", steps=steps, learning_rate=1e-2 * times, device="cpu")
            done = train(read_images("digits"), preset("digits"), run, Path(folder, "m"), ui=QUIET)
            found.append(
                {
                    "times": times,
                    "negative_elbo": -done.evaluation.elbo,
                    "finite": math.isfinite(done.evaluation.elbo),
                    "skipped": done.skipped,
                    "rollbacks": done.rollbacks,
                }
            )
    return found


PARTS = {
    "step": lambda quick: steps(2 if quick else 10),
    "importance": lambda quick: importance(50 if quick else 1000),
    "learning_rates": lambda quick: rates(20 if quick else 150),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rounds, to try the script out; writes nothing"
    )
    parser.add_argument("--only", choices=PARTS, help="measure one part; the others' figures stay")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    results["load"] = os.getloadavg()[0]
    torch.set_num_threads(1)
    for name in [options.only] if options.only else PARTS:
        results[name] = PARTS[name](options.quick)
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    if not options.quick:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
