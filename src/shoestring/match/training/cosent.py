"""CoSENT in O(n log n) with its gradient in closed form: `L = log(1 + sum exp(scale * (s_i - s_j)))`.

- The sum is over all i, j with label_i < label_j: a pair that is less alike must not score higher (Su 2022,
  https://kexue.fm/archives/8847; Huang et al. 2024, doi 10.1109/TASLP.2024.3402087).
- With t = scale * s sorted by label: `A_i = t_i + LSE(-t_j over larger labels)`, `L = log(1 + sum exp A_i)`, and
  `dL/ds_i = scale * (exp(A_i - L) - exp(LSE(t_j over smaller labels) - t_i - L))`. One vector is kept.
- Since the gradient needs scores only, processes exchange two numbers a pair, not embeddings: `gathered=True`.

>>> cosent(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.0])).item() < 1e-6
True
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed

from shoestring._errors import InputError


def cosent(
    scores: Float[Tensor, " pairs"],
    labels: Shaped[Tensor, " labels"],
    scale: float = 20.0,
    gathered: bool = False,
) -> Float[Tensor, ""]:
    """Returns the loss; half precision is computed in single.

    Args:
        scores: such as cosines, or the logits of a cross-encoder.
        labels: the larger, the more alike; only their order matters.
        scale: inverse temperature; 20 for cosines, 1 for logits.
        gathered: the loss over the pairs of all processes. Each process gets the gradient of its own pairs times
            the number of processes, since DistributedDataParallel averages. Shares may differ in size.

    Raises:
        InputError: scores and labels differ in shape.
    """
    if scores.shape != labels.shape:
        raise InputError(
            f"scores of shape {tuple(scores.shape)}, labels of {tuple(labels.shape)}: each score needs one label"
        )
    return _CoSENT.apply(scores, labels, scale, gathered)


class _CoSENT(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, scale: float, gathered: bool) -> Tensor:
        values = scores.detach()
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        if gathered and distributed.is_initialized() and distributed.get_world_size() > 1:
            loss, gradient = _across(values, labels, scale)
        else:
            loss, gradient = loss_and_gradient(values, labels, scale)
        ctx.save_for_backward(gradient.to(scores.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:  # pyrefly: ignore
        (gradient,) = ctx.saved_tensors
        return outer[0].to(gradient.dtype) * gradient, None, None, None


def loss_and_gradient(scores: Tensor, labels: Tensor, scale: float = 20.0) -> tuple[Tensor, Tensor]:
    """Returns the loss and its gradient with respect to the scores, without autograd."""
    labels, order = labels.to(torch.int8).sort() if labels.dtype == torch.bool else labels.sort()
    scaled = (scores * scale)[order]
    nothing = scaled.new_full((1,), -torch.inf)
    larger = torch.searchsorted(labels, labels, right=True)
    smaller = torch.searchsorted(labels, labels)
    above = torch.cat([torch.logcumsumexp(-scaled.flip(0), 0).flip(0), nothing])[larger]
    below = torch.cat([nothing, torch.logcumsumexp(scaled, 0)])[smaller]
    terms = scaled + above
    loss = torch.logaddexp(torch.logsumexp(terms, 0), scaled.new_zeros(()))
    gradient = torch.empty_like(scaled)
    gradient[order] = scale * ((terms - loss).exp() - (below - scaled - loss).exp())
    return loss, gradient


def _across(scores: Tensor, labels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The same over all processes: gathers (score, label) pairs, padded to the largest share."""
    processes, rank = distributed.get_world_size(), distributed.get_rank()
    sizes = [torch.zeros(1, dtype=torch.int64, device=scores.device) for _ in range(processes)]
    distributed.all_gather(sizes, torch.tensor([len(scores)], device=scores.device))
    counts = [int(size) for size in sizes]
    mine = scores.new_zeros(max(counts), 2)
    mine[: len(scores)] = torch.stack([scores, labels.to(scores.dtype)], dim=1)
    shares = [torch.empty_like(mine) for _ in counts]
    distributed.all_gather(shares, mine)
    every = torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])
    loss, gradient = loss_and_gradient(every[:, 0], every[:, 1], scale)
    start = sum(counts[:rank])
    return loss, gradient[start : start + len(scores)] * processes
