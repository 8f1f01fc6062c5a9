"""Mix, softmax, mix on one chunk of logits as Triton kernels, one forward and one backward.

- A program has one query and all its heads: it sweeps over the keys in tiles of (heads, keys), twice forward and
  three times backward. Mixes are small matrix products on the tile.
- In place: the backward pass leaves the gradient of the logits and the weights where logits and the weights'
  gradient were. The gradients of the mixes are summed per program and then over programs.
- Computed in float32, whatever the chunk is kept in.

What is here beside `core` is the traffic: one pass where torch's operations take several. Under TRITON_INTERPRET=1 the
same code runs on a CPU, which is how it is tested; it has not been timed on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from shoestring.transformer.talking_heads import core
from shoestring.transformer.talking_heads.core import Chunk
from shoestring.transformer.talking_heads.dropout import FIRST, GOLDEN, SECOND
from shoestring.transformer.talking_heads.masks import lowest
from shoestring.transformer.talking_heads.mix import Mix, identity

TILE = 128  # keys in a tile
HIDDEN = tl.constexpr(-1e38)  # finite, so that a row of hidden keys has no inf - inf
BLIND = tl.constexpr(-1e37)  # a row whose maximum is below it sees nothing
_GOLDEN, _FIRST, _SECOND = tl.constexpr(GOLDEN), tl.constexpr(FIRST), tl.constexpr(SECOND)


def forward(logits: Tensor, chunk: Chunk) -> Tensor:
    """Returns the weights (1, value heads, query, key); the counterpart of `core.forward`."""
    job = _Job(logits, chunk)
    weights = torch.empty(1, job.value_heads, *logits.shape[2:], dtype=logits.dtype, device=logits.device)
    _forward[(job.queries,)](logits, weights, **job.arguments)
    return weights


def backward(
    logits: Tensor, gradient: Tensor, chunk: Chunk, into_pre: Mix, into_post: Mix, into_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the weights again and the gradient of the logits; the counterpart of `core.backward`."""
    if into_mask is not None:  # a learnt bias: rare, and its gradient is as large as the logits
        return core.backward(logits, gradient, chunk, into_pre, into_post, into_mask)
    job = _Job(logits, chunk)
    logits, gradient = logits.contiguous(), gradient.contiguous()
    sizes = (job.arguments["KP"], job.arguments["HP"], job.arguments["VP"])
    dpre = logits.new_empty(job.queries, *sizes[:2], dtype=torch.float32)
    dpost = logits.new_empty(job.queries, *sizes[1:], dtype=torch.float32)
    _backward[(job.queries,)](logits, gradient, dpre, dpost, **job.arguments)
    for into, found in ((into_pre.matrix, dpre), (into_post.matrix, dpost)):
        if into is not None:
            into.add_(found.sum(0)[: into.shape[0], : into.shape[1]])
    return gradient, logits


class _Job:
    """The arguments that both kernels share."""

    def __init__(self, logits: Tensor, chunk: Chunk) -> None:
        _, key_heads, self.queries, keys = logits.shape
        pre, post = chunk.pre.matrix, chunk.post.matrix
        heads = key_heads if pre is None else pre.shape[1]
        self.value_heads = heads if post is None else post.shape[1]
        mask, strides = _mask(chunk.mask, heads, self.queries, keys)
        rate, seed = (0.0, None) if chunk.dropout is None else chunk.dropout
        row, query, key = chunk.place
        nothing = logits  # a pointer that is not read
        self.arguments: dict[str, Any] = {
            "pre": (identity(heads, heads, logits) if pre is None else pre).contiguous(),
            "post": (identity(heads, heads, logits) if post is None else post).contiguous(),
            "mask": nothing if mask is None else mask,
            "seed": nothing if seed is None else seed,
            "queries": self.queries, "keys": keys,
            "mask_head": strides[0], "mask_query": strides[1], "mask_key": strides[2],
            "diagonal": keys if chunk.diagonal is None else chunk.diagonal,
            "row": row, "query": query, "key": key,
            "threshold": 0 if chunk.dropout is None else chunk.dropout.threshold, "grow": 1 / (1 - rate),
            "K": key_heads, "H": heads, "V": self.value_heads,
            "KP": _padded(key_heads), "HP": _padded(heads), "VP": _padded(self.value_heads),
            "PRE": pre is not None, "POST": post is not None, "MASK": mask is not None, "DROP": seed is not None,
            "TILE": TILE, "PRECISION": "ieee" if logits.dtype == torch.float32 else "tf32",
        }  # fmt: skip


def _padded(heads: int) -> int:
    return max(16, triton.next_power_of_2(heads))  # tl.dot wants at least 16


def _mask(mask: Tensor | None, heads: int, queries: int, keys: int) -> tuple[Tensor | None, tuple[int, ...]]:
    """Returns the mask as numbers to add, and its strides; those of a broadcasting dimension are 0."""
    if mask is None:
        return None, (0, 0, 0)
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)
    else:
        mask = mask.float().masked_fill(mask <= lowest(mask.dtype), -torch.inf)
    return mask, mask.expand(1, heads, queries, keys).stride()[1:]


@triton.jit
def _tile(x, program, start, queries, keys, COUNT, PADDED: tl.constexpr, TILE: tl.constexpr):
    """Where a tile of a (heads, query, key) tensor is, and which of it exists."""
    heads, columns = tl.arange(0, PADDED), start + tl.arange(0, TILE)
    places = x + (heads[:, None] * queries + program).to(tl.int64) * keys + columns[None, :]
    return places, (heads < COUNT)[:, None] & (columns < keys)[None, :]


@triton.jit
def _matrix(x, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A mix (rows, columns), padded with zeros."""
    i, j = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    exists = (i < rows)[:, None] & (j < columns)[None, :]
    return tl.load(x + i[:, None] * columns + j[None, :], mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _load(x, program, start, queries, keys, COUNT, PADDED: tl.constexpr, TILE: tl.constexpr):
    """A tile in float32, 0 where there is none."""
    places, exists = _tile(x, program, start, queries, keys, COUNT, PADDED, TILE)
    return tl.load(places, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _mixed(
    logits, p, mask, program, start, queries, keys, mask_head, mask_query, mask_key, diagonal,
    K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, PRE: tl.constexpr, MASK: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of logits as it is, and mixed: HIDDEN where a key may not be seen."""
    s = _load(logits, program, start, queries, keys, K, KP, TILE)
    x = tl.dot(tl.trans(p), s, input_precision=PRECISION) if PRE else s
    heads, columns = tl.arange(0, HP), start + tl.arange(0, TILE)
    if MASK:
        places = mask + heads[:, None] * mask_head + program * mask_query + columns[None, :] * mask_key
        x += tl.load(places, mask=(heads < H)[:, None] & (columns < keys)[None, :], other=0.0)
    seen = (columns < keys) & (columns <= program + diagonal)
    return s, tl.maximum(tl.where(seen[None, :], x, HIDDEN), HIDDEN)


@triton.jit
def _normaliser(
    logits, p, mask, program, queries, keys, mask_head, mask_query, mask_key, diagonal,
    K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, PRE: tl.constexpr, MASK: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What makes a softmax of mixed logits x, exp(x - top) share: one sweep over the keys; share 0 sees nothing."""
    top = tl.full([HP], HIDDEN, tl.float32)
    total = tl.zeros([HP], tl.float32)
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, program, start, queries, keys, mask_head, mask_query, mask_key, diagonal,
                      K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip
        higher = tl.maximum(top, tl.max(x, 1))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher[:, None]), 1)
        top = higher
    return top, tl.where(top > BLIND, 1 / total, 0.0)


@triton.jit
def _scrambled(x):
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * _FIRST
    x = x ^ ((x >> 13) & 0x7FFFF)
    x = x * _SECOND
    return x ^ ((x >> 16) & 0xFFFF)


@triton.jit
def _factors(seed, program, start, row, query, key, threshold, grow, VP: tl.constexpr, TILE: tl.constexpr):
    """0 or 1 / (1 - rate) for every weight of a tile; the same as `Dropout.factors`."""
    state = _scrambled(tl.load(seed) + tl.full([VP], row, tl.int32) * _GOLDEN)
    state = _scrambled(state + tl.arange(0, VP) * _GOLDEN)
    state = _scrambled(state + (tl.full([VP], query, tl.int32) + program) * _GOLDEN)
    keys = key + start + tl.arange(0, TILE)
    return tl.where(_scrambled(state[:, None] + (keys * _GOLDEN)[None, :]) >= threshold, grow, 0.0)


@triton.jit
def _forward(
    logits, weights, pre, post, mask, seed, queries, keys, mask_head, mask_query, mask_key, diagonal,
    row, query, key, threshold, grow,
    K: tl.constexpr, H: tl.constexpr, V: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, VP: tl.constexpr,
    PRE: tl.constexpr, POST: tl.constexpr, MASK: tl.constexpr, DROP: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    p, w = _matrix(pre, K, H, KP, HP), _matrix(post, H, V, HP, VP)
    top, share = _normaliser(logits, p, mask, program, queries, keys, mask_head, mask_query, mask_key, diagonal,
                             K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, program, start, queries, keys, mask_head, mask_query, mask_key, diagonal,
                      K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        b = tl.dot(tl.trans(w), a, input_precision=PRECISION) if POST else a
        if DROP:
            b *= _factors(seed, program, start, row, query, key, threshold, grow, VP, TILE)
        places, exists = _tile(weights, program, start, queries, keys, V, VP, TILE)
        tl.store(places, b.to(weights.dtype.element_ty), mask=exists)


@triton.jit
def _backward(
    logits, gradient, dpre, dpost, pre, post, mask, seed, queries, keys, mask_head, mask_query, mask_key, diagonal,
    row, query, key, threshold, grow,
    K: tl.constexpr, H: tl.constexpr, V: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, VP: tl.constexpr,
    PRE: tl.constexpr, POST: tl.constexpr, MASK: tl.constexpr, DROP: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    p, w = _matrix(pre, K, H, KP, HP), _matrix(post, H, V, HP, VP)
    top, share = _normaliser(logits, p, mask, program, queries, keys, mask_head, mask_query, mask_key, diagonal,
                             K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip

    inner = tl.zeros([HP], tl.float32)  # rowsum(A dA)
    dw = tl.zeros([HP, VP], tl.float32)
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, program, start, queries, keys, mask_head, mask_query, mask_key, diagonal,
                      K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        db = _load(gradient, program, start, queries, keys, V, VP, TILE)
        if DROP:
            db *= _factors(seed, program, start, row, query, key, threshold, grow, VP, TILE)
        da = tl.dot(w, db, input_precision=PRECISION) if POST else db
        inner += tl.sum(a * da, 1)
        if POST:
            dw += tl.dot(a, tl.trans(db), input_precision=PRECISION)
    if POST:
        i, j = tl.arange(0, HP), tl.arange(0, VP)
        tl.store(dpost + (program * HP + i[:, None]) * VP + j[None, :], dw)

    dp = tl.zeros([KP, HP], tl.float32)
    for start in range(0, keys, TILE):
        s, x = _mixed(logits, p, mask, program, start, queries, keys, mask_head, mask_query, mask_key, diagonal,
                      K, H, KP, HP, PRE, MASK, TILE, PRECISION)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        db = _load(gradient, program, start, queries, keys, V, VP, TILE)
        b = tl.dot(tl.trans(w), a, input_precision=PRECISION) if POST else a
        if DROP:
            factors = _factors(seed, program, start, row, query, key, threshold, grow, VP, TILE)
            b, db = b * factors, db * factors
        da = tl.dot(w, db, input_precision=PRECISION) if POST else db
        dl = a * (da - inner[:, None])
        ds = tl.dot(p, dl, input_precision=PRECISION) if PRE else dl
        if PRE:
            dp += tl.dot(s, tl.trans(dl), input_precision=PRECISION)
        places, exists = _tile(gradient, program, start, queries, keys, V, VP, TILE)
        tl.store(places, b.to(gradient.dtype.element_ty), mask=exists)
        places, exists = _tile(logits, program, start, queries, keys, K, KP, TILE)
        tl.store(places, ds.to(logits.dtype.element_ty), mask=exists)
    if PRE:
        i, j = tl.arange(0, KP), tl.arange(0, HP)
        tl.store(dpre + (program * KP + i[:, None]) * HP + j[None, :], dp)
