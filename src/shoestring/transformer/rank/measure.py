"""How many dimensions a head's attention really has: the low-rank bottleneck, measured in a model.

- The effective rank of a matrix is exp(H(p)) with p its singular values divided by their sum (Roy & Vetterli 2007,
  "The effective rank: a measure of effective dimensionality"): 1 for an outer product, n for an orthogonal matrix.
- Logits Q K^T / sqrt(d) of n tokens are n x n but of rank at most key_size, so with key_size < n a head cannot have
  every pattern (Bhojanapalli et al. 2020). They are measured before the mask, less the mean of each row, which softmax
  ignores and which would hide the rest, and after the mix of talking heads, which raises the bound to key heads x
  key_size. The weights are measured after softmax and mask, and after a mix of theirs.
- Works for any model of transformers whose attention can be replaced (`AttentionInterface`), and for our family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, zip_longest
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from shoestring._errors import InputError, OptionError
from shoestring.transformer.model.attention import Attention
from shoestring.transformer.talking_heads.written_out import mixes_of

NAME = "shoestring-rank"
LENGTHS = (16, 32, 64, 128)
WINDOWS = 4  # pieces of the text per length

Record = Callable[[int, int, Tensor, Tensor], None]  # key size, heads that share it, logits, weights


@dataclass(frozen=True)
class HeadRank:
    """Effective ranks of one head, means over pieces of text.

    Args:
        layer: number of its block.
        head: its number there.
        length: tokens of a piece.
        key_size: width of its queries and keys.
        bound: no rank of its logits can be above it.
        logits: of the logits; None where talking heads have fewer heads before the softmax than after it.
        weights: of the attention weights; None in the opposite case.
    """

    layer: int
    head: int
    length: int
    key_size: int
    bound: int
    logits: float | None
    weights: float | None


def effective_rank(matrices: Float[Tensor, "*batch n m"]) -> Float[Tensor, "*batch"]:
    """Returns exp(H(p)), p the singular values over their sum; 0 for a matrix of zeros.

    >>> round(effective_rank(torch.eye(5)).item(), 6)
    5.0
    """
    values = torch.linalg.svdvals(matrices.double())
    p = values / values.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    entropy = -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(dim=-1)
    return (entropy.exp() * (values.sum(dim=-1) > 0)).to(matrices.dtype)


def measure_ranks(
    model: PreTrainedModel,
    ids: Int[Tensor, " tokens"],
    lengths: Sequence[int] = LENGTHS,
    progress: Callable[[int], object] = lambda length: None,
) -> list[HeadRank]:
    """Measures every head at every length that the text suffices for.

    Args:
        model: a bare model or one with a head.
        ids: a text; pieces of it are read, at most four for a length, without special tokens.
        lengths: of the pieces, in tokens.
        progress: is told each length when it is done.

    Raises:
        InputError: the text is too short, or the model's attention cannot be replaced.
        OptionError: a length below 2.
    """
    if model.config.is_encoder_decoder:
        raise InputError("an encoder-decoder is not measured; give an encoder or a decoder")
    if wrong := [length for length in lengths if length < 2]:
        raise OptionError(f"--lengths {wrong[0]}: a piece needs at least 2 tokens")
    fitting = [length for length in sorted(set(lengths)) if length <= len(ids)]
    if not fitting:
        raise InputError(
            f"the text has {len(ids)} tokens, the shortest length is {min(lengths)}; give more text"
        )
    ranks = []
    for length in fitting:
        pieces = ids[: len(ids) // length * length].view(-1, length)[:WINDOWS]
        ranks += _at_length(model, pieces)
        progress(length)
    return ranks


@torch.no_grad()
def _at_length(model: PreTrainedModel, pieces: Int[Tensor, "pieces length"]) -> list[HeadRank]:
    ranks: list[HeadRank] = []
    layers = count()

    def record(key_size: int, sharers: int, logits: Tensor, weights: Tensor) -> None:
        layer, length = next(layers), logits.shape[-1]
        bound = min(length, key_size * sharers)
        logits = logits - logits.mean(dim=-1, keepdim=True)
        for head, pair in enumerate(zip_longest(_means(logits), _means(weights))):
            ranks.append(HeadRank(layer, head, length, key_size, bound, *pair))

    training = model.training
    with _recorded(model.eval(), record):
        model(pieces.to(model.device))
    model.train(training)
    if not ranks:
        raise InputError(
            f"{type(model).__name__}: its attention does not go through transformers' AttentionInterface, "
            "so it cannot be measured"
        )
    return ranks


def _means(matrices: Float[Tensor, "pieces heads query key"]) -> list[float]:
    return effective_rank(matrices).mean(dim=0).tolist()


@contextmanager
def _recorded(model: PreTrainedModel, record: Record) -> Iterator[None]:
    """Every attention of the model tells `record` its logits and weights."""
    before = str(model.config._attn_implementation)
    AttentionInterface.register(NAME, partial(_written_out, record))
    AttentionMaskInterface.register(NAME, eager_mask)
    ours = [module for module in model.modules() if isinstance(module, Attention)]
    try:
        model.set_attn_implementation("eager" if ours else NAME)
        for module in ours:
            module.attend = partial(_attended, record, module)  # pyrefly: ignore
        yield
    finally:
        for module in ours:
            del module.attend
        model.set_attn_implementation(before)


def _attended(
    record: Record,
    module: Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Our own attention, measured; the distance codes of relative positions are not in its logits."""
    output, weights = type(module).attend(module, query, key, value, mask, **kwargs)
    assert weights is not None
    pre, _ = mixes_of(module, kwargs)
    record(query.shape[-1], query.shape[1] if pre.mixes else 1, pre.apply(_logits(query, key)), weights)
    return output, weights


def _written_out(
    record: Record,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, Tensor]:
    """Attention of another family, written out and measured."""
    logits = _logits(query, key) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    masked = logits if attention_mask is None else logits + attention_mask
    weights = masked.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    record(query.shape[-1], 1, logits, weights)
    value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def _logits(query: Tensor, key: Tensor) -> Tensor:
    """Q K^T, each key head for the queries that share it."""
    return query @ key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(-1, -2)
