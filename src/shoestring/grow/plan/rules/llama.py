"""Llama, Mistral, Qwen2 and Qwen3: pre-norm with RMSNorm, rotary positions, grouped queries, gated feed-forward.

- Any hidden size is exact: copies scaled so that the mean square stays, hence gain and eps too.
- head_dim grows under rotary positions: old pairs keep their frequencies, new queries start at zero.
- Qwen3 has norms on queries and keys: its head_dim stays.
"""

from __future__ import annotations

from shoestring.grow.plan.family import (
    Config,
    Description,
    Tensor,
    has_head,
    head,
    linear,
    norm,
    rope_of,
    table,
)
from shoestring.grow.plan.request import Sizes

ATTENTION = (
    *linear("layers.*.self_attn.q_proj", "query", "hidden"),
    *linear("layers.*.self_attn.k_proj", "key", "hidden"),
    *linear("layers.*.self_attn.v_proj", "value", "hidden"),
    *linear("layers.*.self_attn.o_proj", "hidden", "mixed", "silent"),
    Tensor("layers.*.self_attn.q_norm.weight", (("query_norm", "head gain"),)),
    Tensor("layers.*.self_attn.k_norm.weight", (("key_norm", "head gain"),)),
    Tensor("rotary_emb.inv_freq", ((None, "kept"),)),
)
FEED_FORWARD = (
    *linear("layers.*.mlp.gate_proj", "ffn", "hidden"),
    *linear("layers.*.mlp.up_proj", "ffn", "hidden"),
    *linear("layers.*.mlp.down_proj", "hidden", "ffn", "silent"),
)
ENDS = (
    *table("embed_tokens", "vocab"),
    *norm("norm", kind="final "),
    *head("lm_head"),
    *linear("score", None, "hidden"),
    *linear("classifier", None, "hidden"),
    *linear("qa_outputs", None, "hidden"),
)
NORMS = (*norm("layers.*.input_layernorm"), *norm("layers.*.post_attention_layernorm"))
KEYS = {
    "hidden": ("hidden_size",), "heads": ("num_attention_heads",), "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",), "ffn": ("intermediate_size",), "layers": ("num_hidden_layers",),
    "vocab": ("vocab_size",),
}  # fmt: skip


def sizes_of(config: Config) -> Sizes:
    """Reads the sizes as all these families name them."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    return Sizes(
        hidden, heads, config.get("num_key_value_heads") or heads, width, width,
        config["intermediate_size"], config["num_hidden_layers"], 0, config["vocab_size"],
    )  # fmt: skip


def layer_types(config: Config) -> dict[str, list[str]]:
    """Returns which blocks look back through a window, where some do."""
    count, window = config["num_hidden_layers"], config.get("sliding_window")
    if types := config.get("layer_types"):
        return {"layer_types": list(types)}
    if not config.get("use_sliding_window") or window is None:
        return {}
    first = config.get("max_window_layers", 28)
    return {"layer_types": ["sliding_attention" if i >= first else "full_attention" for i in range(count)]}


def describe(config: Config) -> Description:
    """Describes a Llama, Mistral, Qwen2 or Qwen3."""
    kind = config["model_type"]
    return Description(
        family=kind,
        sizes=sizes_of(config),
        keys=KEYS,
        tensors=ENDS + NORMS + ATTENTION + FEED_FORWARD,
        rope=rope_of(config),
        heads_divide=kind == "llama",
        qk_norm=kind == "qwen3",
        headed=has_head(config),
        tied=config.get("tie_word_embeddings", False),
        layer_lists=layer_types(config),
        spread=config.get("initializer_range", 0.02),
    )
