"""The matrices that mix the heads of a layer, and what makes them depend on the input; at first the identity and 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shoestring.transformer.talking_heads.counts import check_counts


class DynamicMix(nn.Linear):
    """Makes matrices of the input; at first all 0."""

    def reset_parameters(self) -> None:
        """Sets the weights to 0."""
        nn.init.zeros_(self.weight)


class HeadMixes(nn.Module):
    """The matrices of one layer: `pre_mix` and `post_mix`, and what makes them depend on the input.

    Args:
        hidden_size: width of the input that dynamic matrices are made of.
        counts: key heads, softmax heads and value heads.
        talking: none, pre, post or both.
        dynamic: let each query and each key add a matrix of its own.
    """

    undecayed = ("pre_mix", "post_mix")  # shrinking these would silence the heads: trainers leave them alone

    def __init__(self, hidden_size: int, counts: tuple[int, int, int], talking: str, dynamic: bool) -> None:
        super().__init__()
        key_heads, heads, value_heads = counts
        check_counts(counts, talking, dynamic)
        self.pre_mix = self.post_mix = None
        if talking in ("pre", "both"):
            self.pre_mix = nn.Parameter(torch.empty(key_heads, heads))
        if talking in ("post", "both"):
            self.post_mix = nn.Parameter(torch.empty(heads, value_heads))
        dynamic_layers = {
            f"{name}_by_{who}": DynamicMix(hidden_size, mix.numel(), bias=False)
            for name, mix in (("pre", self.pre_mix), ("post", self.post_mix))
            if dynamic and mix is not None
            for who in ("query", "key")
        }
        self.dynamic = nn.ModuleDict(dynamic_layers)
        self.reset_mixes()

    @torch.no_grad()
    def reset_mixes(self) -> None:
        """Makes the layer plain multi-head attention."""
        for mix, value in self.initial_mixes():
            mix.copy_(value)
        for layer in self.dynamic.values():
            nn.init.zeros_(layer.weight)  # pyrefly: ignore

    def initial_mixes(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Returns the fixed matrices and the identity for each.

        Softmax heads beyond the key heads listen to a random mix and are heard by nobody yet: two with equal
        columns would stay equal for ever.
        """
        found = []
        if self.pre_mix is not None:
            key_heads, heads = self.pre_mix.shape
            value = torch.eye(key_heads, heads)
            value[:, key_heads:].normal_(std=key_heads**-0.5)
            found.append((self.pre_mix, value))
        if self.post_mix is not None:
            found.append((self.post_mix, torch.eye(*self.post_mix.shape)))
        return found

    def mixes(self, x: Tensor, memory: Tensor) -> dict[str, Any]:
        """Returns `pre` and `post` and the dynamic matrices of an input, as `talking_heads_attention` takes them."""
        found: dict[str, Any] = {"pre": self.pre_mix, "post": self.post_mix}
        for name, layer in self.dynamic.items():
            source = x if name.endswith("query") else memory
            shape = found[name.partition("_")[0]].shape
            found[name] = layer(source).unflatten(-1, shape)
        return found
