"""GPT-2: pre-norm with LayerNorm, fused query-key-value, weights stored as (in, out).

A fractional hidden size is exact by the averaged axis: new coordinates carry the mean, which LayerNorm subtracts.
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
    table,
    transposed,
)
from shoestring.grow.plan.request import Sizes

TENSORS = (
    *table("wte", "vocab"),
    *table("wpe", None),
    *norm("h.*.ln_1"),
    *transposed("h.*.attn.c_attn", "hidden", "qkv"),
    *transposed("h.*.attn.c_proj", "mixed", "hidden", "silent"),
    *norm("h.*.ln_2"),
    *transposed("h.*.mlp.c_fc", "hidden", "ffn"),
    *transposed("h.*.mlp.c_proj", "ffn", "hidden", "silent"),
    *norm("ln_f", kind="final "),
    *head("lm_head"),
    *linear("score", None, "hidden"),
    *linear("classifier", None, "hidden"),
    Tensor("attn.masked_bias", ()),
)


def describe(config: Config) -> Description:
    """Describes a GPT-2."""
    hidden, heads = config["n_embd"], config["n_head"]
    by_layer = config.get("scale_attn_by_inverse_layer_idx", False)
    return Description(
        family="gpt2",
        sizes=Sizes(
            hidden, heads, heads, hidden // heads, hidden // heads,
            config.get("n_inner") or 4 * hidden, config["n_layer"], 0, config["vocab_size"],
        ),
        keys={
            "hidden": ("n_embd",), "heads": ("n_head",), "ffn": ("n_inner",), "layers": ("n_layer",),
            "vocab": ("vocab_size",),
        },
        tensors=TENSORS,
        norm="layer",
        head_width_follows=True,
        scores=config.get("scale_attn_weights", True),
        headed=has_head(config),
        embedding="wte.weight",
        tied=config.get("tie_word_embeddings", True),
        no_depth="it scales attention by the number of the block" if by_layer else None,
        spread=config.get("initializer_range", 0.02),
    )  # fmt: skip
