"""A run that goes astray: bad steps leave no trace, it rolls back and says so, and nothing broken is saved."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from shoestring._errors import TrainError
from shoestring.nvae import NVAE, preset, read_images, train
from shoestring.nvae.training.run import Run
from shoestring.nvae.training.settings import recipe
from shoestring.nvae.training.step import Stepper

from ..conftest import tiny_config
from .runs import QUIET, Listener, settings


def test_steps_that_are_not_finite_leave_no_trace(tmp_path, bars, monkeypatch):
    """One poisoned batch: neither weights, statistics, vectors nor moments know of it."""
    run = Run(Stepper(bars, tiny_config(), settings()), bars, tmp_path, True, QUIET)
    run.begin()
    run.step(0)
    before = {name: value.clone() for name, value in run.state.tensors().items()}
    batch = Stepper.batch
    monkeypatch.setattr(Stepper, "batch", lambda self, step: batch(self, step) * math.nan)
    run.step(1)
    assert run.state.guard.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in run.state.tensors().items())
    assert all(torch.isfinite(value).all() for value in before.values())


def test_a_run_that_goes_astray_rolls_back_says_so_and_ends_well(tmp_path, bars, monkeypatch):
    batch = Stepper.batch
    bad = range(5, 8)
    monkeypatch.setattr(
        Stepper, "batch", lambda self, step: batch(self, step) * (math.nan if step in bad else 1.0)
    )
    heard = Listener()
    done = train(bars, tiny_config(), settings(patience=3), tmp_path / "m", ui=heard)
    assert (done.skipped, done.rollbacks) == (3, 1)
    assert any("rolled back to the weights of step 4; learning rate x 0.5" in line for line in heard.lines)
    assert all(
        torch.isfinite(value).all() for value in load_file(tmp_path / "m" / "model.safetensors").values()
    )
    assert math.isfinite(done.evaluation.elbo)


def test_a_hopeless_run_stops_and_says_what_to_do(tmp_path, bars, monkeypatch):
    batch = Stepper.batch
    monkeypatch.setattr(Stepper, "batch", lambda self, step: batch(self, step) * math.nan)
    with pytest.raises(TrainError, match=r"rolled back 12 times .* learning rate below 0.01"):
        train(bars, tiny_config(), settings(steps=60, patience=1), tmp_path / "m", ui=QUIET)


def test_a_checkpoint_that_led_astray_is_passed_over(tmp_path, bars):
    """Also when Ctrl-C left a checkpoint between the regular ones: it is too new to be trusted."""
    run = Run(Stepper(bars, tiny_config(), settings(steps=40)), bars, tmp_path, True, QUIET)
    run.begin()
    checkpoint_of = {}
    for step in (4, 8, 10):  # every fourth is regular; the last two are kept
        run._save(step)
        checkpoint_of[step] = run.checkpoints / f"checkpoint-{step}"
    assert run._good_checkpoint() == checkpoint_of[8]  # 10 is Ctrl-C's
    run._save(12)
    run.rolled_to = 12
    assert run._good_checkpoint() == run.checkpoints / "checkpoint-12"  # of 10 and 12 one is regular
    run._save(16)
    assert run._good_checkpoint() == run.checkpoints / "checkpoint-16"
    run.rolled_to = 16
    assert run._good_checkpoint() == run.checkpoints / "checkpoint-12"


def test_a_rate_far_too_high_is_noticed_and_survived(tmp_path, bars):
    heard = Listener()
    run = settings(steps=30, learning_rate=1.0, patience=2)
    done = train(bars, tiny_config(), run, tmp_path / "m", ui=heard)
    saved = load_file(tmp_path / "m" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in saved.values())
    assert math.isfinite(done.evaluation.elbo)
    assert done.skipped >= 2
    assert done.rollbacks >= 1
    assert any("rolled back to the weights of step" in line for line in heard.lines)


@pytest.mark.slow
def test_digits_at_ten_times_the_rate_skip_roll_back_and_still_learn(tmp_path):
    heard = Listener()
    run = recipe("digits", steps=120, learning_rate=0.1, device="cpu")
    done = train(read_images("digits"), preset("digits"), run, tmp_path / "m", ui=heard)
    saved = load_file(tmp_path / "m" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in saved.values())
    assert done.skipped >= run.patience
    assert done.rollbacks >= 1
    assert sum("rolled back" in line for line in heard.lines) == done.rollbacks
    assert -done.evaluation.elbo < 8 * 8 * math.log(16)  # better than every value being as likely as another


def test_a_model_that_is_not_finite_is_not_saved(tmp_path, bars, monkeypatch):
    def broken(self):
        model = NVAE(tiny_config())
        model.decoder.start.data[:] = math.inf
        return model

    monkeypatch.setattr(Stepper, "averaged", broken)
    with pytest.raises(TrainError, match="weights are not finite; start again with a learning rate below"):
        train(bars, tiny_config(), settings(steps=2), tmp_path / "m", ui=QUIET)
    assert not (tmp_path / "m" / "config.json").exists()
