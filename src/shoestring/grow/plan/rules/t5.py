"""T5: encoder and decoder, pre-norm with RMSNorm, attention that is not scaled, a position bias per head.

- The tied head reads hidden / sqrt(d_model) unless the checkpoint says `tie_word_embeddings: false`.
- Only the first block of each stack has the position bias; new blocks get none.
"""

from __future__ import annotations

from shoestring.grow.plan.family import Config, Description, Tensor, has_head, head, linear, norm, table
from shoestring.grow.plan.request import Sizes


def attention(name: str) -> tuple[Tensor, ...]:
    """The four projections of one attention."""
    return (
        *linear(f"{name}.q", "query", "hidden"),
        *linear(f"{name}.k", "key", "hidden"),
        *linear(f"{name}.v", "value", "hidden"),
        *linear(f"{name}.o", "hidden", "mixed", "silent"),
        Tensor(f"{name}.relative_attention_bias.weight", ((None, "kept"), ("head", "kept")), "left out"),
    )


TENSORS = (
    *table("shared", "vocab"),
    *table("encoder.embed_tokens", "vocab"),
    *table("decoder.embed_tokens", "vocab"),
    *attention("block.*.layer.0.SelfAttention"),
    *attention("block.*.layer.1.EncDecAttention"),
    *norm("block.*.layer.0.layer_norm"),
    *norm("block.*.layer.1.layer_norm"),
    *norm("block.*.layer.2.layer_norm"),
    *(
        tensor
        for layer in (1, 2)
        for tensor in (
            *linear(f"block.*.layer.{layer}.DenseReluDense.wi", "ffn", "hidden"),
            *linear(f"block.*.layer.{layer}.DenseReluDense.wi_0", "ffn", "hidden"),
            *linear(f"block.*.layer.{layer}.DenseReluDense.wi_1", "ffn", "hidden"),
            *linear(f"block.*.layer.{layer}.DenseReluDense.wo", "hidden", "ffn", "silent"),
        )
    ),
    *norm("encoder.final_layer_norm"),
    *norm("decoder.final_layer_norm", kind="final "),
    *head("lm_head"),
)


def describe(config: Config) -> Description:
    """Describes a T5."""
    layers = config["num_layers"]
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return Description(
        family="t5",
        sizes=Sizes(
            config["d_model"], config["num_heads"], config["num_heads"], config["d_kv"], config["d_kv"],
            config["d_ff"], layers, config.get("num_decoder_layers") or layers, config["vocab_size"],
        ),
        keys={
            "hidden": ("d_model",), "heads": ("num_heads",), "head_dim": ("d_kv",), "ffn": ("d_ff",),
            "layers": ("num_layers",), "decoder_layers": ("num_decoder_layers",), "vocab": ("vocab_size",),
        },
        tensors=TENSORS,
        scores=False,
        headed=has_head(config),
        embedding="shared.weight",
        doubles=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        head_shrinks=scaled,
        decoder_stack="decoder.",
        spread=config.get("initializer_factor", 1.0),
    )  # fmt: skip
