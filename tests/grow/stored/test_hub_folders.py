"""Folders as they lie on the hub: what transformers loads without a missing weight grows, whatever its names are.

The names are those of published checkpoints: google-bert/bert-base-cased (`LayerNorm.gamma`, `cls.seq_relationship`,
`position_ids`), openai-community/gpt2 (no `transformer.`, `attn.bias`), EleutherAI/pythia-70m (`attention.bias`,
`masked_bias`, `rotary_emb.inv_freq`), huggyllama/llama-7b (`rotary_emb.inv_freq` in every block).
"""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
)

from shoestring._errors import ShoestringError
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request

from ..infer.test_inference import subject
from ..models import BASE, logits, make, save


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


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("bert", "ForQuestionAnswering"), ("bert", "ForTokenClassification"), ("bert", "ForSequenceClassification"),
        ("bert", "ForNextSentencePrediction"), ("bert", "ForMultipleChoice"), ("llama", "ForQuestionAnswering"),
        ("llama", "ForSequenceClassification"), ("electra", "ForPreTraining"),
    ],
)  # fmt: skip
def test_every_head_grows_with_a_proof(kind, head, tmp_path):
    """Outputs have all kinds of shapes: two numbers a token, one, one for a text, or for a choice."""
    config = AutoConfig.for_model(kind, **BASE)
    saved = getattr(transformers, type(config).__name__.removesuffix("Config") + head)
    save(tmp_path / "small", config, SimpleNamespace(from_config=saved._from_config))
    report = grow(tmp_path / "small", tmp_path / "big", Request(hidden="2x"))
    assert report.proof.relative <= 1e-12
    old, new = (outcomes(saved, tmp_path / name) for name in ("small", "big"))
    assert all(torch.allclose(new[name], old[name], rtol=1e-4, atol=1e-5) for name in old)


def outcomes(saved, folder):
    """What a head says, by its names."""
    ids = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(1))
    ids = ids[None] if "Choice" in saved.__name__ else ids
    with torch.no_grad():
        found = saved.from_pretrained(folder).eval()(input_ids=ids)
    return {name: each for name, each in found.items() if "logits" in name}


@pytest.mark.parametrize(
    ("kind", "request_", "message"),
    [
        ("marian", Request(layers="+2"), "^--layers .2: marian has no rule and not one stack of blocks"),
        ("whisper", Request(hidden="2x"), "whisper has no rule, and it reads no token ids"),
    ],
)
def test_what_cannot_be_inferred_is_said_at_once(kind, request_, message, tmp_path):
    heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    config = AutoConfig.for_model(
        kind, vocab_size=61, decoder_vocab_size=61, d_model=16, encoder_layers=2, decoder_layers=2, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, encoder_ffn_dim=24, decoder_ffn_dim=24, **heads,
    )  # fmt: skip
    save(
        tmp_path / "small", config, AutoModelForSpeechSeq2Seq if kind == "whisper" else AutoModelForSeq2SeqLM
    )
    with pytest.raises(ShoestringError, match=message):
        grow(tmp_path / "small", tmp_path / "big", request_)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("vit", "reads no token ids"), ("dinov2", "reads no token ids"), ("siglip_vision_model", "reads no token ids"),
        ("clip_vision_model", "reads no token ids"), ("siglip", "made of several models"),
        ("clip", "made of several models"), ("beit", "reads no token ids"),
    ],
)  # fmt: skip
def test_encoders_of_images_are_refused_by_name(kind, message, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    vision = {**sizes, "image_size": 16, "patch_size": 8}
    parts = {"text_config": {**sizes, "vocab_size": 61}, "vision_config": vision}
    config = AutoConfig.for_model(kind, **(parts if kind in ("siglip", "clip") else vision))
    save(tmp_path / "small", config, AutoModel)
    with pytest.raises(ShoestringError, match=f"{kind} has no rule, and it.*{message}"):
        grow(tmp_path / "small", tmp_path / "big", Request(hidden="2x"))


def test_the_text_encoder_of_clip_grows(tmp_path):
    config = AutoConfig.for_model(
        "clip_text_model", vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    save(tmp_path / "small", config, AutoModel)
    assert grow(tmp_path / "small", tmp_path / "big", Request(hidden="2x")).proof.relative <= 1e-12


def test_old_weights_in_other_formats_do_not_come_along(tmp_path):
    source = make(tmp_path / "small", "llama")
    for name in ("rust_model.ot", "tf_model.h5", "flax_model.msgpack", "model.Q4_K_M.gguf"):
        (source / name).write_bytes(b"old")
    shutil.copy(source / "model.safetensors", source / "model.fp16.safetensors")
    (source / "LICENSE").write_text("Apache-2.0")
    grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra")
    new = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "growth.json",
        "growth.txt",
        "README.md",
    }
    assert {each.name for each in (tmp_path / "big").iterdir()} == new | {"LICENSE"}
