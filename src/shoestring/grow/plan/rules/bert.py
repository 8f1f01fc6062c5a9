"""BERT and RoBERTa: post-norm with LayerNorm, so hidden grows by whole factors and depth not at all, exactly.

- head_dim is hidden / heads; attention logits are scaled by head_dim^-0.5.
- The masked-language-model head reads a norm of its own (`transform.LayerNorm`), which takes up the tie's factor.
"""

from __future__ import annotations

from shoestring.grow.plan.family import Config, Description, Tensor, has_head, head, linear, norm, table
from shoestring.grow.plan.request import Sizes

BLOCK = (
    *linear("layer.*.attention.self.query", "query", "hidden"),
    *linear("layer.*.attention.self.key", "key", "hidden"),
    *linear("layer.*.attention.self.value", "value", "hidden"),
    *linear("layer.*.attention.output.dense", "hidden", "mixed", "silent"),
    *norm("layer.*.attention.output.LayerNorm"),
    *linear("layer.*.intermediate.dense", "ffn", "hidden"),
    *linear("layer.*.output.dense", "hidden", "ffn", "silent"),
    *norm("layer.*.output.LayerNorm"),
)
EMBEDDINGS = (
    *table("embeddings.word_embeddings", "vocab"),
    *table("embeddings.position_embeddings", None),
    *table("embeddings.token_type_embeddings", None),
    *norm("embeddings.LayerNorm"),
    Tensor("embeddings.position_ids", ((None, "kept"), (None, "kept"))),
)
HEADS = (
    *linear("pooler.dense", "hidden", "hidden"),
    *linear("cls.seq_relationship", None, "hidden"),
    *linear("cls.predictions.transform.dense", "hidden", "hidden"),
    *norm("cls.predictions.transform.LayerNorm", kind="final "),
    *head("cls.predictions.decoder"),
    Tensor("cls.predictions.bias", (("vocab_bias", "write"),)),
    *linear("lm_head.dense", "hidden", "hidden"),
    *norm("lm_head.layer_norm", kind="final "),
    *head("lm_head.decoder"),
    Tensor("lm_head.bias", (("vocab_bias", "write"),)),
    *linear("classifier.dense", "hidden", "hidden"),
    *linear("classifier.out_proj", None, "hidden"),
    *linear("classifier", None, "hidden"),
    *linear("qa_outputs", None, "hidden"),
)
HEAD = {"bert": "cls.predictions.decoder.weight", "roberta": "lm_head.decoder.weight"}


def describe(config: Config) -> Description:
    """Describes a BERT or RoBERTa."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kind = config["model_type"]
    return Description(
        family=kind,
        sizes=Sizes(
            hidden, heads, heads, hidden // heads, hidden // heads,
            config["intermediate_size"], config["num_hidden_layers"], 0, config["vocab_size"],
        ),
        keys={
            "hidden": ("hidden_size",), "heads": ("num_attention_heads",), "ffn": ("intermediate_size",),
            "layers": ("num_hidden_layers",), "vocab": ("vocab_size",),
        },
        tensors=EMBEDDINGS + BLOCK + HEADS,
        norm="layer",
        post_norm=True,
        head_width_follows=True,
        head=HEAD[kind],
        headed=has_head(config),
        embedding="embeddings.word_embeddings.weight",
        tied=config.get("tie_word_embeddings", True),
        spread=config.get("initializer_range", 0.02),
    )  # fmt: skip
