"""What a loss is divided by: the number of places where something is asked, and never 0."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100  # the label of a place where nothing is asked, everywhere in transformers


def targets(labels: Tensor, given: Tensor | int | None = None) -> Tensor:
    """Returns how many labels ask for something, at least 1: a batch that asks for nothing has loss 0, not NaN.

    Args:
        labels: `IGNORED` where nothing is asked.
        given: the number over several batches, as the Trainer counts it for gradient accumulation.

    >>> targets(torch.tensor([[-100, 7, -100, 9]])), targets(torch.tensor([[-100]]))
    (tensor(2), tensor(1))
    """
    count = (labels != IGNORED).sum() if given is None else torch.as_tensor(given)
    return count.clamp(min=1)
