"""Our own family: pre- or post-norm, RMSNorm or LayerNorm, key and value widths of their own."""

from __future__ import annotations

from shoestring.grow.family import Config, Description, Tensor, has_head, head, linear, norm, table
from shoestring.grow.request import Sizes


def tensors(post_norm: bool, last: int) -> tuple[Tensor, ...]:
    """Returns the rules; with post-norm the head reads the last block's norm."""
    return (
        *table("embed_tokens", "vocab"),
        *table("embed_positions", None),
        *linear("layers.*.attention.q_proj", "query", "hidden"),
        *linear("layers.*.attention.k_proj", "key", "hidden"),
        *linear("layers.*.attention.v_proj", "value", "hidden"),
        *linear("layers.*.attention.o_proj", "hidden", "mixed", "silent"),
        *norm("layers.*.attention_norm"),
        *linear("layers.*.feed_forward.gate_proj", "ffn", "hidden"),
        *linear("layers.*.feed_forward.up_proj", "ffn", "hidden"),
        *linear("layers.*.feed_forward.down_proj", "hidden", "ffn", "silent"),
        *(norm(f"layers.{last}.feed_forward_norm", kind="final ") if post_norm else ()),
        *norm("layers.*.feed_forward_norm"),
        *norm("norm", kind="" if post_norm else "final "),
        *head("lm_head"),
    )


def describe(config: Config) -> Description:
    """Describes a shoestring Transformer."""
    hidden, heads = config["hidden_size"], config["num_heads"]
    post = config.get("norm_position", "pre") == "post"
    return Description(
        family="shoestring",
        sizes=Sizes(
            hidden, heads, heads, config["key_size"], config["value_size"],
            config["intermediate_size"], config["num_layers"], 0, config["vocab_size"],
        ),
        keys={
            "hidden": ("hidden_size",), "heads": ("num_heads",), "head_dim": ("key_size",),
            "value_dim": ("value_size",), "ffn": ("intermediate_size",), "layers": ("num_layers",),
            "vocab": ("vocab_size",),
        },
        tensors=tensors(post, config["num_layers"] - 1),
        norm="layer" if config.get("norm") == "layer" else "rms",
        post_norm=post,
        rope="default" if config.get("position", "rope") == "rope" else None,
        theta=config.get("rope_theta", 10000.0),
        headed=has_head(config),
        tied=config.get("tie_word_embeddings", True),
        spread=config.get("initializer_range", 0.02),
    )  # fmt: skip
