"""Interrupted, killed or finished: a run goes on to the same weights, and another run is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import tiny_runs
from tiny_runs import QUIET, SMALL, Examples, losses, names, same, stop, tiny, weights

from shoestring._errors import TrainError
from shoestring.train import TrainSettings, fit


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize(
    ("happens", "at", "start"),
    [
        (stop, 80, 8),  # killed at once: the last checkpoint counts
        (lambda: signal.raise_signal(signal.SIGINT), 58, 7),  # Ctrl-C: the step is finished and saved
    ],
    ids=["killed", "ctrl-c"],
)
def test_interrupted_and_resumed_is_uninterrupted(kind, happens, at, start, tmp_path):
    settings = TrainSettings(**SMALL)
    model = tiny(kind, dropout=0.2)
    whole = fit(model, Examples(), settings, tmp_path / "whole", ui=QUIET)

    with pytest.raises(KeyboardInterrupt):
        fit(tiny(kind, 0.2), Examples(at=at, happens=happens), settings, tmp_path / "parts", ui=QUIET)
    again, rest = tiny(kind, 0.2, seed=5), Examples()
    parts = fit(again, rest, settings, tmp_path / "parts", ui=QUIET)

    assert parts.resumed_from == start
    assert rest.seen == list(range(start * 8, 96))
    assert (parts.steps, parts.losses) == (whole.steps, whole.losses)
    assert same(weights(again), weights(model))
    assert losses(tmp_path / "parts/log.jsonl") == losses(tmp_path / "whole/log.jsonl")


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    """Each part in a process of its own, as a user's are: bits depend on the state of a process."""

    def run(folder: str, **given) -> subprocess.CompletedProcess:
        given = {"settings": SMALL, "dropout": 0.2, **given}
        command = [sys.executable, tiny_runs.__file__, str(tmp_path / folder), json.dumps(given)]
        return subprocess.run(command, check=False, timeout=300, capture_output=True, text=True)

    whole = json.loads(run("whole").stdout)
    assert run("parts", kill_at=60).returncode == -signal.SIGKILL
    parts = json.loads(run("parts").stdout)
    assert (whole.pop("resumed_from"), parts.pop("resumed_from")) == (0, 4)
    assert parts == whole
    last = f"checkpoints/checkpoint-{SMALL['steps']}/model.safetensors"
    assert (tmp_path / "parts" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()


def test_a_half_written_checkpoint_is_no_checkpoint(tmp_path, monkeypatch):
    from shoestring.train import checkpoint

    with monkeypatch.context() as patch:
        publish = checkpoint.publish
        patch.setattr(
            checkpoint, "publish", lambda *a: stop() if a[0].name == "checkpoint-8" else publish(*a)
        )
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), Examples(), TrainSettings(**SMALL), tmp_path, ui=QUIET)
    assert (tmp_path / "checkpoints/.partial/checkpoint-8/model.safetensors").exists()
    history = fit(tiny(), Examples(), TrainSettings(**SMALL), tmp_path, ui=QUIET)
    assert history.resumed_from == 4
    assert names(tmp_path / "checkpoints") == ["checkpoint-12", "checkpoint-8"]


def test_a_finished_run_is_not_run_again(tmp_path):
    model, examples = tiny(), Examples()
    first = fit(model, Examples(), TrainSettings(**SMALL), tmp_path, ui=QUIET)
    again = tiny(seed=5)
    second = fit(again, examples, TrainSettings(**SMALL), tmp_path, ui=QUIET)
    assert examples.seen == []
    assert second.losses == first.losses
    assert same(weights(again), weights(model))


@pytest.mark.parametrize(
    ("change", "about", "message"),
    [
        ({"learning_rate": 0.5}, {}, "learning_rate 0.001, this one 0.5"),
        ({"steps": 11}, {}, "steps 12, this one 11"),
        ({}, {"corpus": "b"}, "corpus 'a', this one 'b'"),
        ({"seed": 1, "clip": 2.0}, {}, r"clip 1.0, this one 2.0 \(also different: seed\)"),
    ],
)
def test_another_run_is_not_resumed(change, about, message, tmp_path):
    fit(
        tiny(), Examples(), TrainSettings(**SMALL), tmp_path, about={"corpus": "a", "shape": (2, 3)}, ui=QUIET
    )
    other = TrainSettings(**(SMALL | change))
    with pytest.raises(TrainError, match=message):
        fit(tiny(), Examples(), other, tmp_path, about={"corpus": "a", "shape": (2, 3)} | about, ui=QUIET)
    fresh = fit(
        tiny(),
        Examples(),
        other,
        tmp_path,
        about={"corpus": "a", "shape": (2, 3)} | about,
        resume=False,
        ui=QUIET,
    )
    assert fresh.resumed_from == 0
    assert fresh.steps[-1] == other.steps


def test_how_a_run_is_executed_may_change_on_resume(tmp_path):
    settings = TrainSettings(**SMALL)
    whole = fit(tiny(), Examples(), settings, tmp_path / "whole", ui=QUIET)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), Examples(at=75, happens=stop), settings, tmp_path / "parts", ui=QUIET)
    other = TrainSettings(**(SMALL | {"micro_batch": 2, "save_every": 5}))
    parts = fit(tiny(), Examples(), other, tmp_path / "parts", ui=QUIET)
    assert parts.resumed_from == 8
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
