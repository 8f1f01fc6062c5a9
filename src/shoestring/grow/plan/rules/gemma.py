"""Gemma 1, 2 and 3: like Llama, but norms multiply by 1 + gain and embeddings by sqrt(hidden).

- Embeddings are divided by sqrt of hidden's factor; irrational for 2x, so bf16 checkpoints are rounded there.
- From Gemma 2 each sublayer's output has a norm: a new block is silenced by that norm's gain, not by zero weights,
  whose gradient through the norm would be of the order of 1 / sqrt(eps).
- Attention logits are scaled by `query_pre_attn_scalar`, which stays. Gemma 3 has norms on queries and keys.
"""

from __future__ import annotations

from shoestring.grow.plan.family import Config, Description, has_head, linear, norm, rope_of
from shoestring.grow.plan.request import Sizes
from shoestring.grow.plan.rules.llama import ATTENTION, ENDS, FEED_FORWARD, KEYS, NORMS, sizes_of

OUTPUT_NORMS = (
    *norm("layers.*.input_layernorm"),
    *norm("layers.*.post_attention_layernorm", inserted="silent"),
    *norm("layers.*.pre_feedforward_layernorm"),
    *norm("layers.*.post_feedforward_layernorm", inserted="silent"),
)
QUIET = (
    *linear("layers.*.self_attn.o_proj", "hidden", "mixed"),
    *linear("layers.*.mlp.down_proj", "hidden", "ffn"),
)
PATTERN = {"gemma2": 2, "gemma3_text": 6}  # every n-th block looks at everything


def layer_types(config: Config, kind: str, sizes: Sizes) -> dict[str, list[str]]:
    """Returns which blocks look back through a window."""
    if kind == "gemma":
        return {}
    every = config.get("_sliding_window_pattern", config.get("sliding_window_pattern", PATTERN[kind]))
    types = config.get("layer_types") or [
        "full_attention" if (index + 1) % every == 0 else "sliding_attention" for index in range(sizes.layers)
    ]
    return {"layer_types": list(types)}


def describe(config: Config) -> Description:
    """Describes a Gemma."""
    kind, sizes = config["model_type"], sizes_of(config)
    first = kind == "gemma"
    return Description(
        family=kind,
        sizes=sizes,
        keys=KEYS,
        tensors=ENDS + (NORMS if first else OUTPUT_NORMS + QUIET) + ATTENTION + FEED_FORWARD,
        rope=rope_of(config),
        heads_divide=not first,
        scores=first,
        qk_norm=kind == "gemma3_text",
        embedding_grows=True,
        shift=1.0,
        headed=has_head(config),
        tied=config.get("tie_word_embeddings", True),
        layer_lists=layer_types(config, kind, sizes),
        spread=config.get("initializer_range", 0.02),
    )
