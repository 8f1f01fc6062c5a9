"""Training new blocks alone: which parameters of a grown model they are, and a call that freezes all others.

What the old model knows stays in its blocks, bit by bit, while the new ones learn, as in
[LLaMA-Pro](https://arxiv.org/abs/2401.02415). New blocks add nothing at first, since what they put out is multiplied by
zeros; those zeros have gradients from the first step on, everything before them from the second.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shoestring._errors import InputError
from shoestring.grow.plan.planning import Plan
from shoestring.grow.plan.request import RECIPE

if TYPE_CHECKING:
    from torch import nn


def write_recipe(planned: Plan, draft: Path) -> None:
    """Writes the names that the parameters of new blocks have in memory, which may differ from those in the files."""
    from shoestring.grow.stored.architecture import as_read
    from shoestring.grow.stored.checkpoint import opened

    names = as_read(opened(draft)).names
    new = dict.fromkeys(names.get(each.name, each.name) for each in planned.growths if each.inserted)
    (draft / RECIPE).write_text(json.dumps({"trainable": list(new)}, indent=1) + "\n", "utf-8")


def freeze_old(model: nn.Module, folder: str | os.PathLike[str]) -> int:
    """Freezes all of a grown model but its new blocks.

    Args:
        model: as transformers loads the folder.
        folder: what `shoestring grow --layers +4 --freeze-old` wrote.

    Returns:
        How many numbers still learn.

    Raises:
        InputError: the folder has no recipe, or the model is of another class than the one that was grown.

    >>> freeze_old(AutoModelForCausalLM.from_pretrained("big"), "big")  # doctest: +SKIP
    """
    path = Path(folder, RECIPE)
    if not path.is_file():
        raise InputError(f"{folder}: has no {RECIPE}; grow it with --layers +4 --freeze-old")
    new, there = set(json.loads(path.read_text("utf-8"))["trainable"]), dict(model.named_parameters())
    if lacking := sorted(new - set(there)):
        raise InputError(
            f"{folder}: a {type(model).__name__} has no {lacking[0]}; load the class that config.json names, and "
            "freeze before it is wrapped"
        )
    for name, parameter in there.items():
        parameter.requires_grad_(name in new)
    return sum(there[name].numel() for name in new)
