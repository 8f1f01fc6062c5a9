"""Talking-heads attention as a layer of its own, for any model.

- Key heads, softmax heads and value heads may differ in number, key size and value size are free.
- It begins as plain multi-head attention: the mixes start as the identity, dynamic ones at 0.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.counts import check_sharing
from shoestring.transformer.talking_heads.function import talking_heads_attention
from shoestring.transformer.talking_heads.head_mixes import HeadMixes


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
