"""What a block is made of: norm, attention, feed-forward.

- `ConditionalNorm` lets a vector shift every norm of the model (conditional layer norm, Su 2020,
  https://kexue.fm/archives/7124): gamma + A c and beta + B c, with A and B zero at first.
- The feed-forward layer is gated (SwiGLU and its kin, Shazeer 2020) or plain.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from shoestring.transformer.model.attention import Attention
from shoestring.transformer.model.configuration import ShoestringConfig


class ConditionalNorm(nn.LayerNorm):
    """Layer norm whose scale and shift follow a condition: (gamma + A c) * normalised(x) + beta + B c."""

    def __init__(self, size: int, cond_size: int, eps: float) -> None:
        super().__init__(size, eps=eps)
        self.cond_scale = nn.Linear(cond_size, size, bias=False)
        self.cond_shift = nn.Linear(cond_size, size, bias=False)

    def forward(
        self, input: Float[Tensor, "batch length hidden"], cond: Float[Tensor, "batch cond"] | None = None
    ) -> Float[Tensor, "batch length hidden"]:
        """Without a condition this is layer norm."""
        if cond is None:
            return super().forward(input)
        plain = nn.functional.layer_norm(input, self.normalized_shape, eps=self.eps)
        scale, shift = self.weight + self.cond_scale(cond), self.bias + self.cond_shift(cond)  # (b, hidden)
        return plain * scale[:, None] + shift[:, None]


def new_norm(config: ShoestringConfig, size: int | None = None) -> nn.Module:
    """Returns the norm that the config names, over `size` or hidden_size."""
    size = config.hidden_size if size is None else size
    if config.layer_norm_cond_size:
        return ConditionalNorm(size, config.layer_norm_cond_size, eps=config.norm_eps)
    return (nn.RMSNorm if config.norm == "rms" else nn.LayerNorm)(size, eps=config.norm_eps)


def conditions(layer_norm_cond: Tensor | None) -> tuple[Tensor, ...]:
    """Returns what a norm takes besides its input."""
    return () if layer_norm_cond is None else (layer_norm_cond,)


class FeedForward(nn.Module):
    """down(act(gate(x)) * up(x)), or down(act(up(x))) without a gate."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__()
        sizes, bias = (config.hidden_size, config.intermediate_size), config.mlp_bias
        self.gate_proj = nn.Linear(*sizes, bias=bias) if config.gated else None
        self.up_proj = nn.Linear(*sizes, bias=bias)
        self.down_proj = nn.Linear(*reversed(sizes), bias=bias)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
        """Applies the layer to every position alone."""
        if self.gate_proj is None:
            return self.down_proj(self.act(self.up_proj(x)))
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(GradientCheckpointingLayer):
    """Attention and feed-forward, each with residual and norm: x + f(norm(x)) or norm(x + f(x))."""

    def __init__(self, config: ShoestringConfig, layer_idx: int) -> None:
        super().__init__()
        self.pre = config.norm_position == "pre"
        self.attention = Attention(config, layer_idx)
        self.feed_forward = FeedForward(config)
        self.attention_norm, self.feed_forward_norm = new_norm(config), new_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length hidden"],
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        **kwargs: object,
    ) -> Float[Tensor, "batch length hidden"]:
        """Returns the residual stream after this block."""
        x, cond = hidden_states, conditions(layer_norm_cond)
        if self.pre:
            x = x + self.dropout(self.attention(self.attention_norm(x, *cond), **kwargs)[0])
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x, *cond)))
        x = self.attention_norm(x + self.dropout(self.attention(x, **kwargs)[0]), *cond)
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)), *cond)
