"""A run is what its settings say: interrupted, resumed, or hit by steps that would break it.

Run as a script, this file trains once: `python -m tests.nvae.training.test_training OUTPUT STEPS [kill at step]`.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from shoestring._errors import InputError, OptionError, OutputError, TrainError
from shoestring.nvae import NVAE, Images, evaluate, train
from shoestring.nvae.images import fingerprints, held_out, remembered, unseen
from shoestring.nvae.training.run import Run
from shoestring.nvae.training.settings import continued
from shoestring.nvae.training.step import Stepper

from ..conftest import some_images, tiny_config
from .runs import QUIET, settings

# -- runs ----------------------------------------------------------------------------------------------------------


def weights(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


def test_it_learns_and_leaves_a_model(tmp_path):
    done = train(some_images(400), tiny_config(), settings(steps=50), tmp_path / "m", ui=QUIET)
    first = json.loads((tmp_path / "m" / "log.jsonl").read_text().splitlines()[0])["loss"]
    assert -done.evaluation.elbo < 0.9 * first
    assert NVAE.from_pretrained(tmp_path / "m").sample(2).shape == (2, 1, 8, 8)
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "log.jsonl", "loss.png"} <= names


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, bars, monkeypatch):
    more = {"flip": True, "micro_batch": 8}
    train(bars, tiny_config(), settings(**more), tmp_path / "whole", ui=QUIET)
    original = Run.step
    for stop in (5, 9):  # Ctrl-C during a step: it ends, is saved, and the run stops

        def step(self, k, stop=stop):
            original(self, k)
            self.interrupted = self.interrupted or k == stop

        monkeypatch.setattr(Run, "step", step)
        with pytest.raises(KeyboardInterrupt, match=f"stopped at step {stop + 1} and saved"):
            train(bars, tiny_config(), settings(**more), tmp_path / "parts", ui=QUIET)
    monkeypatch.setattr(Run, "step", original)
    train(bars, tiny_config(), settings(**more), tmp_path / "parts", ui=QUIET)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    logs = [
        [
            {**json.loads(line), "seconds": 0, "cpu_seconds": 0}
            for line in (tmp_path / name / "log.jsonl").open()
        ]
        for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path):
    def run(name, *more):
        command = [
            sys.executable,
            "-m",
            "tests.nvae.training.test_training",
            str(tmp_path / name),
            "12",
            *more,
        ]
        return subprocess.run(
            command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
        )

    assert run("whole").returncode == 0
    assert run("parts", "6").returncode == -9
    assert not (tmp_path / "parts" / "config.json").exists()
    done = run("parts")
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_ctrl_c_is_ours_only_while_training(tmp_path, bars, monkeypatch):
    before, handlers = signal.getsignal(signal.SIGINT), []
    original = Run.step

    def step(self, k):
        handlers.append(signal.getsignal(signal.SIGINT))
        if k == 2:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, k)

    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 3 and saved"):
        train(bars, tiny_config(), settings(), tmp_path / "m", ui=QUIET)
    assert before not in handlers
    assert signal.getsignal(signal.SIGINT) is before
    foreign = signal.signal(signal.SIGINT, signal.SIG_IGN)  # somebody else's stays
    try:
        train(bars, tiny_config(), settings(), tmp_path / "m", ui=QUIET)
        assert set(handlers[3:]) == {signal.SIG_IGN}
    finally:
        signal.signal(signal.SIGINT, foreign)


def test_recomputing_and_keeping_are_the_same_run(tmp_path, bars):
    for name, recompute in (("kept", False), ("again", True)):
        config = tiny_config(decoder_cell="depthwise", blocks=1, block_cells=1, groups=(1, 1))
        train(bars, config, settings(steps=4, recompute=recompute), tmp_path / name, ui=QUIET)
    assert weights(tmp_path / "kept") == weights(tmp_path / "again")


@pytest.mark.slow
def test_compiled_cells_compute_the_same():
    """In a process of its own: the checks of shapes that tests put around functions cannot be compiled."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.nvae.training.test_training", "compile"],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def compare_compiled() -> None:
    found = []
    for compiled in (False, True):
        stepper = Stepper(some_images(), tiny_config(), settings(compile=compiled))
        stepper.state.model.train()
        loss = stepper.gradients(0)
        found.append([loss.total, *(parameter.grad for parameter in stepper.state.parameters)])
        found[-1] += [buffer.float() for buffer in stepper.state.model.buffers()]
        assert math.isfinite(evaluate(stepper.averaged(), some_images()).elbo)
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("cell", ["dense", "depthwise"])
def test_bf16_learns_too(tmp_path, bars, cell):
    run = settings(steps=4, precision="bf16")
    done = train(bars, tiny_config(decoder_cell=cell, flows=1), run, tmp_path / "m", ui=QUIET)
    assert (done.skipped, math.isfinite(done.evaluation.elbo)) == (0, True)


def test_what_does_not_fit_is_refused(tmp_path, bars):
    with pytest.raises(InputError, match="images of 9x9 with 1 channels, this model is for 8x8"):
        train(some_images(size=9), tiny_config(), settings(), tmp_path / "m", ui=QUIET)
    with pytest.raises(
        InputError, match="images to train on, fewer than a batch of 16; give more, or --batch-size"
    ):
        train(some_images(10), tiny_config(), settings(), tmp_path / "m", ui=QUIET)
    train(bars, tiny_config(), settings(steps=2), tmp_path / "m", ui=QUIET)
    with pytest.raises(OutputError, match="holds a finished model"):
        train(bars, tiny_config(), settings(), tmp_path / "m", ui=QUIET)
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(TrainError, match="has steps 2, this one 12; to go on give steps 2"):
        train(bars, tiny_config(), settings(), tmp_path / "m", ui=QUIET)


def test_a_run_that_cannot_be_is_refused_before_its_first_step(tmp_path, bars):
    narrow = tiny_config(image_size=4, groups=(1, 1, 1))
    with pytest.raises(
        OptionError, match="1 image per pass and latents of 1x1: batch norm needs at least 2 numbers"
    ):
        train(some_images(size=4), narrow, settings(batch_size=4, micro_batch=1), tmp_path / "m", ui=QUIET)
    for minutes in (0, -1.0, math.nan, math.inf):
        with pytest.raises(OptionError, match="must be above 0"):
            train(bars, tiny_config(), settings(), tmp_path / "m", minutes=minutes, ui=QUIET)
    with pytest.raises(InputError, match="images of 9x9"):
        train(bars, tiny_config(), settings(), tmp_path / "m", test=some_images(size=9), ui=QUIET)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot save its checkpoints"):
        train(bars, tiny_config(), settings(), tmp_path / "file", ui=QUIET)
    train(bars, tiny_config(), settings(steps=2, micro_batch=8), tmp_path / "m", ui=QUIET)
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(TrainError, match="has images per pass 8, this one 16"):  # batch norm would see others
        train(bars, tiny_config(), settings(steps=2), tmp_path / "m", ui=QUIET)


def test_going_on_does_not_undo_what_was_learned(tmp_path, bars):
    """Adamax without moments moves every weight by the whole rate: a short run must survive that."""
    fresh = settings(steps=60, learning_rate=1e-2)
    train(bars, tiny_config(), fresh, tmp_path / "m", test=bars, ui=QUIET)
    on = continued(None, steps=8, batch_size=fresh.batch_size, device="cpu")
    done = train(bars, tiny_config(), on, tmp_path / "on", test=bars, start=tmp_path / "m", ui=QUIET)
    assert done.before is not None
    assert -done.evaluation.elbo < 1.03 * done.before


def test_what_was_held_out_is_found_again_and_stays_held_out(tmp_path):
    generator = np.random.default_rng(0)
    images = Images(generator.integers(0, 256, (200, 1, 8, 8), dtype=np.uint8), "noise")
    train(images, tiny_config(), settings(steps=2), tmp_path / "m", ui=QUIET)
    known = remembered(tmp_path / "m")
    shuffled = images.rows(generator.permutation(200))
    out = unseen(shuffled, known)
    assert len(out) == 20
    assert {*fingerprints(out)} == known
    training, test = held_out(shuffled, 5, known)
    assert {*fingerprints(test)} == known
    assert not {*fingerprints(training)} & known
    other = settings(steps=2, seed=5)
    train(shuffled, tiny_config(), other, tmp_path / "on", start=tmp_path / "m", ui=QUIET)
    assert remembered(tmp_path / "on") == known


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path):
    """The limit on a file's size stands for the disk's: safetensors meets it in Rust."""
    command = [sys.executable, "-m", "tests.nvae.training.test_training", str(tmp_path / "m"), "12"]
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *command]
    run = partial(subprocess.run, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    full = run(limited)
    assert "OutputError" in full.stderr
    assert re.search(
        r"cannot save step \d+: File too large; .*make room and run the same command", full.stderr
    )
    assert run(command).returncode == 0
    assert NVAE.from_pretrained(tmp_path / "m").sample(2).shape == (2, 1, 8, 8)


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, bars, monkeypatch):
    """Everything of it is flushed, then it is renamed, then the folder is flushed."""
    events = []
    flush, rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda handle: (events.append(os.readlink(f"/proc/self/fd/{handle}")), flush(handle))
    )
    monkeypatch.setattr(
        Path, "rename", lambda self, to: (events.append(("rename", str(to))), rename(self, to))[1]
    )
    run = Run(Stepper(bars, tiny_config(), settings()), bars, tmp_path, True, QUIET)
    run.begin()
    place = events.index(("rename", str(tmp_path / "checkpoints" / "checkpoint-0")))
    partial_ = tmp_path / "checkpoints" / ".partial" / "checkpoint-0"
    assert {str(partial_ / "state.safetensors"), str(partial_ / "run.json"), str(partial_)} <= {
        *events[:place]
    }
    assert str(tmp_path / "checkpoints") in events[place:]


@pytest.mark.slow
def test_two_processes_share_the_batch_and_agree(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517", "-m",
               "tests.nvae.training.test_training", str(tmp_path / "m"), "6"]  # fmt: skip
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("m.*.json"))]
    assert len(ranks) == 2
    assert ranks[0] == ranks[1]  # the same model on both
    shared = [path.read_text() for path in sorted(tmp_path.glob("m.alone.*.txt"))]
    alone = evaluate(NVAE.from_pretrained(tmp_path / "m"), some_images().part(0, 7), samples=3, seed=1)
    assert shared[0] == shared[1]  # each has measured its share; one process finds the same
    found = re.search(r"elbo=(-?[\d.]+)", shared[0])
    assert float(found[1]) == pytest.approx(alone.elbo, abs=1e-4)
    log = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").open()]
    assert [line["step"] for line in log if "loss" in line] == [3, 6]
    assert [line["skipped"] for line in log if "skipped" in line] == [1, 1]


def main(output: str, steps: str, kill: str | None = None) -> None:
    original, batch = Run.step, Stepper.batch
    if os.environ.get("RANK") == "1":  # one process's batch is spoiled: the step is skipped on both
        Stepper.batch = lambda self, step: batch(self, step) * (math.nan if step == 2 else 1.0)

    def step(self, k):
        if kill is not None and k == int(kill):
            os.kill(os.getpid(), 9)
        original(self, k)

    Run.step = step
    images = some_images()
    done = train(Images(images.pixels, "bars"), tiny_config(), settings(steps=int(steps)), output, ui=QUIET)
    if "RANK" in os.environ:
        alone = evaluate(NVAE.from_pretrained(output), images.part(0, 7), samples=3, seed=1)
        Path(f"{output}.alone.{os.environ['RANK']}.txt").write_text(repr(alone))
        Path(f"{output}.{os.environ['RANK']}.json").write_text(json.dumps(done.evaluation.elbo))


if __name__ == "__main__":
    if sys.argv[1:] == ["compile"]:
        compare_compiled()
    else:
        main(*sys.argv[1:])
