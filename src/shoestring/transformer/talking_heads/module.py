"""Talking-heads attention as a layer of its own, for any model.

- Key heads, softmax heads and value heads may differ in number, key size and value size are free.
- It begins as plain multi-head attention: the mixes start as the identity, dynamic ones at 0.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.counts import check_counts, check_sharing
from shoestring.transformer.talking_heads.function import talking_heads_attention


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


class TalkingHeadsAttention(HeadMixes):
    """Self- or cross-attention with talking heads.

    Args:
        hidden_size: width of input and output.
        num_heads: softmax heads.
        key_size: width of a head's queries and keys; by default hidden_size / num_heads.
        value_size: width of a head's values; by default hidden_size / num_heads.
        num_key_heads: by default num_heads; another number needs a pre mix.
        num_value_heads: by default num_heads; another number needs a post mix.
        num_key_value_heads: heads of keys and values that groups share (grouped-query attention); by default not.
        talking: none, pre, post or both.
        dynamic: input-dependent mixes besides the fixed ones.
        dropout: share of the mixed weights set to 0 in training.
        bias: of the four projections; the mixes never have one.
        backend: of `talking_heads_attention`.

    Raises:
        OptionError: the numbers of heads do not fit.

    >>> layer = TalkingHeadsAttention(64, 4, key_size=32)
    >>> layer(torch.randn(2, 9, 64), is_causal=True).shape
    torch.Size([2, 9, 64])
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        key_size: int | None = None,
        value_size: int | None = None,
        num_key_heads: int | None = None,
        num_value_heads: int | None = None,
        num_key_value_heads: int | None = None,
        talking: str = "both",
        dynamic: bool = False,
        dropout: float = 0.0,
        bias: bool = False,
        backend: str = "auto",
    ) -> None:
        key_heads, value_heads = num_key_heads or num_heads, num_value_heads or num_heads
        super().__init__(hidden_size, (key_heads, num_heads, value_heads), talking, dynamic)
        self.key_size = _width("key_size", key_size, hidden_size, num_heads)
        self.value_size = _width("value_size", value_size, hidden_size, num_heads)
        check_sharing(num_key_value_heads, key_heads, value_heads)
        shared_keys, shared_values = num_key_value_heads or key_heads, num_key_value_heads or value_heads
        self.q_proj = nn.Linear(hidden_size, key_heads * self.key_size, bias=bias)
        self.k_proj = nn.Linear(hidden_size, shared_keys * self.key_size, bias=bias)
        self.v_proj = nn.Linear(hidden_size, shared_values * self.value_size, bias=bias)
        self.o_proj = nn.Linear(value_heads * self.value_size, hidden_size, bias=bias)
        self.dropout, self.backend = dropout, backend

    def forward(
        self,
        x: Float[Tensor, "batch query hidden"],
        memory: Float[Tensor, "batch key hidden"] | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Float[Tensor, "batch query hidden"]:
        """Returns what each position gathers from `memory`, by default from x itself."""
        memory = x if memory is None else memory
        query, key, value = (
            projection(source).unflatten(-1, (-1, width)).transpose(1, 2)
            for projection, source, width in (
                (self.q_proj, x, self.key_size),
                (self.k_proj, memory, self.key_size),
                (self.v_proj, memory, self.value_size),
            )
        )
        output = talking_heads_attention(
            query, key, value, mask=mask, is_causal=is_causal, backend=self.backend,
            dropout=self.dropout if self.training else 0.0, **self.mixes(x, memory),
        )  # fmt: skip
        return self.o_proj(output.transpose(1, 2).flatten(2))


def _width(name: str, given: int | None, hidden_size: int, heads: int) -> int:
    if given is None and hidden_size % heads:
        raise OptionError(f"hidden_size {hidden_size} is not a multiple of num_heads {heads}; give {name}")
    width = hidden_size // heads if given is None else given
    if width < 1:
        raise OptionError(f"{name} {width}: must be a whole number of at least 1")
    return width
