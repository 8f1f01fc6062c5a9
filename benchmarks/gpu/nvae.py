"""NVAE on a GPU: bf16 beside fp32, where the time of a step goes, compilation, and nats against seconds.

Prediction: a step of the `mnist` preset is bound by the launches of its many small kernels: about 4,000 of 6 us each
way, so 50 ms without compilation, and a third of that with it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report
from torch.profiler import ProfilerActivity, profile

from shoestring.nvae import Images, NVAEConfig, NVAESettings, preset, read_images, train
from shoestring.nvae.training.settings import recipe
from shoestring.nvae.training.train import Trained
from shoestring.ui import UI

STEPS, LAUNCHES = 50, 0.05


def run(report: Report, data: Path) -> None:
    """Runs the four questions, shortest first."""
    mnist = data / "mnist"
    name = "mnist" if mnist.is_dir() and not report.small else "digits"
    images = read_images(str(mnist) if name == "mnist" else "digits")
    config, settings = preset(name), recipe(name)
    report.figure("preset", name)
    if not report.small:
        report.check("MNIST is there", name == "mnist", f"{mnist}: trained on {name}")
    small = {"steps": 4, "batch_size": 8} if report.small else {"steps": STEPS}
    slow = settings.learning_rate / 10  # so few steps have no room for a warm-up
    settings = replace(settings, device=report.device.type, evaluations=1, **small)
    with tempfile.TemporaryDirectory() as folder:
        losses = {}
        for precision in ("fp32",) if report.small else ("fp32", "bf16"):
            own = replace(settings, precision=precision, log_every=1, learning_rate=slow)
            done, losses[precision] = steps(images, config, own, Path(folder, precision))
            spent = done.seconds / settings.steps
            report.figure(f"{precision}: seconds a step", spent, None if report.small else LAUNCHES)
            report.check(
                f"{precision}: no step is skipped", done.skipped == 0, f"{done.skipped} of {settings.steps}"
            )
        if len(losses) == 2:
            apart = np.abs(np.subtract(losses["bf16"][-5:], losses["fp32"][-5:])).mean() / abs(
                np.mean(losses["fp32"][-5:])
            )
            report.check("bf16 loses nothing", apart < 0.05, f"last losses differ by {apart:.2%}")
        report.figure("top ten", top_ten(images, config, replace(settings, steps=3), Path(folder, "profile")))
        if not report.small and report.left > 60:
            done, _ = steps(images, config, replace(settings, compile=True), Path(folder, "compiled"))
            report.figure("compiled: seconds a step, compilation included", done.seconds / settings.steps)
        budget = min(180.0, report.left - 15) / 60
        if budget > 0.3 or report.small:
            nats(report, images, config, settings, Path(folder, "run"), budget)


def steps(
    images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path
) -> tuple[Trained, list[float]]:
    """Trains and returns what came of it, and the loss of every step."""
    done = train(images, config, settings, folder, ui=UI(quiet=True))
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return done, [each["loss"] for each in log if "loss" in each]


def top_ten(images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path) -> list[list[object]]:
    """Returns the operations that take most: name, ms, calls."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=kinds) as seen:
        train(images, config, settings, folder, ui=UI(quiet=True))

    def spent(each: Any) -> float:
        return getattr(each, "self_device_time_total", 0) or each.self_cpu_time_total

    ranked = sorted(seen.key_averages(), key=spent, reverse=True)[:10]
    return [[each.key[:60], round(spent(each) / 1e3, 3), each.count] for each in ranked]


def nats(
    report: Report, images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path, minutes: float
) -> None:  # fmt: skip
    """Trains for the time that is left, and evaluates on held-out images."""
    if report.small:
        done = train(images, config, settings, folder, ui=UI(quiet=True))
    else:
        settings = replace(settings, precision="bf16", evaluations=6)
        done = train(images, config, settings, folder, minutes=minutes, ui=UI(quiet=True))
    report.figure("trained for seconds", done.seconds)
    report.figure("held-out nats (ELBO)", -done.evaluation.elbo)


if __name__ == "__main__":
    start(run)
