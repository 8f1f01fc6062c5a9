"""Mix, softmax, mix on one chunk of logits, forward and backward, in torch's own operations.

Backward, with S the logits, L = mix(S), A = softmax(L), B = mix(A), dB given:
dA = pull(dB), dL = A (dA - rowsum(A dA)), dS = pull(dL). `kernels` does the same in one pass each on CUDA.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.transformer.talking_heads.dropout import Dropout
from shoestring.transformer.talking_heads.masks import hide_
from shoestring.transformer.talking_heads.mix import Mix


class Chunk(NamedTuple):
    """What holds for one chunk of logits besides the logits.

    Args:
        pre, post: the mixes, cut to the chunk.
        mask: cut to the chunk, or None.
        diagonal: query i of the chunk sees its keys up to i + diagonal; None: all.
        dropout: or None.
        place: (row of the batch, first query, first key), for the dropout.
        kind: the type that weights and gradients are multiplied in next; `kernels` writes them in it.
    """

    pre: Mix
    post: Mix
    mask: Tensor | None
    diagonal: int | None
    dropout: Dropout | None
    place: tuple[int, int, int]
    kind: torch.dtype


def forward(logits: Float[Tensor, "b hk n m"], chunk: Chunk) -> Float[Tensor, "b hv n m"]:
    """Returns the weights; overwrites the logits."""
    weights = chunk.post.apply(_softmax(chunk.pre.apply(logits), chunk))
    if chunk.dropout is not None:
        weights = weights * chunk.dropout.factors(weights, *chunk.place)
    return weights


def backward(
    logits: Float[Tensor, "b hk n m"],
    gradient: Float[Tensor, "b hv n m"],
    chunk: Chunk,
    into_pre: Mix,
    into_post: Mix,
    into_mask: Tensor | None,
) -> tuple[Float[Tensor, "b hv n m"], Float[Tensor, "b hk n m"]]:
    """Returns the weights again and the gradient of the logits, from the gradient of the weights.

    Overwrites both arguments; adds the gradients of mixes and mask to `into_*`.
    """
    softmax = _softmax(chunk.pre.apply(logits), chunk)
    weights = chunk.post.apply(softmax)
    if chunk.dropout is not None:
        factors = chunk.dropout.factors(weights, *chunk.place)
        weights, gradient = weights * factors, gradient * factors
    back = chunk.post.pull(softmax, gradient, into_post)
    back = torch._softmax_backward_data(back, softmax, -1, softmax.dtype)
    if into_mask is not None:
        into_mask += back.sum_to_size(into_mask.shape)
    return weights, chunk.pre.pull(logits, back, into_pre)


def _softmax(logits: Tensor, chunk: Chunk) -> Tensor:
    """Works in place; where nothing mixes, on the logits themselves, which the gradient then does not need."""
    blind = hide_(logits, chunk.mask, chunk.diagonal)
    if blind is not None:
        logits.masked_fill_(blind, 0)
    torch.softmax(logits, -1, out=logits)
    return logits if blind is None else logits.masked_fill_(blind, 0)
