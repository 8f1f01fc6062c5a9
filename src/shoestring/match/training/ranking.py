"""Training on pairs that match, against all other texts: the ranking losses of sentence-transformers, by its names.

- The other second texts of a batch count as non-matches; no text is twice in a batch (`NO_DUPLICATES`).
- Hard negatives are texts that the base model finds near and that are not known to match, by sentence-transformers'
  `mine_hard_negatives`; those within 5 % of the match's own score are left out, since they may well match.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr
from typing import Any

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from shoestring._errors import InputError
from shoestring.match.data.pairs import Pairs

MARGIN = 0.05  # of the match's score
NEAREST = 100  # texts that are looked at


def matches(pairs: Pairs, above: float) -> Dataset:
    """Returns `anchor` and `positive` of the pairs of two texts whose label is above a cut, each once.

    Raises:
        InputError: there is none.
    """
    rows = dict.fromkeys(
        (one, two)
        for (one, two), label in zip(pairs, pairs.labels.tolist(), strict=True)
        if label > above and one != two
    )
    if not rows:
        raise InputError(
            f"{pairs.name}: no two different texts have a label above {above:g}; a ranking loss learns from matches"
        )
    return _table(rows)


def recurring(rows: Dataset) -> int:
    """Returns how often the most frequent text occurs: so many batches a pass takes at least, each having it once.

    Raises:
        InputError: one text is in all of them, so no batch has anything that does not match.
    """
    columns = [rows[name] for name in rows.column_names]
    counts = Counter(text for row in zip(*columns, strict=True) for text in set(row))
    text, most = counts.most_common(1)[0]
    if most == len(rows) and len(columns) == 2:
        raise InputError(
            f"all {len(rows):,} matches have the text {text!r:.40}, so a batch is one match and teaches nothing; "
            "ask for hard negatives, or take another loss"
        )
    return most


def mined(rows: Dataset, pairs: Pairs, model: SentenceTransformer, count: int) -> Dataset:
    """Adds `negative_1` ... to the matches; those for which there are not so many are left out.

    Args:
        rows: as `matches` returns them.
        pairs: whose second texts may be negatives.
        model: which finds what is near.
        count: negatives of each match.

    Raises:
        InputError: there are not so many for any match.
    """
    wanted = dict.fromkeys(zip(rows["anchor"], rows["positive"], strict=True))
    both = _table(dict.fromkeys([*wanted, *(pair[::-1] for pair in wanted)]))  # known in either order
    prompt = model.prompts.get(model.default_prompt_name or "")
    with redirect_stderr(io.StringIO()):  # bars that no option turns off
        found: Any = mine_hard_negatives(
            both, model, corpus=list(dict.fromkeys(pairs.second)), num_negatives=count, range_max=NEAREST + count,
            relative_margin=MARGIN, query_prompt=prompt, corpus_prompt=prompt, output_format="n-tuple",
            batch_size=64, verbose=False,
        )  # fmt: skip
    kept = [
        at for at, pair in enumerate(zip(found["anchor"], found["positive"], strict=True)) if pair in wanted
    ]
    if not kept:
        raise InputError(
            f"{pairs.name}: no match has {count} texts that are near and do not match; ask for fewer hard negatives"
        )
    return found.select(kept)


def _table(rows: Iterable[tuple[str, str]]) -> Dataset:
    first, second = zip(*rows, strict=True)
    return Dataset.from_dict({"anchor": first, "positive": second})
