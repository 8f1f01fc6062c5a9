"""A small model with random weights of any family of decoders that transformers has, as a folder.

Layers follow the family's own pattern (sliding and full, dense and experts), windows and chunks are shorter than the
prompts of the tests, and weights are so large that a token too many in an attention shows.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 128
WISHES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "is_decoder": True,
    "ffn_hidden_size": 128,
    "intermediate_size_mlp": 128,
    "rotary_dim": 8,
    "sliding_window": 8,
    "use_sliding_window": True,
    "max_window_layers": 3,
    "window_size": 8,
    "attention_chunk_size": 8,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "moe_topk": 2,
    "moe_k": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "expert_dim": 64,
}
_LATENT = {"num_key_value_heads": 4, "head_dim": 8}
_SPECIAL = {
    "deepseek_v2": _LATENT, "deepseek_v3": _LATENT, "youtu": _LATENT, "minicpm3": {"num_key_value_heads": 4},
    "glm4_moe_lite": {"num_key_value_heads": 4}, "gpt_neo": {"attention_types": [[["global", "local"], 3]]},
    "dots1": {"n_shared_experts": 1}, "mpt": {"max_seq_len": 128},
}  # fmt: skip
_DBRX = {
    "d_model": 64, "n_heads": 4, "n_layers": 3, "max_seq_len": 128, "vocab_size": VOCABULARY,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10_000.0},
    "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
}  # fmt: skip


def config_of(kind: str, **changes: object):
    """Returns the configuration of a small model: what of `WISHES` the family has."""
    if kind == "dbrx":
        return AutoConfig.for_model(kind, **_DBRX)
    usual = AutoConfig.for_model(kind)
    known, other = usual.to_dict(), getattr(type(usual), "attribute_map", {})
    wishes = {**WISHES, **_SPECIAL.get(kind, {}), **changes}
    named = {(other.get(name, name) if other.get(name) in known else name): wishes[name] for name in wishes}
    return AutoConfig.for_model(kind, **{name: value for name, value in named.items() if name in known})


def saved(kind: str, folder: Path, **changes: object):
    """Writes a small model of a family and returns it as transformers reads it."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(kind, **changes)).float().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim < 2:
                weight.add_(noise * 0.05)
            else:
                looked_up = "embed" in name or "wte" in name
                weight.copy_(noise * 1.2 / (1 if looked_up else weight.shape[-1] ** 0.5))
    model.save_pretrained(folder)
    words = {f"w{place}": place for place in range(VOCABULARY - 8)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w1", pad_token="w2").save_pretrained(
        folder
    )
    return AutoModelForCausalLM.from_pretrained(folder).float().eval()


def bytes_tokenizer():
    """Every byte is a token, so that a Chinese character takes three."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core)
