"""What a run that multiplies in bf16 leaves behind: a model and a threshold of fp32, whoever loads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fast_training import FAST
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from shoestring._errors import OptionError, TrainError
from shoestring.match.deciding.threshold import best
from shoestring.match.matcher import Matcher
from shoestring.match.training import trainer
from shoestring.match.training.frozen import frozen
from shoestring.match.training.settings import Training
from shoestring.match.training.train import train

RUNS = {
    "bi": {},
    "bi, frozen": {"freeze": 2},
    "bi, in pieces": {"chunk": 8},
    "bi, LoRA": {"lora": 2},
    "bi, ranking": {"loss": "CachedMultipleNegativesRankingLoss", "chunk": 8},
    "cross": {"mode": "cross"},
    "cross, frozen": {"mode": "cross", "freeze": 2},
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_threshold_is_of_the_scores_that_the_folder_gives(base, pairs, tmp_path, kind):
    run, dev, test = replace(FAST, precision="bf16", **RUNS[kind]), pairs(80, 2), pairs(80, 3)
    done = train(base, pairs(160, 1), dev, tmp_path / "model", run, also=[test])
    loaded = Matcher(tmp_path / "model", "cpu")
    assert loaded.scores(list(test)) == pytest.approx(done.scores[0], abs=1e-6)
    cut = best(loaded.scores(list(dev)), dev.labels, "accuracy")
    assert done.decision.threshold == pytest.approx(cut.threshold, abs=1e-6)
    assert {each.dtype for each in load_file(tmp_path / "model" / "model.safetensors").values()} == {
        torch.float32
    }


@pytest.mark.parametrize("kind", RUNS)
def test_it_learns_nearly_what_fp32_learns_and_not_the_same(base, pairs, tmp_path, kind):
    weights = []
    for precision in ("fp32", "bf16"):
        run = replace(FAST, precision=precision, **RUNS[kind])
        train(base, pairs(160, 1), pairs(80, 2), tmp_path / precision, run)
        weights.append(load_file(tmp_path / precision / "model.safetensors"))
    trained = load_file(base / "model.safetensors")
    moved = [name for name in weights[0] if name in trained and not weights[0][name].equal(trained[name])]
    step = sum((weights[0][name] - trained[name]).square().sum() for name in moved).sqrt()
    apart = sum((weights[0][name] - weights[1][name]).square().sum() for name in moved).sqrt()
    assert 0 < apart < 0.5 * step


def test_remembered_states_are_those_of_the_precision(base, pairs):
    """The checks of a run come between its steps, with the same texts."""
    model, texts = SentenceTransformer(str(base), device="cpu").eval(), list(pairs(12, 1).first)

    def embedded(cached):
        with frozen(model, 2, cached), torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16):
                half = model(model.preprocess(texts))["sentence_embedding"]
            return half.float(), model(model.preprocess(texts))["sentence_embedding"]

    for kept, anew in zip(embedded(True), embedded(False), strict=True):
        torch.testing.assert_close(kept, anew, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(*embedded(True), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto is a GPU here")
def test_the_device_that_auto_finds_trains_like_the_one_that_is_named(base, pairs, tmp_path):
    weights = []
    for device in ("cpu", "auto"):
        run = replace(FAST, precision="bf16", device=device)
        train(base, pairs(80, 1), pairs(40, 2), tmp_path / device, run)
        weights.append((tmp_path / device / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("able", "halves"), [(True, True), (False, False)])
def test_auto_is_what_the_processor_does_faster(base, pairs, tmp_path, monkeypatch, able, halves):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": able})
    seen, forward = set(), SentenceTransformer.forward

    def watched(self, *given, **named):
        seen.add(self.training and torch.is_autocast_enabled("cpu"))
        return forward(self, *given, **named)

    monkeypatch.setattr(SentenceTransformer, "forward", watched)
    train(base, pairs(80, 1), pairs(40, 2), tmp_path / "model", replace(FAST, precision="auto"))
    assert (True in seen) == halves


def test_a_run_that_goes_on_elsewhere_keeps_its_precision(base, pairs, tmp_path, monkeypatch):
    data, run = (base, pairs(80, 1), pairs(40, 2), tmp_path / "model"), replace(FAST, precision="auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    with monkeypatch.context() as patched:
        patched.setattr(trainer._Bi, "take_best", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(*data, run)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(TrainError, match=r"another precision \(bf16\)"):
        train(*data, run)
    assert train(*data, replace(run, precision="bf16")).steps


def interrupted(*_):
    """Stands for Ctrl-C at the end of the training."""
    raise KeyboardInterrupt


def test_an_unknown_precision_is_refused():
    with pytest.raises(OptionError, match=r"precision 'fp16'.*fp32, bf16, auto"):
        Training(precision="fp16")
