"""Talking-heads attention written out: the reference that every other back end is tested against.

O[c] = (sum over i of W[i, c] softmax(sum over a of P[a, i] Q[a] K[a]^T scale + mask)) V[c], with all logits in memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.transformer.talking_heads.dropout import Dropout
from shoestring.transformer.talking_heads.masks import lowest, visible
from shoestring.transformer.talking_heads.mix import Mix


def attention(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b hk m k"],
    value: Float[Tensor, "b hv m v"],
    pre: Mix,
    post: Mix,
    *,
    mask: Tensor | None,
    is_causal: bool,
    scale: float,
    dropout: Dropout | None,
) -> tuple[Float[Tensor, "b hv n v"], Float[Tensor, "b hv n m"]]:
    """Returns the output and the weights that the values were summed with.

    Half precision is mixed and normalised in float32.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    logits = pre.apply((query * scale @ key.transpose(-1, -2)).to(wide))
    if mask is not None and mask.is_floating_point():
        logits = logits + mask
    seen = visible(mask, is_causal, query.shape[2], key.shape[2], query.device)
    weights = post.apply(softmax(logits, seen))
    if dropout is not None:
        weights = weights * dropout.factors(weights)
    weights = weights.to(value.dtype)
    return weights @ value, weights


def softmax(logits: Float[Tensor, "b h n m"], seen: Tensor | None) -> Float[Tensor, "b h n m"]:
    """Returns the softmax over what is seen; 0 for a query that sees nothing."""
    if seen is None:
        return logits.softmax(-1)
    logits = logits.masked_fill(~seen, -torch.inf)
    blind = logits.amax(-1, keepdim=True) <= lowest(logits.dtype)
    # Before the softmax too: a row of -inf would give NaN, and NaN times 0 in the gradient.
    return logits.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
