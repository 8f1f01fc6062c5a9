"""Batch norm's statistics, taken anew as plain means over many batches, in fp32.

- `recalibrated`: over training images; for averaged weights, whose statistics nobody has seen.
- `readjusted`: over samples at a temperature; colder samples are sharper when batch norm expects them (NVAE, appendix).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from shoestring.nvae.model.modeling import NVAE


def recalibrated(model: NVAE, batches: Iterable[Tensor]) -> NVAE:
    """Returns the model with statistics of its passes over images; `model` is changed in place."""
    _collect(model, [model], (lambda x=x: model.infer(x) for x in batches))
    return model


def readjusted(
    model: NVAE, temperature: float | Sequence[float], batches: int = 50, batch_size: int = 64
) -> NVAE:
    """Returns a copy of the model whose decoder expects samples at a temperature.

    Args:
        model: left as it is.
        temperature: as for `NVAE.sample_head`.
        batches: of samples.
        batch_size: samples in each.
    """
    model = copy.deepcopy(model)
    draw = (lambda: model.sample_head(batch_size, temperature) for _ in range(batches))
    _collect(model, [model.decoder], draw)
    return model


@torch.no_grad()
def _collect(model: NVAE, parts: Sequence[nn.Module], passes: Iterable[Callable[[], object]]) -> None:
    norms = [m for part in parts for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()
    for run in passes:
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
