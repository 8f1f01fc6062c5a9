"""Token ids of a huge batch, made in pieces: a tokenizer keeps of each token much that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

PIECE = 1024  # texts, or pairs
MASK = "attention_mask"


def in_pieces(
    preprocess: Callable[..., dict[str, Any]], tokenizer: Any, inputs: Sequence[Any], **settings: Any
) -> dict[str, Any]:
    """Returns what `preprocess(inputs, **settings)` does, in less memory.

    Each piece is copied into the whole at once: kept until the end, small tensors would pin the memory around them.

    Args:
        preprocess: of a model of sentence-transformers.
        tokenizer: the model's, which says how to pad.
        inputs: texts, or pairs of texts.
    """
    whole: dict[str, Any] = {}
    for start in range(0, len(inputs), PIECE):
        part = preprocess(inputs[start : start + PIECE], **settings)
        if len(part[MASK]) == len(inputs):
            return part
        _put(part, start, whole, len(inputs), tokenizer)
    return whole


def _put(part: dict[str, Any], start: int, whole: dict[str, Any], rows: int, tokenizer: Any) -> None:
    shape = part[MASK].shape
    width = max(shape[1], whole[MASK].shape[1]) if whole else shape[1]
    for name, value in part.items():
        if not isinstance(value, Tensor):
            whole[name] = value
            continue
        room = whole[name] if name in whole else value.new_empty((rows, *value.shape[1:]))
        wide = value.shape == shape
        whole[name], new = (
            (_widened(name, each, width, tokenizer) if wide else each) for each in (room, value)
        )
        whole[name][start : start + len(new)] = new


def _widened(name: str, value: Tensor, width: int, tokenizer: Any) -> Tensor:
    more = width - value.shape[1]
    sides = (0, more) if tokenizer.padding_side == "right" else (more, 0)
    return pad(value, sides, value=tokenizer.pad_token_id if name == "input_ids" else 0) if more else value
