"""Tiny random models of every family, with norms and biases that matter, and how far two of them are apart."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from shoestring.grow.stored.wide import wide
from shoestring.hub import silenced

BASE = {
    "vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GEMMA = {"head_dim": 4, "query_pre_attn_scalar": 4}
FAMILIES: dict[str, dict] = {
    "llama": {"tie_word_embeddings": False, "rms_norm_eps": 1e-3, "attention_bias": True, "mlp_bias": True},
    "mistral": {"tie_word_embeddings": True, "rms_norm_eps": 1e-3, "head_dim": 4},
    "qwen2": {"tie_word_embeddings": True, "rms_norm_eps": 1e-3},
    "qwen3": {"tie_word_embeddings": True, "rms_norm_eps": 1e-3, "head_dim": 8},
    "gemma": {**GEMMA, "rms_norm_eps": 1e-3},
    "gemma2": {**GEMMA, "rms_norm_eps": 1e-3, "sliding_window": 8},
    "gemma3_text": {**GEMMA, "rms_norm_eps": 1e-3, "sliding_window": 8},
    "gpt2": {"layer_norm_epsilon": 1e-3},
    "bert": {"layer_norm_eps": 1e-3},
    "roberta": {"layer_norm_eps": 1e-3, "max_position_embeddings": 40},
    "t5": {"d_kv": 4, "num_decoder_layers": 2, "decoder_start_token_id": 0, "layer_norm_epsilon": 1e-3},
    "mixtral": {"num_local_experts": 3, "rms_norm_eps": 1e-3},
    "qwen3_moe": {"num_experts": 3, "moe_intermediate_size": 12, "num_experts_per_tok": 2, "head_dim": 4},
}
HEADS = {"bert": AutoModelForMaskedLM, "roberta": AutoModelForMaskedLM, "t5": AutoModelForSeq2SeqLM}


def make(folder: Path, family: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes) -> Path:
    """Saves a tiny random model."""
    settings = {**BASE, **FAMILIES[family], **changes}
    kind = AutoConfig.for_model(family)
    names = getattr(kind, "attribute_map", {})
    names = {key: name for key, name in names.items() if isinstance(name, str)}
    known = kind.to_dict()
    given = {
        names.get(key, key): value
        for key, value in settings.items()
        if names.get(key, key) in known or key not in BASE
    }
    return save(
        folder, AutoConfig.for_model(family, **given), HEADS.get(family, AutoModelForCausalLM), dtype, seed
    )


def save(folder: Path, config, head, dtype=torch.float32, seed: int = 0) -> Path:
    """Saves a random model of a config; norms and biases are far from 1 and 0."""
    torch.manual_seed(seed)
    model = head.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.3 if parameter.ndim == 1 else 0.05))
    with silenced():
        model.to(dtype).save_pretrained(folder)
    return folder


def logits(
    folder: Path, head=AutoModelForCausalLM, dtype=torch.float64, ids=None, vocab: int = 61
) -> torch.Tensor:
    """The logits of a saved model on fixed ids; in fp64 everything is."""
    with silenced(), wide(dtype == torch.float64):
        model = head.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
        if hasattr(model.config, "_experts_implementation"):
            model.set_experts_implementation("eager")
        model.eval()
        ids = (
            torch.randint(3, vocab, (2, 9), generator=torch.Generator().manual_seed(1))
            if ids is None
            else ids
        )
        inputs = {"input_ids": ids}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids.flip(1)
        with torch.no_grad():
            return model(**inputs).logits[..., :vocab].double()
