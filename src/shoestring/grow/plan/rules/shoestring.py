"""Our own family: pre- or post-norm, RMSNorm or LayerNorm, key and value widths of their own, talking heads.

- The mixes between heads read on one side and write on the other: `pre_mix` reads key heads and writes softmax heads,
  `post_mix` reads softmax heads and writes value heads. Copies of what is read share the rows, so copies diverge.
- Dynamic mixes are made of the input, a number for each pair of heads: heads stay, everything else grows.
- Embeddings narrower than hidden stay; so do positions that are computed, which would change with the width.
"""

from __future__ import annotations

from shoestring.grow.plan.family import Config, Description, Tensor, has_head, head, linear, norm
from shoestring.grow.plan.request import Sizes

ATTENTION = (
    *linear("layers.*.attention.q_proj", "query", "hidden"),
    *linear("layers.*.attention.k_proj", "key", "hidden"),
    *linear("layers.*.attention.v_proj", "value", "hidden"),
    *linear("layers.*.attention.o_proj", "hidden", "mixed", "silent"),
    Tensor("layers.*.attention.pre_mix", (("key_head", "read"), ("head", "write"))),
    Tensor("layers.*.attention.post_mix", (("head", "read"), ("value_head", "write"))),
    *(
        tensor
        for mix in ("pre_by_query", "pre_by_key", "post_by_query", "post_by_key")
        for tensor in linear(f"layers.*.attention.dynamic.{mix}", None, "hidden")
    ),
)
FEED_FORWARD = (
    *linear("layers.*.feed_forward.gate_proj", "ffn", "hidden"),
    *linear("layers.*.feed_forward.up_proj", "ffn", "hidden"),
    *linear("layers.*.feed_forward.down_proj", "hidden", "ffn", "silent"),
)


def conditional_norm(name: str, axis: str | None = "hidden", kind: str = "") -> tuple[Tensor, ...]:
    """A norm, and what a condition adds to its gain and bias."""
    return (
        *norm(name, axis, kind),
        Tensor(f"{name}.cond_scale.weight", ((axis, f"{kind}gain"), (None, "kept"))),
        Tensor(f"{name}.cond_shift.weight", ((axis, f"{kind}bias"), (None, "kept"))),
    )


def tensors(post_norm: bool, last: int, width: str | None, transform: bool) -> tuple[Tensor, ...]:
    """Returns the rules.

    Args:
        post_norm: the head reads the last block's norm, and `norm` is the embeddings'.
        last: number of the last block.
        width: the axis of the embeddings, None if they are narrower than hidden.
        transform: the head has a layer and a norm of its own.
    """
    reads = "" if transform else "final "
    return (
        Tensor("embed_tokens.weight", (("vocab", "write"), (width, "write"))),
        Tensor("embed_positions.weight", ((None, "write"), (width, "write"))),
        Tensor("embed_types.weight", ((None, "write"), (width, "write"))),
        *linear("embed_projection", "hidden", None),
        *ATTENTION,
        *conditional_norm("layers.*.attention_norm"),
        *FEED_FORWARD,
        *(conditional_norm(f"layers.{last}.feed_forward_norm", kind=reads) if post_norm else ()),
        *conditional_norm("layers.*.feed_forward_norm"),
        *linear("transform.dense", width, "hidden"),
        *conditional_norm("transform.norm", width, "final " if width else ""),
        *(conditional_norm("norm", width) if post_norm else conditional_norm("norm", kind=reads)),
        *linear("pooler", "hidden", "hidden"),
        *linear("score", None, "hidden"),
        Tensor("lm_head.weight", (("vocab", "write"), (width, "read"))),
        *head("lm_head")[1:],
    )


def fixed(config: Config, narrow: bool) -> dict[str, str]:
    """Returns what cannot grow and why."""
    position, found = config.get("position", "rope"), {}
    if position == "sinusoidal" and not narrow:
        found["hidden"] = "its positions are computed for this width; grow --ffn or --layers instead"
    if position == "relative":
        found["head_dim"] = "its positions are computed for this width; grow --heads instead"
    if config.get("dynamic_talking_heads"):
        found["heads"] = "dynamic mixes have a number for each pair of heads; grow --hidden or --ffn instead"
    if config.get("layer_norm_cond_size"):
        found["fraction"] = "its conditional norms grow by whole factors"
    return found


def describe(config: Config) -> Description:
    """Describes a shoestring Transformer."""
    hidden, heads = config["hidden_size"], config["num_heads"]
    post = config.get("norm_position", "pre") == "post"
    narrow = (config.get("embedding_size") or hidden) != hidden
    shared = config.get("num_key_value_heads")
    keys = {
        "hidden": ("hidden_size",) if narrow or "embedding_size" not in config else ("hidden_size", "embedding_size"),
        "heads": ("num_heads",), "head_dim": ("key_size",), "value_dim": ("value_size",),
        "ffn": ("intermediate_size",), "layers": ("num_layers",), "vocab": ("vocab_size",),
    }  # fmt: skip
    counts = (config.get("num_key_heads") or heads, heads, config.get("num_value_heads") or heads)
    return Description(
        family="shoestring",
        sizes=Sizes(
            hidden, heads, shared or heads, config["key_size"], config["value_size"],
            config["intermediate_size"], config["num_layers"], 0, config["vocab_size"],
        ),
        keys={**keys, "kv_heads": ("num_key_value_heads",)} if shared else keys,
        tensors=tensors(
            post, config["num_layers"] - 1, None if narrow else "hidden", config.get("head_transform", False)
        ),
        norm="layer" if config.get("norm") == "layer" or config.get("layer_norm_cond_size") else "rms",
        post_norm=post,
        rope="default" if config.get("position", "rope") == "rope" else None,
        theta=config.get("rope_theta", 10000.0),
        headed=has_head(config),
        tied=config.get("tie_word_embeddings", True),
        talking=(*counts, config.get("talking_heads", "none")) if "num_key_heads" in config else None,
        fixed=fixed(config, narrow),
        spread=config.get("initializer_range", 0.02),
    )  # fmt: skip
