"""Masks for tokens that stand in a tree: each sees what stands before it on its own branch, as far as its layer looks.

transformers makes a layer's mask from a function of two places (causal, sliding window, chunks). Within `branching`
that function gets the tokens' depths instead of their columns, and what it allows is cut down to the branch: so
every layer keeps its own window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask


@dataclass(frozen=True)
class Tree:
    """The tokens of a row and what each new one sees.

    Args:
        depth: how many tokens stand before each on its branch, of all columns, read before or now.
        sees: which columns are on a new token's branch.
    """

    depth: Int[Tensor, " columns"]
    sees: Bool[Tensor, "new columns"]


_TREE: ContextVar[Tree | None] = ContextVar("tree", default=None)


@contextmanager
def branching(tree: Tree) -> Iterator[None]:
    """Lets the model that is called here read a tree."""
    token = _TREE.set(tree)
    try:
        yield
    finally:
        _TREE.reset(token)


def _or_tree(usual: Callable[..., Any]) -> Callable[..., Any]:
    def mask(*args: Any, **settings: Any) -> Any:
        tree = _TREE.get()
        if tree is None:
            return usual(*args, **settings)
        allowed = _allowed(tree, settings["mask_function"])
        if usual is sdpa_mask:
            return allowed
        dtype = settings["dtype"]
        zero = torch.zeros((), device=allowed.device, dtype=dtype)
        return torch.where(allowed, zero, torch.finfo(dtype).min)

    return mask


def _allowed(tree: Tree, function: Callable[..., Tensor]) -> Bool[Tensor, "1 1 new columns"]:
    new = tree.depth[len(tree.depth) - len(tree.sees) :]
    only = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=new.device)
    allowed = function(only, only, new[None, None, :, None], tree.depth[None, None, None, :])
    return allowed & tree.sees[None, None]


AttentionMaskInterface.register("sdpa", _or_tree(sdpa_mask))
AttentionMaskInterface.register("eager", _or_tree(eager_mask))
