"""A training run that was interrupted, killed while saving or failed goes on to the same model."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
import torch
from fast_training import FAST
from safetensors.torch import load_file
from transformers import Trainer, TrainerState

from shoestring._errors import InputError, OutputError, TrainError
from shoestring.match.training.settings import RANKING
from shoestring.match.training.train import train


@pytest.mark.parametrize(
    "moment",
    ["_save", "_save_optimizer_and_scheduler", "_save_rng_state", "save_to_json", "_publish", "flush"],
)
def test_a_run_killed_while_it_saves_goes_on_to_the_same_model(base, pairs, tmp_path, monkeypatch, moment):
    from shoestring.match.training import checkpoints, trainer

    class Killed(BaseException):
        """No clean-up of the code's own follows a kill -9."""

    def second(real):
        calls = iter(range(9))

        def cut(*given, **named):
            if next(calls) == 1:
                raise OSError(errno.ENOSPC, "No space left on device") if moment == "flush" else Killed
            return real(*given, **named)

        return cut

    data, run = (base, pairs(60, 1), pairs(40, 2)), replace(FAST, batch_size=12, lora=2)
    (tmp_path / "cut" / "checkpoints").mkdir(parents=True)
    (tmp_path / "cut" / "checkpoints" / ".run.json.00000000.part").touch()  # killed at once before
    falls = iter(range(99, 0, -1))  # the first step is the best
    monkeypatch.setattr(trainer, "spearman", lambda *_: float(next(falls)))
    train(*data, tmp_path / "whole", run)
    owner = {
        "_publish": checkpoints,
        "flush": checkpoints,
        "save_to_json": TrainerState,
        "_save": trainer._Bi,
    }.get(moment, Trainer)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(owner, moment, second(getattr(owner, moment)))
        with pytest.raises(OutputError if moment == "flush" else Killed):
            train(*data, "cut", run)
    (tmp_path / "cut").rename(tmp_path / "moved")  # nor does it matter what the folder is called then
    train(*data, tmp_path / "moved", run)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "moved"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_that_failed_before_its_first_checkpoint_is_in_nobody_s_way(trained, pairs, tmp_path):
    asked = (trained["bi"], pairs(80, 1), pairs(80, 2), tmp_path / "m")
    settings = replace(FAST, pooling="own", loss=RANKING[0], hard_negatives=99)
    with pytest.raises(InputError, match="ask for fewer hard negatives"):
        train(*asked, settings)
    assert train(*asked, replace(settings, hard_negatives=1)).steps >= 1


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"loss": "softmax", "lora": 4},
        {"loss": RANKING[1], "hard_negatives": 1, "lora": 4, "freeze": 1, "batch_size": 16},
    ],
    ids=str,
)  # fmt: skip
def test_an_interrupted_run_goes_on_to_the_same_model(base, pairs, tmp_path, monkeypatch, changes):
    from shoestring.match.training import trainer as trainers

    data, run = (base, pairs(120, 1), pairs(60, 2)), replace(FAST, epochs=2, **changes)
    whole = train(*data, tmp_path / "whole", run)

    class Killed(trainers._Progress):
        def on_step_end(self, args, state, control, **rest):
            if state.global_step > args.save_steps:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainers, "_Progress", Killed)
        with pytest.raises(KeyboardInterrupt):
            train(*data, tmp_path / "cut", run)
    with pytest.raises(TrainError, match="another learning_rate"):
        train(*data, tmp_path / "cut", replace(run, learning_rate=1e-3))
    again = train(*data, tmp_path / "cut", run)
    assert again.spearman == pytest.approx(whole.spearman, abs=1e-6)
    assert again.decision.threshold == pytest.approx(whole.decision.threshold, abs=1e-5)
