"""Tiny models of an architecture: which settings are sizes, how small they may be, and which grow together.

- Names are those of transformers' configs, through each config's own `attribute_map`.
- Blocks: the first few, at least `BLOCKS` and enough that every kind of block and of tensor is among them; lists with
  an entry for each block are cut with them. Where a model's code does not take that, all of its blocks are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shoestring.grow.stored.models import auto_config

HIDDEN = ("hidden_size",)
HEADS = (
    "num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "decoder_attention_heads",
    "attention_heads", "num_kv_heads", "swa_num_attention_heads", "swa_num_key_value_heads",
    "num_encoder_attention_heads", "num_decoder_attention_heads",
)  # fmt: skip
FFN = (
    "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "encoder_ffn_dim",
    "decoder_ffn_dim", "ffn_dim", "d_ff", "n_inner", "ffn_hidden_size", "intermediate_size_mlp", "dim_ff", "dff",
    "hidden_dim", "d_inner", "expert_ffn_hidden_size", "shared_intermediate_size", "dense_intermediate_size",
    "moe_shared_expert_intermediate_size", "shared_experts_intermediate_size", "feed_forward_size",
)  # fmt: skip
AS_HIDDEN = (  # follow hidden where they equal it
    "embedding_size", "word_embed_proj_dim", "attention_hidden_size", "lru_width", "pooler_hidden_size",
    "output_embedding_size", "prediction_head_size", "embedding_dim", "input_embedding_size",
)  # fmt: skip
LAYERS = (
    "num_hidden_layers", "encoder_layers", "decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_layers",
    "n_layer", "n_layers", "num_blocks",
)  # fmt: skip
SMALL = {  # other sizes -> what is enough
    "vocab_size": 97, "max_position_embeddings": 64, "n_positions": 64, "num_experts": 8, "num_local_experts": 8,
    "n_routed_experts": 8, "moe_num_experts": 8, "q_lora_rank": 24, "kv_lora_rank": 20, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16, "v_head_dim": 16, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_topk": 2,
    "moe_k": 2, "num_experts_per_token": 2, "max_source_positions": 64, "max_target_positions": 64, "d_kv": 16,
    "src_vocab_size": 97, "tgt_vocab_size": 97, "decoder_vocab_size": 97, "type_vocab_size": 2,
}  # fmt: skip
BLOCKS, WIDTH, FEED = 6, 16, 80
MODES = {  # what grows with hidden, the most first
    "heads and feed-forward": HEADS + FFN, "feed-forward": FFN, "heads": HEADS, "nothing else": (),
}  # fmt: skip


def number(config: Any, name: str) -> int:
    """Returns a size of a config, 0 if it has none of that name."""
    value = getattr(config, getattr(config, "attribute_map", {}).get(name, name), None)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def head_width(config: Any) -> int:
    """Returns head_dim, or what it is by hidden and heads."""
    return number(config, "head_dim") or number(config, "hidden_size") // max(
        1, number(config, "num_attention_heads")
    )


def sizes_of(config: Any) -> dict[str, int]:
    """Returns the widths that fused projections are made of: q, kv, ffn and hidden."""
    heads, width, hidden = (
        number(config, "num_attention_heads"),
        head_width(config),
        number(config, "hidden_size"),
    )
    groups = number(config, "num_key_value_heads") or number(config, "num_kv_heads") or heads
    ffn = next((number(config, name) for name in FFN if number(config, name)), 0)
    return {"q": heads * width, "kv": groups * width, "ffn": ffn or 4 * hidden, "hidden": hidden}


def scaled(config: Any, times: int, mode: str) -> dict[str, int]:
    """Returns the keys of a config that grow, with their new numbers."""
    names, hidden = getattr(config, "attribute_map", {}), number(config, "hidden_size")
    found = {names.get(name, name): number(config, name) for name in (*HIDDEN, *MODES[mode])}
    found |= {name: hidden for name in AS_HIDDEN if number(config, name) == hidden}
    return {key: value * times for key, value in found.items() if value}


def tiny_configs(
    config: Mapping[str, Any], names: Iterable[str], whole: bool = False
) -> Iterator[dict[str, Any]]:
    """Yields configs of tiny models of the same kind, the smallest first.

    Args:
        config: of the model.
        names: of its tensors.
        whole: all of the blocks are kept.
    """
    made = auto_config(config)
    blocks = number(made, "num_hidden_layers") or max((number(made, name) for name in LAYERS), default=0)
    few = blocks if whole else _blocks_needed(made, blocks, names)
    small = {**config, **_small(made)}
    if few < blocks:
        yield cut(small, made, few)
    yield small
    yield cut(dict(config), made, few)


def cut(config: Mapping[str, Any], made: Any, blocks: int) -> dict[str, Any]:
    """Returns the config of a model's first blocks.

    Args:
        config: to change.
        made: transformers' object of the same config, which has its defaults.
        blocks: how many to keep.
    """
    changed, names = copy.deepcopy(dict(config)), getattr(made, "attribute_map", {})
    counts = {number(made, name) for name in LAYERS} - {0}
    for key, value in made.to_dict().items():
        if isinstance(value, list) and len(value) in counts and len(value) > blocks and key not in names:
            changed[key] = value[:blocks]
    for name in LAYERS:
        if number(made, name) > blocks:
            changed[names.get(name, name)] = blocks
    return changed


def _blocks_needed(made: Any, blocks: int, names: Iterable[str]) -> int:
    """Returns how many first blocks have every kind of tensor and of block in them."""
    needed, first = BLOCKS, {}
    for name in names:
        parts = name.split(".")
        index = next((int(part) for part in parts if part.isdigit()), None)
        if index is not None:
            key = ".".join("*" if part.isdigit() else part for part in parts)
            first[key] = min(first.get(key, index), index)
    needed = max(needed, *(index + 1 for index in first.values())) if first else needed
    for value in made.to_dict().values():
        if isinstance(value, list) and len(value) == blocks:
            texts = [str(each) for each in value]
            needed = max(needed, *(texts.index(text) + 1 for text in set(texts)))
    return min(blocks, needed) if blocks else needed


def _small(made: Any) -> dict[str, Any]:
    """Returns the settings of a tiny model: every size that may be small is."""
    names = getattr(made, "attribute_map", {})
    heads, width = number(made, "num_attention_heads"), min(WIDTH, head_width(made))
    few = min(4, heads)
    wanted = dict(SMALL) | dict.fromkeys(FFN, FEED)
    for name in HEADS:
        wanted[name] = max(1, few * number(made, name) // max(1, heads))
    wanted |= {"hidden_size": few * WIDTH if few else 64, "head_dim": width}
    if number(made, "head_dim"):
        wanted["hidden_size"] = 64
    changed: dict[str, Any] = {}
    for name, value in wanted.items():
        if number(made, name) > value:
            changed[names.get(name, name)] = value
    hidden = changed.get(names.get("hidden_size", "hidden_size"))
    for name in AS_HIDDEN if hidden else ():
        if number(made, name) == number(made, "hidden_size"):
            changed[name] = hidden
    for key, value in made.to_dict().items():
        if key.endswith("token_id") and isinstance(value, int) and value >= SMALL["vocab_size"]:
            changed[key] = 0
    return changed
