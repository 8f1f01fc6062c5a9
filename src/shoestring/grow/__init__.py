"""Enlarging a trained Transformer without changing what it computes, with proof.

    from shoestring.grow import Request, grow
    report = grow("small", "big", Request(hidden="1.5x", layers="+4"))
    print("\\n".join(report.lines()))

- `axes` how one axis grows; `sides`, `tensors`, `splits`, `draws`, `dtypes` what that does to numbers;
- `family`, `rules/` what each tensor of an architecture is; `probing`, `inference` the same for one without a rule;
- `request`, `sizing`, `growing_axes`, `planning` from a wish to a plan; `checkpoint`, `writing`, `growing` from a plan
  to a folder;
- `small`, `loading`, `wide`, `proof`, `trial`, `report` the proof; `optimizer`, `advising` training.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoestring.grow.advising import advise
    from shoestring.grow.growing import grow, planned
    from shoestring.grow.request import Request

_HOME = {"advise": "advising", "grow": "growing", "planned": "growing", "Request": "request"}

__all__ = ["Request", "advise", "grow", "planned"]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command line stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
