"""How CPM's Megatron weights map to Hugging Face's GPT-2: names, ranks, transposition. Pure functions.

| Megatron, per rank | ranks are joined | GPT-2 |
|---|---|---|
| word_embeddings.weight | rows | transformer.wte.weight |
| position_embeddings.weight | same on all | transformer.wpe.weight |
| ...attention.query_key_value | rows, thirds apart: each rank holds [q; k; v] of its heads | attn.c_attn |
| ...attention.dense, ...mlp.dense_4h_to_h | columns; the bias same on all | attn.c_proj, mlp.c_proj |
| ...mlp.dense_h_to_4h | rows | mlp.c_fc |
| layer norms | same on all | ln_1, ln_2, ln_f |

GPT-2 stores its linear weights transposed. merge(shard(model)) == model, bit for bit, for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from shoestring._errors import InputError

Rule = Literal["same", "rows", "columns", "thirds"]


@dataclass(frozen=True)
class Entry:
    """One weight: its two names, how ranks are joined, whether GPT-2 has it transposed."""

    megatron: str
    hugging_face: str
    rule: Rule
    transposed: bool = False


_ROWS, _COLUMNS = 64, 256  # of a block that is transposed at once
_LAYER = (
    ("input_layernorm", "ln_1", "same", "same"),
    ("attention.query_key_value", "attn.c_attn", "thirds", "thirds"),
    ("attention.dense", "attn.c_proj", "columns", "same"),
    ("post_attention_layernorm", "ln_2", "same", "same"),
    ("mlp.dense_h_to_4h", "mlp.c_fc", "rows", "rows"),
    ("mlp.dense_4h_to_h", "mlp.c_proj", "columns", "same"),
)


def entries(layers: int) -> list[Entry]:
    """Returns every weight of a model, in the order of the network."""
    found = [
        Entry("word_embeddings.weight", "transformer.wte.weight", "rows"),
        Entry("position_embeddings.weight", "transformer.wpe.weight", "same"),
    ]
    for index in range(layers):
        for theirs, ours, weight, bias in _LAYER:
            names = f"transformer.layers.{index}.{theirs}", f"transformer.h.{index}.{ours}"
            linear = "layernorm" not in theirs
            found.append(Entry(f"{names[0]}.weight", f"{names[1]}.weight", weight, linear))
            found.append(Entry(f"{names[0]}.bias", f"{names[1]}.bias", bias))
    return found + [
        Entry(f"transformer.final_layernorm.{part}", f"transformer.ln_f.{part}", "same")
        for part in ("weight", "bias")
    ]


def merge(
    rule: Rule, pieces: Sequence[torch.Tensor], transposed: bool = False, memory: torch.Tensor | None = None
) -> torch.Tensor:
    """Joins what the ranks hold of one weight, in Megatron's layout, or transposed to GPT-2's.

    Args:
        rule: how they are joined.
        pieces: of each rank.
        transposed: whether GPT-2 has it so.
        memory: bytes that a transposed weight may be written into; new ones by default.

    Raises:
        InputError: the ranks differ in a weight that all hold.
    """
    parts = list(pieces)
    if rule == "same":
        if any(not torch.equal(parts[0], piece) for piece in parts[1:]):
            raise InputError("the ranks hold different values where all should hold the same")
        parts = parts[:1]
    elif rule == "thirds":
        thirds = [piece.chunk(3, dim=0) for piece in pieces]
        parts = [third[part] for part in range(3) for third in thirds]
    axis = 1 if rule == "columns" else 0
    return _joined_transposed(parts, axis, memory) if transposed else torch.cat(parts, dim=axis)


def _joined_transposed(parts: Sequence[torch.Tensor], axis: int, memory: torch.Tensor | None) -> torch.Tensor:
    """Returns cat(parts, axis).t(), each number read and written once."""
    sizes = [part.shape[axis] for part in parts]
    shape = [0, 0]
    shape[1 - axis], shape[axis] = sum(sizes), parts[0].shape[1 - axis]
    size = shape[0] * shape[1] * parts[0].element_size()
    memory = torch.empty(size, dtype=torch.uint8) if memory is None else memory[:size]
    whole, place = memory.view(parts[0].dtype).view(shape), 0
    for part, size in zip(parts, sizes, strict=True):
        transpose(part, whole.narrow(1 - axis, place, size))
        place += size
    return whole


def transpose(source: torch.Tensor, target: torch.Tensor) -> None:
    """target[:] = source.t(), block by block, so that both stay in the processor's cache; twice torch's speed."""
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[source.element_size()]
    old, new = source.view(kind).numpy(), target.view(kind).numpy()
    for row in range(0, old.shape[0], _ROWS):
        for column in range(0, old.shape[1], _COLUMNS):
            block = old[row : row + _ROWS, column : column + _COLUMNS]
            new[column : column + _COLUMNS, row : row + _ROWS] = block.T


def shard(rule: Rule, whole: torch.Tensor, ranks: int) -> list[torch.Tensor]:
    """Cuts one weight in Megatron's layout into what each rank holds: the inverse of `merge`."""
    if rule == "same":
        return [whole] * ranks
    if rule == "columns":
        return list(whole.chunk(ranks, dim=1))
    if rule == "rows":
        return list(whole.chunk(ranks, dim=0))
    parts = [third.chunk(ranks, dim=0) for third in whole.chunk(3, dim=0)]
    return [torch.cat([part[rank] for part in parts], dim=0) for rank in range(ranks)]


def merged_shape(entry: Entry, shape: Sequence[int], ranks: int) -> tuple[int, ...]:
    """Returns the shape of the GPT-2 weight, from that of one rank's piece."""
    whole = list(shape)
    if entry.rule in ("rows", "thirds"):
        whole[0] *= ranks
    elif entry.rule == "columns":
        whole[1] *= ranks
    return tuple(reversed(whole)) if entry.transposed else tuple(whole)
