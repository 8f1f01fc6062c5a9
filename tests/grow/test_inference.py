"""Architectures without a rule: what their tensors do is inferred, accepted only if it is exact, and streamed."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from shoestring._errors import InputError, OptionError
from shoestring.grow.growing import grow
from shoestring.grow.infer import inference
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.checkpoint import opened

from .models import logits, save

CAUSAL = [
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt2", "gpt_neo",
    "gpt_neox", "gptj", "opt", "bloom", "olmo", "olmo2", "stablelm", "cohere", "granite", "starcoder2", "glm4",
    "smollm3", "helium", "mixtral", "qwen3_moe",
]  # fmt: skip
MASKED = [
    "bert", "roberta", "electra", "distilbert", "modernbert", "roformer", "ernie", "mpnet", "deberta-v2", "xlm-roberta",
]  # fmt: skip
SEQUENCE = ["t5", "bart"]
BASE = {
    "vocab_size": 97, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 80, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OTHERS = {
    "gptj": {"rotary_dim": 8}, "electra": {"embedding_size": 64}, "roformer": {"embedding_size": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]}, "opt": {"word_embed_proj_dim": 64},
    "gemma2": {"query_pre_attn_scalar": 16}, "gemma3_text": {"query_pre_attn_scalar": 16},
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2},
    "bart": {
        "encoder_layers": 2, "decoder_layers": 2, "decoder_attention_heads": 4, "encoder_attention_heads": 4,
        "encoder_ffn_dim": 80, "decoder_ffn_dim": 80, "decoder_start_token_id": 2,
    },
    "t5": {"d_ff": 80, "d_kv": 16, "num_decoder_layers": 2, "decoder_start_token_id": 0},
}  # fmt: skip


def head(kind):
    return (
        AutoModelForMaskedLM
        if kind in MASKED
        else AutoModelForSeq2SeqLM
        if kind in SEQUENCE
        else AutoModelForCausalLM
    )


def make(folder, kind, dtype=torch.float32):
    default = AutoConfig.for_model(kind)
    names = {name: getattr(default, "attribute_map", {}).get(name, name) for name in BASE}
    settings = {names[name]: value for name, value in BASE.items() if hasattr(default, names[name])}
    if getattr(default, "head_dim", None) is not None:
        settings["head_dim"] = 16
    return save(folder, AutoConfig.for_model(kind, **{**settings, **OTHERS.get(kind, {})}), head(kind), dtype)


@pytest.mark.parametrize("kind", ["gpt_neox", "phi3", "opt", "distilbert"])
def test_an_architecture_without_a_rule_grows(kind, tmp_path):
    source = make(tmp_path / "small", kind)
    report = grow(source, tmp_path / "big", Request(hidden="2x", dtype="float64"))
    assert report.plan.inferred
    assert report.proof.relative <= 1e-12
    old, new = (logits(folder, head(kind), vocab=97) for folder in (source, tmp_path / "big"))
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())


def test_bf16_stays_exact_there_too(tmp_path):
    source = make(tmp_path / "small", "stablelm", torch.bfloat16)
    grow(source, tmp_path / "big", Request(hidden="2x"), verify="algebra")
    old, new = (logits(folder, vocab=97) for folder in (source, tmp_path / "big"))
    assert float((old - new).abs().max()) <= 1e-12 * float(old.abs().max())


@pytest.mark.slow
def test_alibi_is_noticed_and_measured(tmp_path):
    source = make(tmp_path / "small", "bloom")
    with pytest.raises(
        InputError, match="none that was inferred is exact: the best of the trials changes outputs by"
    ):
        grow(source, tmp_path / "big", Request(hidden="2x"))
    report = grow(source, tmp_path / "big", Request(hidden="2x", allow_lossy=True))
    assert 1e-4 < report.proof.relative < 0.2
    assert "is not exact" in report.plan.lossy[0]


def test_what_inference_does_not_do(tmp_path):
    checkpoint = opened(make(tmp_path / "small", "gpt_neox"))
    with pytest.raises(OptionError, match=r"grows by whole factors; try 2x$"):
        inference.infer(checkpoint, Request(hidden="1.5x"))
    with pytest.raises(OptionError, match="give --hidden 2x alone"):
        inference.infer(checkpoint, Request(hidden="2x", layers="+1"))


def test_the_guide_names_every_architecture_that_is_tested():
    guide = (Path(__file__).parents[2] / "docs" / "grow.md").read_text("utf-8")
    for kind in (*CAUSAL, *MASKED, *SEQUENCE):
        assert f"`{kind}`" in guide, kind


@pytest.mark.slow
def test_at_least_35_of_38_architectures_grow(tmp_path):
    """Without looking at the explicit rules; those that fail are refused, with how far the best trial was."""
    failed = {}
    for kind in (*CAUSAL, *MASKED, *SEQUENCE):
        try:
            inference.infer(opened(make(tmp_path / kind, kind)), Request(hidden="2x"))
        except InputError as error:
            failed[kind] = str(error)
    assert len((*CAUSAL, *MASKED, *SEQUENCE)) == 38
    assert len(failed) <= 3, failed
    assert set(failed) <= {"bloom"}
