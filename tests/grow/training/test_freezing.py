"""`--freeze-old`: new blocks learn, everything that the old model knows stays bit by bit."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from shoestring._errors import InputError, OptionError
from shoestring.grow import freeze_old
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import RECIPE, Request

from ..infer.test_inference import subject
from ..models import HEADS, make


def learned(folder, head):
    """Trains what the recipe leaves free for three steps; returns the losses and all parameters before and after."""
    model = head.from_pretrained(folder, dtype=torch.float32).eval()
    assert freeze_old(model, folder) == sum(each.numel() for each in model.parameters() if each.requires_grad)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimizer = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=1e-2)
    ids, losses = torch.randint(5, 60, (4, 12), generator=torch.Generator().manual_seed(0)), []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, before, dict(model.named_parameters())


def _bare(folder):
    """Names as openai-community/gpt2 has them, without the prefix that they have in memory."""
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): each for name, each in tensors.items()}
    save_file(bare, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "t5", "mixtral", "phi"])
def test_only_new_blocks_learn(kind, tmp_path):
    source = subject(kind, tmp_path / "small") if kind == "phi" else make(tmp_path / "small", kind)
    source = _bare(source) if kind == "gpt2" else source
    grow(source, tmp_path / "big", Request(layers="+1", place="top", freeze_old=True), verify="algebra")
    losses, before, after = learned(tmp_path / "big", HEADS.get(kind, AutoModelForCausalLM))
    assert losses[-1] < losses[0]
    free = set(json.loads((tmp_path / "big" / RECIPE).read_text())["trainable"])
    new = "6" if kind == "phi" else "2"  # the first number in a name is its block's
    assert free == {name for name in before if next((p for p in name.split(".") if p.isdigit()), "") == new}
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in free or not after[name].any()), name


def test_what_cannot_be_frozen_is_said(tmp_path):
    with pytest.raises(OptionError, match="--freeze-old: trains new blocks alone; give --layers"):
        Request(hidden="2x", freeze_old=True)
    source = make(tmp_path / "small", "llama")
    with pytest.raises(OptionError, match=r"--layers \+0 adds no block"):
        grow(source, tmp_path / "big", Request(layers="+0", freeze_old=True))
    with pytest.raises(OptionError, match="leave --optimizer out"):
        grow(source, tmp_path / "big", Request(layers="+1", freeze_old=True), optimizer=source)
    with pytest.raises(InputError, match=f"has no {RECIPE}; grow it with"):
        freeze_old(AutoModelForCausalLM.from_pretrained(source), source)
    grow(source, tmp_path / "big", Request(layers="+1", freeze_old=True), verify="algebra")
    with pytest.raises(InputError, match=r"a LlamaModel has no model\.layers"):
        freeze_old(AutoModel.from_pretrained(tmp_path / "big"), tmp_path / "big")


def test_a_growth_of_a_growth_does_not_inherit_the_recipe(tmp_path):
    source = make(tmp_path / "small", "llama")
    grow(source, tmp_path / "big", Request(layers="+1", freeze_old=True), verify="algebra")
    grow(tmp_path / "big", tmp_path / "bigger", Request(layers="+1"), verify="algebra")
    assert not (tmp_path / "bigger" / RECIPE).exists()
