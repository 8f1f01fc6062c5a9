"""What every back end does first: checks the shapes, ends autocast, widens the mixes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.dropout import Dropout, new_seed
from shoestring.transformer.talking_heads.masks import checked
from shoestring.transformer.talking_heads.mix import Mix
from shoestring.transformer.talking_heads.terms import Terms


class Call(NamedTuple):
    """A call whose parts fit together.

    Args:
        query, key, value: as given, or in autocast's type.
        terms: what else was said; mixes in float32 at least.
        out_heads: number of value heads.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    terms: Terms
    out_heads: int


def prepared(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b _g m _k"],
    value: Float[Tensor, "b _u _m v"],
    pre: Mix,
    post: Mix,
    *,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    dropout: float,
) -> Call:
    """Returns the call; to be made without autocast, which ends at the tensors that come in.

    Raises:
        OptionError: head counts, shapes or settings that do not fit.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        kind = torch.get_autocast_dtype(device)
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    heads, out_heads = counted(query, key, value, pre, post)
    mask = checked(mask, query.shape[0], heads, query.shape[2], key.shape[2])
    if not 0 <= dropout < 1:
        raise OptionError(f"dropout {dropout}: must be at least 0 and below 1")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    drop = Dropout(dropout, new_seed(query.device)) if dropout else None
    terms = Terms(_wide(pre, query), _wide(post, query), mask, is_causal, scale, drop)
    return Call(query, key, value, terms, out_heads)


def without_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Returns the context that the call is to be made in: mixes and softmax stay in float32."""
    device = like.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def counted(query: Tensor, key: Tensor, value: Tensor, pre: Mix, post: Mix) -> tuple[int, int]:
    """Returns the number of softmax heads and of value heads.

    Raises:
        OptionError: they do not fit.
    """
    shapes = {"query": query, "key": key, "value": value}
    for name, x in shapes.items():
        if x.ndim != 4 or 0 in x.shape[-1:]:
            raise OptionError(
                f"{name} of shape {tuple(x.shape)}: must be (batch, heads, length, width) with a width of at least 1"
            )
    if query.shape[-1] != key.shape[-1] or key.shape[2] != value.shape[2]:
        raise OptionError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)}: query and key need "
            "the same width, key and value the same length"
        )
    key_heads = query.shape[1]
    heads = _heads("pre", pre, key_heads, "key heads of the query")
    out_heads = _heads("post", post, heads, "softmax heads")
    for name, x, whole in (("key", key, key_heads), ("value", value, out_heads)):
        if whole % x.shape[1]:
            raise OptionError(
                f"{name} has {x.shape[1]} heads, which do not divide {whole}; give 1, {whole} or another divisor"
            )
    return heads, out_heads


def _heads(name: str, mix: Mix, given: int, what: str) -> int:
    widths = {x.shape[-1] for x in mix if x is not None} or {given}
    if any(x.shape[-2] != given for x in mix if x is not None) or len(widths) > 1:
        found = ", ".join(str(tuple(x.shape)) for x in mix if x is not None)
        raise OptionError(f"{name} of shape {found}: its rows must be the {given} {what}")
    if mix.matrix is None and mix.dynamic and widths != {given}:
        raise OptionError(
            f"{name}: matrices from {given} to {widths.pop()} heads need a fixed part {name} too"
        )
    return widths.pop()


def _wide(mix: Mix, like: Tensor) -> Mix:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return Mix(*(None if x is None else x.to(dtype) for x in mix))
