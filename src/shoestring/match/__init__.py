"""Are these two texts the same? Bi-encoder against cross-encoder, with a threshold you can trust.

- `threshold`: exact thresholds, their uncertainty, grades; numpy only.
- `train(base, pairs, ...)`: a bi-encoder or a cross-encoder whose folder carries its threshold and calibration.
- `Matcher(folder)`: score, probability and verdict of pairs; any sentence-transformers folder will do.
- `cosent(scores, labels)`: the loss in O(n log n), cached for huge batches, exact across processes.
- `Index`: exact or HNSW search over texts, with a cross-encoder on top.
- `shoestring match --help` lists the commands.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoestring.match.cosent import cosent
    from shoestring.match.index import Index
    from shoestring.match.matcher import Matcher
    from shoestring.match.pairs import Pairs, read_pairs
    from shoestring.match.training import Training, train

_PLACES = {
    "cosent": "cosent", "Index": "index", "Matcher": "matcher", "Pairs": "pairs", "read_pairs": "pairs",
    "Training": "training", "train": "training",
}  # fmt: skip
__all__ = ["Index", "Matcher", "Pairs", "Training", "cosent", "read_pairs", "train"]


def __getattr__(name: str):
    """Loads a name when it is first used, so that thresholds need numpy alone."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
