"""Are these two texts the same? Bi-encoder against cross-encoder, with a threshold you can trust.

- `threshold`: exact thresholds, their uncertainty, grades; numpy only.
- `train(base, pairs, ...)`: a bi-encoder or a cross-encoder whose folder carries its threshold and calibration.
- `Matcher(folder)`: score, probability and verdict of pairs; any sentence-transformers folder will do.
- `cosent(scores, labels)`: the loss in O(n log n), cached for huge batches, exact across processes.
- `Index`: exact or HNSW search over texts, with a cross-encoder on top.
- `shoestring match --help` lists the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring._lazy import lazy

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs, read_pairs
    from shoestring.match.matcher import Matcher
    from shoestring.match.search.index import Index
    from shoestring.match.training.cosent import cosent
    from shoestring.match.training.settings import Training
    from shoestring.match.training.train import train

__all__ = ["Index", "Matcher", "Pairs", "Training", "cosent", "read_pairs", "train"]

__getattr__ = lazy(
    __name__,
    {
        "training.cosent": "cosent",
        "search.index": "Index",
        "matcher": "Matcher",
        "data.pairs": "Pairs read_pairs",
        "training.settings": "Training",
        "training.train": "train",
    },
)
