"""The proof on a model's own weights: its first blocks are run as they are, or memory is named that there is not."""

import pytest
import torch

from shoestring._errors import OptionError
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request
from shoestring.grow.prove import proof, small

from ..infer.test_inference import subject
from ..models import make

GROWTHS = {
    "llama": Request(hidden="1.5x", layers="+2", vocab="+3"), "gpt2": Request(hidden="2x", layers="+1"),
    "t5": Request(hidden="2x", layers="+1"), "mixtral": Request(hidden="2x", experts="2x"),
    "phi": Request(hidden="2x", layers="+1"), "smollm3": Request(hidden="2x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROWTHS)
def test_blocks_are_run_with_their_own_weights_where_small_copies_do_not_fit(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(small, "BUDGET", 1)
    monkeypatch.setattr(small, "CHUNK", 64)
    inferred = kind in ("phi", "smollm3")
    source = subject(kind, tmp_path / "small") if inferred else make(tmp_path / "small", kind, torch.bfloat16)
    report = grow(source, tmp_path / "big", GROWTHS[kind], verify="blocks")
    assert report.proof.subject.endswith("of this checkpoint")
    assert report.proof.relative <= 1e-12
    assert {each.name for each in tmp_path.iterdir()} == {"small", "big"}
    again = grow(source, tmp_path / "other", GROWTHS[kind])
    assert "random" in again.proof.subject


def test_what_is_run_are_the_stored_numbers(tmp_path, monkeypatch):
    """A weight far from all others is seen by this proof alone."""
    source = make(tmp_path / "small", "llama", num_hidden_layers=1)
    report = grow(source, tmp_path / "big", Request(hidden="2x"), verify="blocks")
    found = report.proof.trials[0].scale
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source)
    model.lm_head.weight.data *= 1000
    model.save_pretrained(source)
    report = grow(source, tmp_path / "other", Request(hidden="2x"), verify="blocks")
    assert report.proof.trials[0].scale == pytest.approx(1000 * found)


def test_too_little_memory_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "free_numbers", lambda: 10)
    for kind, source in (("llama", make(tmp_path / "a", "llama")), ("phi", subject("phi", tmp_path / "b"))):
        with pytest.raises(
            OptionError, match=r"--verify blocks: .* takes .* GB of memory in fp64, and .* are free"
        ):
            grow(source, tmp_path / kind, Request(hidden="2x"), verify="blocks")
    assert {each.name for each in tmp_path.iterdir()} == {"a", "b"}
