"""NVAE on a GPU: bf16 beside fp32, where the time of a step goes, compilation, and nats against seconds.

Prediction: a step of the `mnist` preset is bound by the launches of its many small kernels: about 4,000 of 6 us each
way, so 50 ms without compilation, and a third of that with it; the device computes in a third of the time. Three
minutes are some 3,000 steps, which on a CPU's preset would be 90 nats; the larger model learns more of each.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from shoestring.nvae import Images, NVAEConfig, NVAESettings, preset, read_images, train
from shoestring.nvae.training.settings import recipe
from shoestring.nvae.training.step import Stepper
from shoestring.nvae.training.train import Trained
from shoestring.ui import UI

STEPS, STARTING, LAUNCHES = 50, 10, 0.05  # the first steps choose kernels and are not timed
WARM, PROFILED = 5, 3
CPU_RESULTS = Path(__file__).parents[1] / "results" / "nvae.json"


def run(report: Report, data: Path) -> None:
    """Runs the four questions; compiling comes last, since nats are worth more."""
    mnist = data / "mnist"
    name = "mnist" if mnist.is_dir() and not report.small else "digits"
    source = str(mnist) if name == "mnist" else "digits"
    images, test = read_images(source), read_images(source, test=True) if name == "mnist" else None
    config, settings = preset(name), recipe(name)
    report.figure("preset", name)
    if not report.small:
        report.check("MNIST is there", name == "mnist", f"{mnist}: trained on {name}")
    settings = replace(settings, device=report.device.type, evaluations=1)
    small = {"steps": 4, "batch_size": 8} if report.small else {"steps": STEPS}
    slow = settings.learning_rate / 10  # so few steps have no room for a warm-up
    few = replace(settings, **small, log_every=1, save_every=STEPS, learning_rate=slow)
    with tempfile.TemporaryDirectory() as folder:
        spent = precisions(report, images, config, few, Path(folder))
        profiled(report, images, config, few, spent)
        budget = min(180.0, report.left - 15) / 60
        if budget > 0.3 or report.small:
            nats(report, images, test, config, few if report.small else settings, Path(folder, "run"), budget)
        if not report.small and report.left > 60:
            log = steps(images, config, replace(few, compile=True), Path(folder, "compiled"))[1]
            report.figure("compiled: seconds a step", seconds_a_step(log), LAUNCHES / 3)
            report.figure("compiled: seconds until the first is done", log[0]["seconds"])


def precisions(
    report: Report, images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path
) -> float:
    """Trains in fp32 and, on a GPU, in bf16, compares them, and returns the seconds of the last one's step."""
    last, spent = {}, 0.0
    for precision in ("fp32",) if report.small else ("fp32", "bf16"):
        done, log = steps(images, config, replace(settings, precision=precision), folder / precision)
        spent = seconds_a_step(log)
        last[precision] = [line["loss"] for line in log if "loss" in line][-5:]
        report.figure(f"{precision}: seconds a step", spent, None if report.small else LAUNCHES)
        report.check(
            f"{precision}: no step is skipped", done.skipped == 0, f"{done.skipped} of {settings.steps}"
        )
    if len(last) == 2:
        apart = np.abs(np.subtract(last["bf16"], last["fp32"])).mean() / abs(np.mean(last["fp32"]))
        report.check("bf16 loses nothing", apart < 0.05, f"last losses differ by {apart:.2%}")
    return spent


def steps(
    images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path
) -> tuple[Trained, list[dict[str, float]]]:
    """Trains and returns what came of it, and a line of the log for each step."""
    done = train(images, config, settings, folder, ui=UI(quiet=True))
    return done, [line for line in logged(folder) if "eval_loss" not in line]


def logged(folder: Path) -> list[dict[str, float]]:
    """Returns the lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def seconds_a_step(log: list[dict[str, float]]) -> float:
    """Returns the mean over the steps after the first."""
    first = min(STARTING, len(log) // 2)
    return (log[-1]["seconds"] - log[first - 1]["seconds"]) / (len(log) - first)


def profiled(
    report: Report, images: Images, config: NVAEConfig, settings: NVAESettings, seconds: float
) -> None:
    """Reports the operations of a training step, and nothing around it, that take most of the device's time."""
    stepper = Stepper(images, config, replace(settings, precision="fp32" if report.small else "bf16"))
    warm = 1 if report.small else WARM
    for step in range(warm):
        stepper.take(step)
    on_gpu = report.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        for step in range(warm, warm + PROFILED):
            stepper.take(step)

    def spent(each: Any) -> float:  # microseconds; of a GPU's kernels, those that the operation has launched
        return each.self_device_time_total if on_gpu else each.self_cpu_time_total

    operations = [each for each in seen.key_averages() if each.device_type == DeviceType.CPU]
    ranked = sorted(operations, key=spent, reverse=True)[:10]
    rows = [[each.key[:60], round(spent(each) / 1e3 / PROFILED, 3), each.count / PROFILED] for each in ranked]
    report.figure("top ten: operation, ms a step, calls a step", rows)
    busy = sum(map(spent, operations)) / 1e6 / PROFILED / seconds
    report.figure("part of a step in which the device computes", busy, 0.3 if on_gpu else None)


def nats(
    report: Report, images: Images, test: Images | None, config: NVAEConfig, settings: NVAESettings, folder: Path,
    minutes: float,
) -> None:  # fmt: skip
    """Trains for the time that is left, and reports bounds by seconds, beside those of the CPU's preset."""
    if not report.small:
        settings = replace(settings, precision="bf16", evaluations=6)
    done = train(
        images, config, settings, folder, test=test, minutes=None if report.small else minutes, ui=UI(quiet=True)
    )  # fmt: skip
    report.figure("trained for seconds", done.seconds)
    report.figure("held-out nats (ELBO)", -done.evaluation.elbo)
    curve = [[line["seconds"], line["eval_loss"]] for line in logged(folder) if "eval_loss" in line]
    report.figure("held-out nats by seconds", curve)
    if test is not None and CPU_RESULTS.exists():
        beside = json.loads(CPU_RESULTS.read_text("utf-8"))["mnist"]["ours"]["test_curve"]
        report.figure("mnist-cpu on one thread of a CPU, by seconds", [each[1:] for each in beside])


if __name__ == "__main__":
    start(run)
