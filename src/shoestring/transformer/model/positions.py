"""Position codes that are computed, not learned: sines, and NEZHA's distances.

- `sinusoids`: the code of Vaswani et al. 2017, sine and cosine interleaved.
- `relative_attention`: the code r of the distance key - query, at most 64 either way, is added to every key and every
  value (NEZHA, Wei et al. 2019, after Shaw et al. 2018): logits q.(k + r)/sqrt(d), output sum a (v + r). The weights
  are needed to sum the codes, so this form is n x n in memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from shoestring.transformer.talking_heads.eager import softmax
from shoestring.transformer.talking_heads.masks import visible

REACH = 64  # distances beyond share a code


def sinusoids(positions: Int[Tensor, "*shape"], size: int) -> Float[Tensor, "*shape size"]:
    """Returns sin(p 10000^(-2i/size)) at 2i and the cosine at 2i + 1, in fp32.

    >>> sinusoids(torch.tensor([0]), 4)
    tensor([[0., 1., 0., 1.]])
    """
    steps = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size)
    angles = positions[..., None].float() * steps
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def relative_attention(
    query: Float[Tensor, "batch heads query size"],
    key: Float[Tensor, "batch heads key size"],
    value: Float[Tensor, "batch heads key size"],
    attention_mask: Tensor | None,
    *,
    start: int | Tensor,
    causal: bool,
    scaling: float,
    dropout: float,
) -> tuple[Float[Tensor, "batch query heads size"], Float[Tensor, "batch heads query key"]]:
    """Attention with NEZHA's codes.

    Args:
        query: the first stands at place `start` of the keys.
        key: all keys.
        value: all values, as wide as the keys.
        attention_mask: true or 0 where a key is seen; None for all, or for all up to the query's own place if
            `causal`.
        start: number of keys before the first query.
        causal: what no mask means.
        scaling: on the logits.
        dropout: rate on the weights.

    Returns:
        Output and weights.
    """
    places = torch.arange(key.shape[-2], device=key.device)
    ahead = places - (start + torch.arange(query.shape[-2], device=key.device))[:, None]  # (query, key)
    distances = ahead.clamp(-REACH, REACH) + REACH
    codes = sinusoids(torch.arange(2 * REACH + 1, device=key.device), key.shape[-1]).to(key.dtype)
    index = distances.expand(*query.shape[:2], -1, -1)
    logits = (query @ key.transpose(-1, -2) + (query @ codes.T).gather(-1, index)) * scaling
    seen = visible(attention_mask, False, query.shape[-2], key.shape[-2], key.device)
    if attention_mask is None and causal:
        seen = (ahead <= 0)[None, None]
    weights = softmax(logits.to(torch.promote_types(torch.float32, logits.dtype)), seen).to(query.dtype)
    weights = functional.dropout(weights, dropout, dropout > 0)
    by_distance = weights.new_zeros(*weights.shape[:-1], len(codes)).scatter_add(-1, index, weights)
    return (weights @ value + by_distance @ codes).transpose(1, 2).contiguous(), weights
