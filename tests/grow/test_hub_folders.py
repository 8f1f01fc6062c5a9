"""Folders as they lie on the hub: what transformers loads without a missing weight grows, whatever its names are.

The names are those of published checkpoints: google-bert/bert-base-cased (`LayerNorm.gamma`, `cls.seq_relationship`,
`position_ids`), openai-community/gpt2 (no `transformer.`, `attn.bias`), EleutherAI/pythia-70m (`attention.bias`,
`masked_bias`, `rotary_emb.inv_freq`), huggyllama/llama-7b (`rotary_emb.inv_freq` in every block).
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request

from .models import logits, make
from .test_inference import subject


def _legacy(tensors):
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        re.sub(r"LayerNorm\.(weight|bias)$", lambda m: names[m[0]], name): each
        for name, each in tensors.items()
    }


def _without(prefix):
    return lambda tensors: {name.removeprefix(prefix): each for name, each in tensors.items()}


def _doubled(head, embedding):
    return lambda tensors: {**tensors, head: tensors[embedding].clone()}


def _with(**extra):
    return lambda tensors: {**tensors, **{name.replace("__", "."): each for name, each in extra.items()}}


MASK, FREQUENCIES = torch.ones(1, 1, 8, 8, dtype=torch.uint8), torch.ones(4)
GPT2 = {f"h__{block}__attn__bias": MASK for block in range(2)}
PYTHIA = {
    f"gpt_neox__layers__{block}__attention__{name}": each
    for block in range(6)
    for name, each in (
        ("bias", MASK),
        ("masked_bias", torch.tensor(-1e9)),
        ("rotary_emb__inv_freq", FREQUENCIES),
    )
}
LLAMA = {f"model__layers__{block}__self_attn__rotary_emb__inv_freq": FREQUENCIES for block in range(2)}
BERT = {"bert__embeddings__position_ids": torch.arange(32)[None], "cls__seq_relationship__weight": torch.ones(2, 16),
        "cls__seq_relationship__bias": torch.ones(2)}  # fmt: skip
EMBEDDING = "bert.embeddings.word_embeddings.weight"
FOLDERS = {
    "bert, gamma and beta": ("bert", [_legacy, _with(**BERT), _doubled("cls.predictions.decoder.weight", EMBEDDING)]),
    "gpt2, no prefix, masks": ("gpt2", [_without("transformer."), _with(**GPT2)]),
    "llama, frequencies": ("llama", [_with(**LLAMA)]),
    "gpt_neox, masks": ("gpt_neox", [_with(**PYTHIA)]),
    "electra, gamma and beta": ("electra", [_legacy]),
    "distilbert, head twice": (
        "distilbert", [_doubled("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight")]),
}  # fmt: skip
MASKED = ("bert", "electra", "distilbert")


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_transformers_loads_grows(folder, tmp_path):
    kind, changes = FOLDERS[folder]
    ruled = kind in ("bert", "gpt2", "llama")
    source = make(tmp_path / "small", kind) if ruled else subject(kind, tmp_path / "small")
    tensors = load_file(source / "model.safetensors")
    for change in changes:
        tensors = change(tensors)
    save_file(
        {name: each.clone() for name, each in tensors.items()}, source / "model.safetensors", {"format": "pt"}
    )
    head = AutoModelForMaskedLM if kind in MASKED else AutoModelForCausalLM
    _, found = head.from_pretrained(source, output_loading_info=True)
    assert not found["missing_keys"]
    report = grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"))
    assert report.proof.relative <= 1e-12
    old, new = (logits(each, head) for each in (source, tmp_path / "big"))
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())
    names = set(load_file(tmp_path / "big" / "model.safetensors"))
    assert names <= set(tensors), "stored names stay"
    assert json.loads((tmp_path / "big" / "growth.json").read_text())["left out"] == [
        name for name in report.plan.checkpoint.unread if name not in names
    ]
