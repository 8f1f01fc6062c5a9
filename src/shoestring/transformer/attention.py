"""Multi-head attention whose key size and value size are free.

- softmax(Q K^T / sqrt(key_size) + mask) V, with Q, K: (heads, key_size) and V: (heads, value_size).
- Fused kernels want equal widths and silently fall back to the n^2 form otherwise, so the narrower of the two is
  padded with zeros: padded keys add 0 to every logit, padded values are cut off again. Exact, and still fused.
- Which kernel runs is transformers' `attn_implementation`; `Attention.attend` is the place to change how heads mix.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from shoestring.transformer.configuration import ShoestringConfig
from shoestring.transformer.positions import relative_attention


class Rope(nn.Module):
    """Rotary position code (Su et al. 2021): turns dimension pairs (i, i + d/2) by position * theta^(-2i/d)."""

    def __init__(self, key_size: int, theta: float) -> None:
        super().__init__()
        self.key_size, self.theta = key_size, theta

    def forward(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns cosines and sines, each (batch, 1, length, key_size)."""
        steps = torch.arange(0, self.key_size, 2, dtype=torch.float32, device=position_ids.device)
        angles = position_ids[:, None, :, None].float() * self.theta ** (-steps / self.key_size)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(
    x: Float[Tensor, "batch heads length key"], cosines: Tensor, sines: Tensor
) -> Float[Tensor, "batch heads length key"]:
    """Applies the rotation that `Rope` computed."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


def eager_attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads query key_size"],
    key: Float[Tensor, "batch heads key key_size"],
    value: Float[Tensor, "batch heads key value_size"],
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Float[Tensor, "batch query heads value_size"], Float[Tensor, "batch heads query key"]]:
    """Attention written out: the reference for every fused kernel, and the one that returns its weights."""
    logits = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask
    weights = logits.softmax(dim=-1, dtype=torch.promote_types(torch.float32, logits.dtype)).to(query.dtype)
    weights = functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """Self-attention of one block.

    Override `attend` to change what happens between the projections.
    """

    def __init__(self, config: ShoestringConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.is_causal = config.is_decoder
        hidden, heads = config.hidden_size, config.num_heads
        self.q_proj = nn.Linear(hidden, heads * config.key_size, bias=config.attention_bias)
        self.k_proj = nn.Linear(hidden, heads * config.key_size, bias=config.attention_bias)
        self.v_proj = nn.Linear(hidden, heads * config.value_size, bias=config.attention_bias)
        self.o_proj = nn.Linear(heads * config.value_size, hidden, bias=config.attention_bias)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length hidden"],
        attention_mask: Tensor | None = None,
        rotation: tuple[Tensor, Tensor] | None = None,
        past_key_values: Cache | None = None,
        **kwargs: object,
    ) -> tuple[Float[Tensor, "batch length hidden"], Tensor | None]:
        """Returns the output and, from the eager kernel only, the weights (batch, heads, query, key)."""
        query, key, value = (
            projection(hidden_states).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # (b, h, n, key_size or value_size)
        if rotation is not None:
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        if self.config.position == "relative":
            kwargs["start"] = (
                past_key_values.get_seq_length(self.layer_idx) if past_key_values is not None else 0
            )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        output, weights = self.attend(query, key, value, attention_mask, **kwargs)
        return self.o_proj(output.flatten(-2)), weights

    def attend(
        self,
        query: Float[Tensor, "batch heads query key_size"],
        key: Float[Tensor, "batch heads key key_size"],
        value: Float[Tensor, "batch heads key value_size"],
        attention_mask: Tensor | None,
        **kwargs: object,
    ) -> tuple[Float[Tensor, "batch query heads value_size"], Tensor | None]:
        """Runs the kernel that `attn_implementation` names, all widths padded to the larger.

        Relative positions have a form of their own, whatever `attn_implementation` says.
        """
        if self.config.position == "relative":
            return self._attend_by_distance(query, key, value, attention_mask, kwargs["start"])
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(str(self.config._attn_implementation), eager_attention)
        width = max(query.shape[-1], value.shape[-1])
        output, weights = kernel(
            self,
            *(functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value)),
            attention_mask,
            scaling=self.config.key_size**-0.5,
            dropout=self.config.dropout if self.training else 0.0,
            **kwargs,
        )
        return output[..., : value.shape[-1]], weights

    def _attend_by_distance(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, start: Any):
        return relative_attention(
            query, key, value, mask, start=start, causal=self.is_causal,
            scaling=self.config.key_size**-0.5, dropout=self.config.dropout if self.training else 0.0,
        )  # fmt: skip
