"""From a model's folder and a text to its ranks, and from ranks to a figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import torch

from shoestring import hub, plot
from shoestring._errors import InputError
from shoestring.transformer.model.heads import register
from shoestring.transformer.rank.measure import WINDOWS, HeadRank, measure_ranks

CHARACTERS = 200_000  # of a long text that are read at all

__all__ = ["draw", "measured"]


def measured(
    folder: str,
    documents: Iterable[str],
    lengths: Sequence[int],
    progress: Callable[[int], object] = lambda length: None,
) -> list[HeadRank]:
    """Measures the model of a folder on a text.

    Raises:
        InputError: no model, no tokenizer, or too little text.
    """
    register()
    model, tokenizer = hub.load(folder), hub.load_tokenizer(folder)
    ids: list[int] = []
    for document in documents:
        ids += tokenizer(document[:CHARACTERS], add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) >= WINDOWS * max(lengths):
            break
    if not ids:
        raise InputError("the text is empty; give --text a file with text")
    _check_that_it_is_read(ids, tokenizer.unk_token_id)
    return measure_ranks(model.float(), torch.tensor(ids), lengths, progress)


def _check_that_it_is_read(ids: Sequence[int], unknown: int | None) -> None:
    share = sum(token == unknown for token in ids) / len(ids)
    if share > 0.5:
        raise InputError(
            f"{share:.0%} of the text is unknown to this tokenizer; give --text in the model's language"
        )


def draw(ranks: Sequence[HeadRank], path: str | os.PathLike[str], name: str) -> None:
    """Draws ranks as `plot.attention_ranks` does."""
    lengths = sorted({each.length for each in ranks})
    rows: dict[str, list[list[float]]] = {"logits": [], "weights": []}
    for kind, row in rows.items():
        for length in lengths:
            values = [getattr(each, kind) for each in ranks if each.length == length]
            row.append([value for value in values if value is not None])
    last = [each for each in ranks if each.length == lengths[-1] and each.logits is not None]
    layers = sorted({each.layer for each in last})
    grid = [[each.logits or 0.0 for each in last if each.layer == layer] for layer in layers]
    plot.attention_ranks(
        lengths, rows["logits"], rows["weights"], grid, path,
        key_size=last[0].key_size, title=f"Effective rank of attention: {name}",
    )  # fmt: skip
