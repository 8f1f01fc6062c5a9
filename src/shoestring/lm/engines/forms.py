"""The forms of decoders whose blocks the kernel runs in one call, and what it is told of a model.

- Like Llama: RMSNorm, rotary positions over whole heads, fewer key heads than heads, SwiGLU; with biases (Qwen 2),
  norms of heads (Qwen 3) and sliding windows (Mistral).
- Like GPT-2: LayerNorm, learned positions, one projection for queries, keys and values, the tanh form of GELU.
- All linear layers have few bits. Any other model, and one with a detail that is not known here, has no form.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.lm.weights.few_bits import Linear8, LinearLow

LLAMAS = ("llama", "mistral", "qwen2", "qwen3")
_SILU, _GELU = 0, 1
_LANES, _WIDEST = 16, 512  # the kernel takes heads of a multiple of the one, and is tried up to the other
_ACTS = {"silu": _SILU, "gelu_new": _GELU, "gelu_pytorch_tanh": _GELU}
_NO_WEIGHTS = struct.pack("@5P3N", *[0] * 8)
_NO_NORM = struct.pack("@2Pd", 0, 0, 0.0)

Linear = Linear8 | LinearLow


@dataclass(frozen=True)
class Block:
    """A block's parts; the projections are those of queries, keys and values, or one for all.

    Args:
        before_attention: norm.
        projections: one or three.
        head_norms: of queries and keys, or none.
        output: of the attention.
        before_mlp: norm.
        gate: what the activation function is applied to.
        up: what that is multiplied by, or None.
        down: the MLP's output.
        window: how many tokens are seen, the last included; 0 is all.
    """

    before_attention: nn.Module
    projections: tuple[Any, ...]
    head_norms: tuple[nn.Module, ...]
    output: Any
    before_mlp: nn.Module
    gate: Any
    up: Any | None
    down: Any
    window: int

    @property
    def linear(self) -> tuple[Any, ...]:
        """All that multiplies."""
        return (*self.projections, self.output, self.gate, *([self.up] if self.up else []), self.down)


@dataclass(frozen=True)
class Form:
    """What reading tokens needs of a model.

    Args:
        embed: ids and positions -> (rows, tokens, hidden).
        rotary: x and (1, tokens) positions -> cosines and sines (1, tokens, head size); None: heads are not turned.
        heads: of queries.
        key_heads: of keys and values.
        head_dim: numbers of a head.
        act: name of the activation function.
        scaling: of the scores.
        blocks: in their order.
        last: norm.
        head: hidden -> logits.
    """

    embed: Callable[[Tensor, Tensor], Tensor]
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    heads: int
    key_heads: int
    head_dim: int
    act: str
    scaling: float
    blocks: tuple[Block, ...]
    last: nn.Module
    head: nn.Module

    def packed(self) -> bytes:
        """Returns the struct Model of lm/kernel/blocks.h; addresses are of tensors that the model keeps."""
        sizes = len(self.blocks), self.blocks[0].output.outputs, self.heads, self.key_heads, self.head_dim
        begin = struct.pack("@6Nd", *sizes, _ACTS[self.act], self.scaling)
        return begin + _norm(self.last) + b"".join(map(_block, self.blocks))


def form_of(model: Any) -> Form | None:
    """Returns the form of a model, or None if it has none of them."""
    kind = model.config.model_type
    form = _llama(model) if kind in LLAMAS else _gpt2(model) if kind == "gpt2" else None
    return form if form is not None and _is_known(form) else None


def _is_known(form: Form) -> bool:
    """Tells whether layers, sizes and norms are those that the kernel computes."""
    layers = [layer for block in form.blocks for layer in block.linear]
    return (
        form.act in _ACTS
        and form.head_dim % _LANES == 0
        and form.head_dim <= _WIDEST
        and form.heads % form.key_heads == 0
        and _turns_whole_heads(form)
        and all(isinstance(layer, Linear) for layer in layers)
        and all(_fits(block, form) for block in form.blocks)
        and all(norm.weight.is_contiguous() for norm in _norms(form))
    )


def _turns_whole_heads(form: Form) -> bool:
    if form.rotary is None:
        return True
    cosines, _ = form.rotary(torch.empty(0, dtype=torch.float32), torch.zeros(1, 1, dtype=torch.long))
    return cosines.shape[-1] == form.head_dim


def _fits(block: Block, form: Form) -> bool:
    first, attended = form.blocks[0], form.heads * form.head_dim
    hidden, inner = first.output.outputs, first.gate.outputs
    keys = form.key_heads * form.head_dim
    outputs = [attended, keys, keys] if len(block.projections) == 3 else [attended + 2 * keys]
    wide = [block.gate, *([block.up] if block.up else [])]
    return (
        [layer.outputs for layer in block.projections] == outputs
        and all(layer.inputs == hidden for layer in (*block.projections, *wide))
        and (block.output.inputs, block.output.outputs) == (attended, hidden)
        and all(layer.outputs == inner for layer in wide)
        and (block.down.inputs, block.down.outputs) == (inner, hidden)
    )


def _norms(form: Form) -> Iterable[Any]:
    yield form.last
    for block in form.blocks:
        yield from (block.before_attention, block.before_mlp, *block.head_norms)


def _llama(model: Any) -> Form | None:
    config, inner = model.config, model.model
    first = inner.layers[0].self_attn
    heads, head_dim = config.num_attention_heads, first.head_dim
    windows = [_window(config, place) for place in range(len(inner.layers))]
    if not all(window is None or (isinstance(window, int) and window > 0) for window in windows):
        return None
    blocks = tuple(
        _llama_block(layer, window or 0) for layer, window in zip(inner.layers, windows, strict=True)
    )
    return Form(
        lambda ids, _: inner.embed_tokens(ids), inner.rotary_emb, heads, config.num_key_value_heads, head_dim,
        config.hidden_act, first.scaling, blocks, inner.norm, model.lm_head,
    )  # fmt: skip


def _llama_block(layer: Any, window: int) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    return Block(
        layer.input_layernorm,
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.q_norm, attention.k_norm) if hasattr(attention, "q_norm") else (),
        attention.o_proj,
        layer.post_attention_layernorm,
        mlp.gate_proj,
        mlp.up_proj,
        mlp.down_proj,
        window,
    )


def _window(config: Any, place: int) -> Any:
    """Returns the sliding window of a layer, None for all, or what config.json has in its place.

    Mistral's is every layer's, Qwen's that of the layers that say so.
    """
    if config.model_type == "mistral":
        return config.sliding_window
    if config.model_type == "llama":  # whatever its config.json says
        return None
    return (config.sliding_window or 0) if config.layer_types[place] == "sliding_attention" else None


def _gpt2(model: Any) -> Form | None:
    config, inner = model.config, model.transformer
    if config.add_cross_attention or config.scale_attn_by_inverse_layer_idx:
        return None
    attention = inner.h[0].attn
    blocks = tuple(
        Block(layer.ln_1, (layer.attn.c_attn,), (), layer.attn.c_proj, layer.ln_2, layer.mlp.c_fc, None,
              layer.mlp.c_proj, 0)
        for layer in inner.h
    )  # fmt: skip
    return Form(
        lambda ids, positions: inner.wte(ids) + inner.wpe(positions), None, attention.num_heads,
        attention.num_heads, attention.head_dim, config.activation_function, attention.scaling, blocks, inner.ln_f,
        model.lm_head,
    )  # fmt: skip


def _norm(norm: Any) -> bytes:
    """Packs the struct Norm."""
    if isinstance(norm, nn.LayerNorm):
        return struct.pack("@2Pd", norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)
    return struct.pack("@2Pd", norm.weight.data_ptr(), 0, norm.variance_epsilon)


def _weights(layer: Any) -> bytes:
    """Packs the struct Weights."""
    low = (layer.zero.data_ptr(), layer.unit.data_ptr()) if isinstance(layer, LinearLow) else (0, 0)
    bias = 0 if layer.bias is None else layer.bias.data_ptr()
    addresses = layer.levels.data_ptr(), layer.scale.data_ptr(), *low, bias
    return struct.pack("@5P3N", *addresses, layer.outputs, layer.inputs, layer.bits)


def _block(block: Block) -> bytes:
    """Packs the struct Block."""
    missing = _NO_WEIGHTS * (3 - len(block.projections))
    parts = [
        _norm(block.before_attention),
        _norm(block.before_mlp),
        *map(_weights, block.projections),
        missing,
        *(map(_norm, block.head_norms) if block.head_norms else (_NO_NORM, _NO_NORM)),
        _weights(block.output),
        _weights(block.gate),
        _weights(block.up) if block.up else _NO_WEIGHTS,
        _weights(block.down),
        struct.pack("@N", block.window),
    ]
    return b"".join(parts)
