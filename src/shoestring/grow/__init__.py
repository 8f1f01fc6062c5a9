"""Enlarging a trained Transformer without changing what it computes, with proof.

    from shoestring.grow import Request, grow
    report = grow("small", "big", Request(hidden="1.5x", layers="+4"))
    print("\\n".join(report.lines()))

- `axes` how one axis grows; `sides`, `tensors`, `splits`, `draws`, `dtypes` what that does to numbers;
- `family`, `rules/` what each tensor of an architecture is; `probing`, `inference` the same for one without a rule;
- `request`, `sizing`, `growing_axes`, `planning` from a wish to a plan; `checkpoint`, `pickles`, `writing`, `growing`
  from a plan to a folder;
- `small`, `loading`, `wide`, `proof`, `trial`, `report` the proof; `optimizer`, `advising` training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring._lazy import lazy

if TYPE_CHECKING:
    from shoestring.grow.growing import grow, planned
    from shoestring.grow.plan.request import Request
    from shoestring.grow.training.advising import advise
    from shoestring.grow.training.freezing import freeze_old

__all__ = ["Request", "advise", "freeze_old", "grow", "planned"]

__getattr__ = lazy(
    __name__,
    {
        "training.advising": "advise",
        "training.freezing": "freeze_old",
        "growing": "grow planned",
        "plan.request": "Request",
    },
)
