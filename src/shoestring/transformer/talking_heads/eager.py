"""Talking-heads attention written out: the reference that every other back end is tested against.

O[c] = (sum over i of W[i, c] softmax(sum over a of P[a, i] Q[a] K[a]^T scale + mask)) V[c], with all logits in memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.transformer.talking_heads.masks import lowest, visible
from shoestring.transformer.talking_heads.terms import Terms


def attention(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b g m k"],
    value: Float[Tensor, "b u m v"],
    terms: Terms,
) -> tuple[Float[Tensor, "b hv n v"], Float[Tensor, "b hv n m"]]:
    """Returns the output and the weights that the values were summed with.

    Half precision is multiplied, mixed and normalised in float32: no logit is rounded before it is mixed.
    """
    wide, mask = torch.promote_types(query.dtype, torch.float32), terms.mask
    logits = terms.pre.apply(_products(query.to(wide) * terms.scale, key.to(wide)))
    if mask is not None and mask.is_floating_point():
        logits = logits + mask
    seen = visible(mask, terms.is_causal, query.shape[2], key.shape[2], query.device)
    weights = terms.post.apply(softmax(logits, seen))
    if terms.dropout is not None:
        weights = weights * terms.dropout.factors(weights)
    output = (_grouped(weights, value.shape[1]) @ value.to(wide)).to(value.dtype)
    return output.reshape(*weights.shape[:3], value.shape[-1]), weights.to(value.dtype)


def _products(query: Float[Tensor, "b hk n k"], key: Float[Tensor, "b g m k"]) -> Float[Tensor, "b hk n m"]:
    """Returns Q K^T; the cache is neither copied nor transposed.

    Of one query too: with torch 2.13 (K Q^T)^T takes twice as long.
    """
    found = _grouped(query, key.shape[1]) @ key.mT
    return found.reshape(*query.shape[:3], key.shape[2])


def _grouped(x: Float[Tensor, "b h n d"], groups: int) -> Float[Tensor, "b g r d"]:
    """Puts the heads that share keys or values below each other, as further rows."""
    batch, heads, rows, width = x.shape
    return x.reshape(batch, groups, heads // groups * rows, width)


def softmax(logits: Float[Tensor, "b h n m"], seen: Tensor | None) -> Float[Tensor, "b h n m"]:
    """Returns the softmax over what is seen; 0 for a query that sees nothing."""
    if seen is None:
        return logits.softmax(-1)
    logits = logits.masked_fill(~seen, -torch.inf)
    blind = logits.amax(-1, keepdim=True) <= lowest(logits.dtype)
    # Before the softmax too: a row of -inf would give NaN, and NaN times 0 in the gradient.
    return logits.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
