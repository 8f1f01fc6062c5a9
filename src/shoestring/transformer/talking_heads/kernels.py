"""Mix, softmax, mix on one chunk of logits as Triton kernels, one forward and one backward.

- A program has one query of one row of the batch and all its heads: it sweeps over the keys in tiles of (heads, keys),
  twice forward and three times backward. Mixes are small matrix products on the tile.
- What a kernel reads it does not write: within a tile, threads that store would overtake threads that still load.
- The gradients of the mixes are summed per program and then over programs.
- Logits come in float32 and are mixed so: a model in half precision mixes them in three tf32 products (float32's
  digits), and weights and gradients, whose last digits half precision drops anyway, in one. Of over 32 heads float32
  takes three tf32 products too: its own are written out, multiplication by multiplication.
- Compiled once for a kind of model: sizes, places and strides are plain numbers, so packed documents compile nothing.
  Tile and warps are measured on first use for each power of two of keys; that call must not be captured in a CUDA
  graph, those after it may: nothing is read back from the device.

What is here beside `core` is the traffic: one pass where torch's operations take several. Under TRITON_INTERPRET=1 the
same code runs on a CPU, which is how it is tested; it has not been timed on a GPU.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from shoestring.transformer.talking_heads import core
from shoestring.transformer.talking_heads.core import Chunk
from shoestring.transformer.talking_heads.dropout import FIRST, GOLDEN, SECOND
from shoestring.transformer.talking_heads.masks import lowest
from shoestring.transformer.talking_heads.mix import Mix

HIDDEN = tl.constexpr(-1e38)  # finite, so that a row of hidden keys has no inf - inf
BLIND = tl.constexpr(-1e37)  # a row whose maximum is below it sees nothing
BOOLEAN, ADDED = tl.constexpr(1), tl.constexpr(2)  # kinds of mask
_GOLDEN, _FIRST, _SECOND = tl.constexpr(GOLDEN), tl.constexpr(FIRST), tl.constexpr(SECOND)

# The interpreter cannot measure, so there the first is taken.
CHOICES = [
    triton.Config({"TILE": tile}, num_warps=warps, num_stages=stages)
    for tile, warps, stages in ((128, 4, 3), (64, 2, 3), (64, 4, 3), (256, 8, 3), (64, 4, 1), (32, 4, 1))
]
LARGEST = 4096  # heads x keys of a tile: larger ones outgrow shared memory, after a minute of compilation
WIDEST = 32  # heads up to which products of float32 are such; of more they would take ten minutes to compile
if os.environ.get("TRITON_INTERPRET") == "1":
    CHOICES = CHOICES[:1]
NUMBERS = [
    "queries", "keys", "size", "mask_row", "mask_head", "mask_query", "mask_key", "diagonal", "row", "query", "key",
    "threshold", "lowest",
]  # fmt: skip


def fitting(choices: list[triton.Config], given: dict[str, Any], **more: Any) -> list[triton.Config]:
    """Returns the tiles worth measuring: those that fit, few at a time for many heads and many for few."""
    heads = max(more["KP"], more["HP"], more["VP"])
    fit = [each for each in choices if each.kwargs["TILE"] * heads <= LARGEST]
    small = [each for each in fit if each.num_stages == 1]
    return (fit if heads > WIDEST else [each for each in fit if each not in small]) or choices[:1]


measured = triton.autotune(
    CHOICES, key=["size", "K", "H", "V", "MASK", "DROP"], prune_configs_by={"early_config_prune": fitting}
)
compiled = triton.jit(do_not_specialize=NUMBERS)


def forward(logits: Tensor, chunk: Chunk) -> Tensor:
    """Returns the weights (batch, value heads, query, key); the counterpart of `core.forward`."""
    job = _Job(logits, chunk)
    weights = logits.new_empty(len(logits), job.value_heads, *logits.shape[2:], dtype=chunk.kind)
    _forward[job.grid](logits.contiguous(), weights, **job.arguments)
    return weights


def backward(
    logits: Tensor, gradient: Tensor, chunk: Chunk, into_pre: Mix, into_post: Mix, into_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the weights again and the gradient of the logits; the counterpart of `core.backward`."""
    if into_mask is not None:  # a learnt bias: rare, and its gradient is as large as the logits
        return core.backward(logits, gradient, chunk, into_pre, into_post, into_mask)
    job = _Job(logits, chunk)
    weights, dlogits = (
        torch.empty_like(gradient, dtype=chunk.kind),
        torch.empty_like(logits, dtype=chunk.kind),
    )
    programs, kp, hp, vp = job.grid[0] * job.grid[1], *(job.arguments[name] for name in ("KP", "HP", "VP"))
    dpre, dpost = logits.new_empty(programs, kp, hp), logits.new_empty(programs, hp, vp)
    _backward[job.grid](
        logits.contiguous(), gradient.contiguous(), weights, dlogits, dpre, dpost, **job.arguments
    )
    for into, found in ((into_pre.matrix, dpre), (into_post.matrix, dpost)):
        if into is not None:
            into.add_(found.sum(0)[: into.shape[0], : into.shape[1]])
    return weights, dlogits


class _Job:
    """The arguments that both kernels share."""

    def __init__(self, logits: Tensor, chunk: Chunk) -> None:
        batch, key_heads, queries, keys = logits.shape
        self.grid = (queries, batch)
        pre, post = chunk.pre.matrix, chunk.post.matrix
        heads = key_heads if pre is None else pre.shape[1]
        self.value_heads = heads if post is None else post.shape[1]
        mask, strides = _mask(chunk.mask, (batch, heads, queries, keys))
        rate, seed = (0.0, None) if chunk.dropout is None else chunk.dropout
        row, query, key = chunk.place
        padded = [_padded(each) for each in (key_heads, heads, self.value_heads)]
        exact, narrow = chunk.kind == torch.float32, max(padded) <= WIDEST
        plain = "ieee" if narrow else "tf32x3"
        nothing = logits  # a pointer that is not read
        self.arguments: dict[str, Any] = {
            "pre": nothing if pre is None else pre.contiguous(),
            "post": nothing if post is None else post.contiguous(),
            "mask": nothing if mask is None else mask,
            "seed": nothing if seed is None else seed,
            "queries": queries, "keys": keys, "size": triton.next_power_of_2(keys),
            **dict(zip(("mask_row", "mask_head", "mask_query", "mask_key"), strides, strict=True)),
            "lowest": -1.0 if mask is None or mask.dtype == torch.uint8 else lowest(mask.dtype),
            "diagonal": keys if chunk.diagonal is None else chunk.diagonal,
            "row": row, "query": query, "key": key,
            "threshold": 0 if chunk.dropout is None else chunk.dropout.threshold, "grow": 1 / (1 - rate),
            "K": key_heads, "H": heads, "V": self.value_heads,
            **dict(zip(("KP", "HP", "VP"), padded, strict=True)),
            "PRE": pre is not None, "POST": post is not None, "DROP": seed is not None,
            "MASK": 0 if mask is None else BOOLEAN.value if mask.dtype == torch.uint8 else ADDED.value,
            "FINE": plain if exact else "tf32x3", "COARSE": plain if exact else "tf32",
        }  # fmt: skip


def _padded(heads: int) -> int:
    return max(16, 1 << (heads - 1).bit_length())  # tl.dot wants at least 16


def _mask(mask: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor | None, tuple[int, ...]]:
    """Returns the mask as bytes or as numbers to add, and its strides; those of a broadcasting dimension are 0."""
    if mask is None:
        return None, (0, 0, 0, 0)
    strides = mask.expand(shape).stride()
    return (mask.view(torch.uint8) if mask.dtype == torch.bool else mask), strides


@triton.jit
def _tile(x, row, program, start, queries, keys, COUNT, PADDED: tl.constexpr, TILE: tl.constexpr):
    """Where a tile of a (batch, heads, query, key) tensor is, and which of it exists."""
    heads, columns = tl.arange(0, PADDED), start + tl.arange(0, TILE)
    lines = (row.to(tl.int64) * COUNT + heads[:, None]) * queries + program
    return x + lines * keys + columns[None, :], (heads < COUNT)[:, None] & (columns < keys)[None, :]


@triton.jit
def _matrix(x, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, GIVEN: tl.constexpr):
    """A mix (rows, columns), padded with zeros; nothing where none is given."""
    i, j = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    exists = (i < rows)[:, None] & (j < columns)[None, :] & GIVEN
    return tl.load(x + i[:, None] * columns + j[None, :], mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _load(x, row, program, start, queries, keys, COUNT, PADDED: tl.constexpr, TILE: tl.constexpr):
    """A tile in float32, 0 where there is none."""
    places, exists = _tile(x, row, program, start, queries, keys, COUNT, PADDED, TILE)
    return tl.load(places, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _mixed(
    logits, p, mask, row, program, start, queries, keys, mask_row, mask_head, mask_query, mask_key, lowest, diagonal,
    K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, PRE: tl.constexpr, MASK: tl.constexpr,
    TILE: tl.constexpr, FINE: tl.constexpr,
):  # fmt: skip
    """A tile of logits as it is, and mixed: HIDDEN where a key may not be seen."""
    s = _load(logits, row, program, start, queries, keys, K, KP, TILE)
    x = tl.dot(tl.trans(p), s, input_precision=FINE) if PRE else s
    heads, columns = tl.arange(0, HP), start + tl.arange(0, TILE)
    seen = ((columns < keys) & (columns <= program + diagonal))[None, :]
    if MASK != 0:
        places = mask + row.to(tl.int64) * mask_row + heads[:, None] * mask_head
        places += program * mask_query + columns[None, :] * mask_key
        given = tl.load(places, mask=(heads < H)[:, None] & (columns < keys)[None, :], other=0)
        if MASK == BOOLEAN:
            seen = seen & (given != 0)
        else:
            x += given.to(tl.float32)
            seen = seen & (given.to(tl.float32) > lowest)
    return s, tl.maximum(tl.where(seen, x, HIDDEN), HIDDEN)


@triton.jit
def _normaliser(
    logits, p, mask, row, program, queries, keys, mask_row, mask_head, mask_query, mask_key, lowest, diagonal,
    K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, PRE: tl.constexpr, MASK: tl.constexpr,
    TILE: tl.constexpr, FINE: tl.constexpr,
):  # fmt: skip
    """What makes a softmax of mixed logits x, exp(x - top) share: one sweep over the keys; share 0 sees nothing."""
    top = tl.full([HP], HIDDEN, tl.float32)
    total = tl.zeros([HP], tl.float32)
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, row, program, start, queries, keys, mask_row, mask_head, mask_query, mask_key,
                      lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip
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


@measured
@compiled
def _forward(
    logits, weights, pre, post, mask, seed, queries, keys, size, mask_row, mask_head, mask_query, mask_key, lowest,
    diagonal, row, query, key, threshold, grow,
    K: tl.constexpr, H: tl.constexpr, V: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, VP: tl.constexpr,
    PRE: tl.constexpr, POST: tl.constexpr, DROP: tl.constexpr, MASK: tl.constexpr, FINE: tl.constexpr,
    COARSE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    program, line = tl.program_id(0), tl.program_id(1)
    p, w = _matrix(pre, K, H, KP, HP, PRE), _matrix(post, H, V, HP, VP, POST)
    top, share = _normaliser(logits, p, mask, line, program, queries, keys, mask_row, mask_head, mask_query, mask_key,
                             lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, line, program, start, queries, keys, mask_row, mask_head, mask_query, mask_key,
                      lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        b = tl.dot(tl.trans(w), a, input_precision=COARSE) if POST else a
        if DROP:
            b *= _factors(seed, program, start, row + line, query, key, threshold, grow, VP, TILE)
        places, exists = _tile(weights, line, program, start, queries, keys, V, VP, TILE)
        tl.store(places, b.to(weights.dtype.element_ty), mask=exists)


@measured
@compiled
def _backward(
    logits, gradient, weights, dlogits, dpre, dpost, pre, post, mask, seed, queries, keys, size,
    mask_row, mask_head, mask_query, mask_key, lowest, diagonal, row, query, key, threshold, grow,
    K: tl.constexpr, H: tl.constexpr, V: tl.constexpr, KP: tl.constexpr, HP: tl.constexpr, VP: tl.constexpr,
    PRE: tl.constexpr, POST: tl.constexpr, DROP: tl.constexpr, MASK: tl.constexpr, FINE: tl.constexpr,
    COARSE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    program, line = tl.program_id(0), tl.program_id(1)
    place = line * tl.num_programs(0) + program
    p, w = _matrix(pre, K, H, KP, HP, PRE), _matrix(post, H, V, HP, VP, POST)
    top, share = _normaliser(logits, p, mask, line, program, queries, keys, mask_row, mask_head, mask_query, mask_key,
                             lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip

    inner = tl.zeros([HP], tl.float32)  # rowsum(A dA)
    dw = tl.zeros([HP, VP], tl.float32)
    for start in range(0, keys, TILE):
        _, x = _mixed(logits, p, mask, line, program, start, queries, keys, mask_row, mask_head, mask_query, mask_key,
                      lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        db = _load(gradient, line, program, start, queries, keys, V, VP, TILE)
        if DROP:
            db *= _factors(seed, program, start, row + line, query, key, threshold, grow, VP, TILE)
        da = tl.dot(w, db, input_precision=COARSE) if POST else db
        inner += tl.sum(a * da, 1)
        if POST:
            dw += tl.dot(a, tl.trans(db), input_precision=COARSE)
    if POST:
        i, j = tl.arange(0, HP), tl.arange(0, VP)
        tl.store(dpost + (place * HP + i[:, None]) * VP + j[None, :], dw)

    dp = tl.zeros([KP, HP], tl.float32)
    for start in range(0, keys, TILE):
        s, x = _mixed(logits, p, mask, line, program, start, queries, keys, mask_row, mask_head, mask_query, mask_key,
                      lowest, diagonal, K, H, KP, HP, PRE, MASK, TILE, FINE)  # fmt: skip
        a = tl.exp(x - top[:, None]) * share[:, None]
        db = _load(gradient, line, program, start, queries, keys, V, VP, TILE)
        b = tl.dot(tl.trans(w), a, input_precision=COARSE) if POST else a
        if DROP:
            factors = _factors(seed, program, start, row + line, query, key, threshold, grow, VP, TILE)
            b, db = b * factors, db * factors
        da = tl.dot(w, db, input_precision=COARSE) if POST else db
        dl = a * (da - inner[:, None])
        ds = tl.dot(p, dl, input_precision=COARSE) if PRE else dl
        if PRE:
            dp += tl.dot(s, tl.trans(dl), input_precision=COARSE)
        places, exists = _tile(weights, line, program, start, queries, keys, V, VP, TILE)
        tl.store(places, b.to(weights.dtype.element_ty), mask=exists)
        places, exists = _tile(dlogits, line, program, start, queries, keys, K, KP, TILE)
        tl.store(places, ds.to(dlogits.dtype.element_ty), mask=exists)
    if PRE:
        i, j = tl.arange(0, KP), tl.arange(0, HP)
        tl.store(dpre + (place * KP + i[:, None]) * HP + j[None, :], dp)
