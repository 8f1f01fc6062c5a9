"""How a family of models is described to the planner: its sizes, its habits, and what each tensor reads and writes.

The files in `rules/` are tables of `Tensor`s. A dimension is a pair (axis, role); the axes are

    hidden   the residual stream                 query key value   rows of the projections, head by head
    mixed    what the output projection reads     qkv               query, key, value in one tensor
    ffn      neurons                              gate_up           gate and up in one tensor
    experts  of a mixture                         head              one number per query head
    vocab    token ids                            vocab_bias        one number per token id
    key_head value_head   where mixes have other numbers of heads
    query_norm key_norm   one number per dimension of a head

and None, which never grows: positions, token types, labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shoestring.grow.plan.request import Sizes

Dim = tuple[str | None, str]
Config = Mapping[str, Any]
INSERTED = ("copied", "silent", "left out")


@dataclass(frozen=True)
class Tensor:
    """What one tensor, or the same one of every block, is.

    Args:
        pattern: the end of its name; `*` stands for a number.
        dims: what each dimension is.
        inserted: in a new block it is `copied`; or makes the block `silent` (all zeros, or the gain of a norm such
            that nothing comes out); or is `left out`, since only the first block has it.
        embeds: its rows enter the residual stream before anything else does.
        shares: copies of this tensor (experts) share what it had.
    """

    pattern: str
    dims: tuple[Dim, ...]
    inserted: str = "copied"
    embeds: bool = False
    shares: bool = False

    def match(self, name: str) -> re.Match[str] | None:
        """Returns the match if this is the tensor of that name, with the numbers as groups."""
        pattern = re.escape(self.pattern).replace(r"\*", r"(\d+)")
        return re.search(rf"(?:^|\.){pattern}$", name)


def linear(name: str, out: str | None, into: str | None, inserted: str = "copied") -> tuple[Tensor, Tensor]:
    """A linear layer, (out, in), and its bias."""
    return (
        Tensor(f"{name}.weight", ((out, "write"), (into, "read")), inserted),
        Tensor(f"{name}.bias", ((out, "write"),), inserted),
    )


def transposed(name: str, into: str, out: str, inserted: str = "copied") -> tuple[Tensor, Tensor]:
    """A linear layer that is stored as (in, out), and its bias."""
    return (
        Tensor(f"{name}.weight", ((into, "read"), (out, "write")), inserted),
        Tensor(f"{name}.bias", ((out, "write"),), inserted),
    )


def norm(
    name: str, axis: str | None = "hidden", kind: str = "", inserted: str = "copied"
) -> tuple[Tensor, Tensor]:
    """A norm; `kind="final "` if the head reads it."""
    return (
        Tensor(f"{name}.weight", ((axis, f"{kind}gain"),), inserted),
        Tensor(f"{name}.bias", ((axis, f"{kind}bias"),), inserted),
    )


def table(name: str, rows: str | None) -> tuple[Tensor]:
    """An embedding."""
    return (Tensor(f"{name}.weight", ((rows, "write"), ("hidden", "write")), embeds=True),)


def head(name: str) -> tuple[Tensor, Tensor]:
    """An output layer over the vocabulary."""
    return (
        Tensor(f"{name}.weight", (("vocab", "write"), ("hidden", "read"))),
        Tensor(f"{name}.bias", (("vocab_bias", "write"),)),
    )


@dataclass(frozen=True)
class Description:
    """All that the planner has to know about one model.

    Args:
        family: what messages call it.
        sizes: of the model.
        keys: size -> key of config.json; several keys get the same number.
        tensors: its tensors; the first that matches counts.
        norm: `rms` or `layer`.
        post_norm: norms stand after the additions, on the residual stream itself.
        head_width_follows: head_dim is hidden / heads and cannot be set.
        heads_divide: transformers refuses a hidden size that is not a multiple of heads.
        scores: attention logits are scaled by head_dim^-0.5; otherwise by something that does not change.
        rope: name of the rotary type, None without rotary positions.
        theta: of the rotary positions if the config does not say.
        qk_norm: queries and keys have norms of their own.
        alibi: a bias by distance whose slopes depend on the number of heads.
        embedding_grows: embeddings are multiplied by sqrt(hidden).
        head_shrinks: what the head reads is multiplied by hidden^-0.5.
        shift: what norms add to their gain.
        head: how the name of the output layer's weight ends, where there is one.
        headed: the config says that there is one.
        embedding: how the name of the embedding ends that a tied head shares.
        tied: the config ties the two.
        doubles: names that are the embedding over again in old checkpoints.
        layer_lists: keys of config.json -> one entry per block.
        top_k: key of config.json: experts per token.
        talking: key heads, softmax heads and value heads, and where they are mixed (none, pre, post or both).
        fixed: sizes that cannot grow -> why; `fraction` for a hidden size that is no whole multiple.
        no_depth: why blocks cannot be added, None if they can.
        decoder_stack: the block number in a name that starts so belongs to `decoder_layers`.
        spread: deviation of new rows that copy nothing.
    """

    family: str
    sizes: Sizes
    keys: Mapping[str, tuple[str, ...]]
    tensors: tuple[Tensor, ...]
    norm: str = "rms"
    post_norm: bool = False
    head_width_follows: bool = False
    heads_divide: bool = False
    scores: bool = True
    rope: str | None = None
    theta: float = 10000.0
    qk_norm: bool = False
    alibi: bool = False
    embedding_grows: bool = False
    head_shrinks: bool = False
    shift: float = 0.0
    head: str = "lm_head.weight"
    headed: bool = False
    embedding: str = "embed_tokens.weight"
    tied: bool = True
    doubles: tuple[str, ...] = ()
    layer_lists: Mapping[str, list[Any]] = field(default_factory=dict)
    top_k: str | None = None
    talking: tuple[int, int, int, str] | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    no_depth: str | None = None
    decoder_stack: str | None = None
    spread: float = 0.02


Family = Callable[[Config], Description]


def has_head(config: Config) -> bool:
    """Tells whether the saved model has an output layer over the vocabulary."""
    ends = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration")
    return any(str(name).endswith(ends) for name in config.get("architectures") or ())


def rope_of(config: Config) -> str:
    """Returns the type of rotary positions that a config names."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    nested = [value for value in found.values() if isinstance(value, dict)]
    types = {each.get("rope_type", each.get("type", "default")) for each in nested or [found]}
    partial = any("partial_rotary_factor" in each for each in [config, found, *nested])
    return "partial" if partial else types.pop() if len(types) == 1 else "mixed"
