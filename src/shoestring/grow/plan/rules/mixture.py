"""Mixtral and Qwen3-MoE: Llama's attention, a mixture of experts for feed-forward.

k times the experts with k times as many chosen: every expert that was chosen is chosen with all its copies, each with
1/k of its weight. The copies' output layers are unequal parts of k times the old one, so that copies diverge.
"""

from __future__ import annotations

from dataclasses import replace

from shoestring.grow.plan.family import Config, Description, Tensor, has_head, linear, rope_of
from shoestring.grow.plan.rules.llama import ATTENTION, ENDS, FEED_FORWARD, KEYS, NORMS, layer_types, sizes_of


def expert(name: str, gate: str, up: str, down: str) -> tuple[Tensor, ...]:
    """One expert of every block, each a tensor of its own."""
    out = linear(f"{name}.{down}", "hidden", "ffn", "silent")
    return (
        *linear(f"{name}.{gate}", "ffn", "hidden"),
        *linear(f"{name}.{up}", "ffn", "hidden"),
        *(replace(each, shares=True) for each in out),
    )


FUSED = (  # all experts of a block in one tensor, as transformers has them in memory
    Tensor(
        "layers.*.mlp.experts.gate_up_proj", (("experts", "write"), ("gate_up", "write"), ("hidden", "read"))
    ),
    Tensor(
        "layers.*.mlp.experts.down_proj",
        (("experts", "write"), ("hidden", "write"), ("ffn", "read")),
        "silent",
    ),
)
TENSORS = (
    *FUSED,
    *expert("layers.*.block_sparse_moe.experts.*", "w1", "w3", "w2"),
    *expert("layers.*.mlp.experts.*", "gate_proj", "up_proj", "down_proj"),
    *linear("layers.*.block_sparse_moe.gate", "experts", "hidden"),
    *linear("layers.*.mlp.gate", "experts", "hidden"),
)


def dense_layers(config: Config) -> set[int]:
    """Returns the blocks of a Qwen3-MoE that have a plain feed-forward layer."""
    step = config.get("decoder_sparse_step") or 1
    named = set(config.get("mlp_only_layers") or ())
    return {index for index in range(config["num_hidden_layers"]) if index in named or (index + 1) % step}


def describe(config: Config) -> Description:
    """Describes a Mixtral or a Qwen3-MoE."""
    kind = config["model_type"]
    qwen = kind == "qwen3_moe"
    experts = int(config.get("num_local_experts") or config["num_experts"])
    dense = dense_layers(config) if qwen else set()
    width = config["moe_intermediate_size"] if qwen else config["intermediate_size"]
    keys = {name: key for name, key in KEYS.items() if name != "ffn"}
    keys["experts"] = ("num_experts",) if "num_experts" in config else ("num_local_experts",)
    keys["ffn"] = ("moe_intermediate_size",) if qwen else ("intermediate_size",)
    plain = tuple(_kept(tensor) for tensor in FEED_FORWARD)
    return Description(
        family=kind,
        sizes=replace(sizes_of(config), ffn=width, experts=experts),
        keys=keys,
        tensors=TENSORS + ENDS + NORMS + ATTENTION + plain,
        rope=rope_of(config),
        theta=10000.0 if qwen else 1e6,
        qk_norm=qwen,
        headed=has_head(config),
        tied=config.get("tie_word_embeddings", False),
        layer_lists=layer_types(config),
        top_k="num_experts_per_tok",
        no_depth="some of its blocks have no experts, by their number" if dense else None,
        spread=config.get("initializer_range", 0.02),
    )


def _kept(tensor: Tensor) -> Tensor:
    """The plain feed-forward layer of a block without experts: its neurons stay."""
    return replace(tensor, dims=tuple((None if axis == "ffn" else axis, role) for axis, role in tensor.dims))
