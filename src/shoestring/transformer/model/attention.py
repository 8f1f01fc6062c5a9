"""Multi-head attention whose key size and value size are free.

- softmax(Q K^T / sqrt(key_size) + mask) V, with Q, K: (heads, key_size) and V: (heads, value_size).
- Fused kernels want equal widths and silently fall back to the n^2 form otherwise, so the narrower of the two is
  padded with zeros: padded keys add 0 to every logit, padded values are cut off again. Exact, and still fused.
- With talking heads: softmax(P (Q K^T) / sqrt(key_size) + mask) W V, P and W over the heads; see `talking_heads`.
- Which kernel runs is transformers' `attn_implementation`; `Attention.attend` is the place to change how heads mix.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.positions import relative_attention
from shoestring.transformer.talking_heads.cache import cached
from shoestring.transformer.talking_heads.head_mixes import DynamicMix, HeadMixes
from shoestring.transformer.talking_heads.interface import mixing
from shoestring.transformer.talking_heads.written_out import written_out


class Rope(nn.Module):
    """Rotary position code (Su et al. 2021): turns dimension pairs (i, i + d/2) by position * frequency i.

    Frequency i is theta^(-2i/d), divided by `rope_factor` to reach further (linear scaling, Chen et al. 2023). With
    `rope_bands` (length, few, many), as in Llama 3, that holds for frequencies of fewer than `few` turns in `length`
    tokens; those of more than `many` turns stay, and between the two it is a blend.
    """

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__()
        self.key_size, self.theta = config.key_size, config.rope_theta
        self.factor, self.bands = config.rope_factor, config.rope_bands

    def forward(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns cosines and sines, each (batch, 1, length, key_size)."""
        angles = position_ids[:, None, :, None].float() * self.frequencies(position_ids.device)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def frequencies(self, device: torch.device) -> Float[Tensor, " pairs"]:
        """Returns radians per position, for each pair."""
        steps = torch.arange(0, self.key_size, 2, dtype=torch.float32, device=device)
        # Rounded as transformers rounds: at position 8,000 another last digit turns a pair by 0.001.
        frequencies = 1.0 / self.theta ** (steps / self.key_size)
        if self.bands is None:
            return frequencies / self.factor
        length, few, many = self.bands
        turns = length / (2 * math.pi / frequencies)
        kept = ((turns - few) / (many - few)).clamp(0, 1)
        return (1 - kept) * frequencies / self.factor + kept * frequencies


def rotate(
    x: Float[Tensor, "batch heads length key"], cosines: Tensor, sines: Tensor
) -> Float[Tensor, "batch heads length key"]:
    """Applies the rotation that `Rope` computed."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


class Attention(HeadMixes):
    """Self-attention of one block.

    Override `attend` to change what happens between the projections.
    """

    def __init__(self, config: ShoestringConfig, layer_idx: int) -> None:
        heads = (config.num_key_heads, config.num_heads, config.num_value_heads)
        super().__init__(config.hidden_size, heads, config.talking_heads, config.dynamic_talking_heads)
        self.config, self.layer_idx = config, layer_idx
        self.is_causal = config.is_decoder
        key_heads, _, value_heads = heads
        hidden = config.hidden_size
        shared_keys = config.num_key_value_heads or key_heads
        shared_values = config.num_key_value_heads or value_heads
        self.num_key_value_groups = key_heads // shared_keys  # read by transformers' own kernels
        bias = config.attention_bias
        self.q_proj = nn.Linear(hidden, key_heads * config.key_size, bias=bias)
        self.k_proj = nn.Linear(hidden, shared_keys * config.key_size, bias=bias)
        self.v_proj = nn.Linear(hidden, shared_values * config.value_size, bias=bias)
        self.o_proj = nn.Linear(value_heads * config.value_size, hidden, bias=bias)

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
            projection(hidden_states).unflatten(-1, (-1, width)).transpose(1, 2)
            for projection, width in (
                (self.q_proj, self.config.key_size),
                (self.k_proj, self.config.key_size),
                (self.v_proj, self.config.value_size),
            )
        )  # (b, h, n, key_size or value_size)
        if rotation is not None:
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        if self.config.position == "relative":
            kwargs["start"] = _tokens_before(past_key_values, self.layer_idx)
        mixes = self.mixes(hidden_states, hidden_states)
        if past_key_values is not None:
            key, value, mixes = cached(past_key_values, self.layer_idx, key, value, mixes)
        output, weights = self.attend(query, key, value, attention_mask, **mixes, **kwargs)
        return self.o_proj(output.flatten(-2)), weights

    def attend(
        self,
        query: Float[Tensor, "batch key_heads query key_size"],
        key: Float[Tensor, "batch _shared_keys key key_size"],
        value: Float[Tensor, "batch _shared_values key value_size"],
        attention_mask: Tensor | None,
        **kwargs: object,
    ) -> tuple[Float[Tensor, "batch query value_heads value_size"], Tensor | None]:
        """Runs the kernel that `attn_implementation` names; one that would ignore the mixes is an error.

        Relative positions have a form of their own, whatever `attn_implementation` says.
        """
        if self.config.position == "relative":
            return self._attend_by_distance(query, key, value, attention_mask, kwargs["start"])
        name = str(self.config._attn_implementation)
        settings = {
            "scaling": self.config.key_size**-0.5,
            "dropout": self.config.dropout if self.training else 0.0,
            **kwargs,
        }
        if self.config.talking_heads != "none":
            return mixing(name)(self, query, key, value, attention_mask, **settings)
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(name, written_out)
        width = max(query.shape[-1], value.shape[-1])
        padded = (functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value))
        output, weights = kernel(self, *padded, attention_mask, **settings)
        return output[..., : value.shape[-1]], weights

    def _attend_by_distance(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, start: Any):
        return relative_attention(
            query, key, value, mask, start=start, causal=self.is_causal,
            scaling=self.config.key_size**-0.5, dropout=self.config.dropout if self.training else 0.0,
        )  # fmt: skip


def _tokens_before(cache: Cache | None, layer: int) -> int | Tensor:
    """Returns how many tokens a cache holds; a cache of fixed size counts in place, so its number is copied."""
    seen = 0 if cache is None else cache.get_seq_length(layer)
    return seen.clone() if isinstance(seen, Tensor) else seen


def init_mixes(module: nn.Module) -> bool:
    """Makes new mixes the identity and tells whether there were any: a plain checkpoint keeps its function."""
    if isinstance(module, DynamicMix):
        initialization.zeros_(module.weight)
    elif isinstance(module, HeadMixes):
        for mix, value in module.initial_mixes():
            initialization.copy_(mix, value)
    return isinstance(module, (DynamicMix, HeadMixes))
