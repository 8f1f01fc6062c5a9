"""`talking_heads_attention`: one function, five back ends that agree.

| back end | what it is | memory | chosen by `auto` |
|---|---|---|---|
| eager | written out; any device and type, differentiable twice | h n m | short sequences, decoding |
| chunked | a few queries at a time, recomputed backward | h m | longer ones |
| triton | chunked, one kernel between the matrix products | h m | longer ones on CUDA, up to 64 heads |
| sdpa | torch's fused kernel, narrower width padded | n | nothing mixes |
| lift | talking heads as one wide multi-query head of sdpa | h n | never; for kernels that know only plain attention |

A back end that cannot do what it is asked for is an error, never another result.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.transformer.talking_heads import chunked, eager, fused
from shoestring.transformer.talking_heads.call import prepared, without_autocast
from shoestring.transformer.talking_heads.mix import Mix
from shoestring.transformer.talking_heads.terms import Terms

Backend = Literal["auto", "eager", "chunked", "triton", "sdpa", "lift"]
SHORT = 128 * 128  # pairs of query and key up to which writing all out is as fast
MOST_HEADS = 64  # of the kernels: tiles of more outgrow the shared memory of any GPU


def talking_heads_attention(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b _g m _k"],
    value: Float[Tensor, "b _u _m v"],
    pre: Float[Tensor, "_hk _h"] | None = None,
    post: Float[Tensor, "_h hv"] | None = None,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
    pre_by_query: Float[Tensor, "b n hk h"] | None = None,
    pre_by_key: Float[Tensor, "b m hk h"] | None = None,
    post_by_query: Float[Tensor, "b n h hv"] | None = None,
    post_by_key: Float[Tensor, "b m h hv"] | None = None,
) -> Float[Tensor, "b hv n v"]:
    """Attention whose heads talk before and after the softmax, exactly, in memory linear in the length.

    O[c] = (sum over i of W[i, c] softmax(sum over a of P[a, i] Q[a] K[a]^T scale + mask)) V[c]

    Args:
        query: hk key heads of width k.
        key: of the same width; fewer heads than the query, if they divide hk, are shared by groups of them.
        value: of any width v; its heads divide hv.
        pre: P, key heads to softmax heads; None: each softmax head has its own key head.
        post: W, softmax heads to value heads; None: each value head has its own softmax head.
        mask: True where a query may see a key, or numbers added to the mixed logits; broadcast to (b, h, n, m).
        is_causal: query i sees keys 0 to i + m - n.
        scale: of the logits; by default 1 / sqrt(k).
        dropout: share of the mixed weights set to 0, drawn anew in each call from torch's generator.
        backend: auto, eager, chunked, triton, sdpa or lift.
        pre_by_query, pre_by_key: matrices added to P for each query and each key.
        post_by_query, post_by_key: the same for W.

    Returns:
        One output for each value head; 0 for a query that sees nothing.

    Raises:
        OptionError: head counts, shapes or settings that do not fit, or a back end that cannot do this.

    >>> q, k, v = torch.randn(1, 12, 5, 64), torch.randn(1, 12, 9, 64), torch.randn(1, 12, 9, 32)
    >>> talking_heads_attention(q, k, v, torch.eye(12), torch.eye(12), is_causal=True).shape
    torch.Size([1, 12, 5, 32])

    Source: Shazeer et al. 2020, "Talking-Heads Attention"; the blockwise form and its gradient are in docs.
    """
    one, two = Mix(pre, pre_by_query, pre_by_key), Mix(post, post_by_query, post_by_key)
    return attend(
        query, key, value, one, two,
        mask=mask, is_causal=is_causal, scale=scale, dropout=dropout, backend=backend,
    )[0]  # fmt: skip


def attend(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b _g m _k"],
    value: Float[Tensor, "b _u _m v"],
    pre: Mix,
    post: Mix,
    *,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    dropout: float,
    backend: str,
) -> tuple[Float[Tensor, "b hv n v"], Float[Tensor, "b hv n _m"] | None]:
    """Does what `talking_heads_attention` says; returns the weights too if the back end is eager.

    Autocast ends at the tensors that come in: mixes and softmax stay in float32.
    """
    call = prepared(
        query, key, value, pre, post, mask=mask, is_causal=is_causal, scale=scale, dropout=dropout
    )
    query, key, value, terms, out_heads = call
    name = chosen(backend, query, key, pre, post, dropout)
    if name in ("chunked", "triton") and _transformed(query, key, value, mask, *pre, *post):
        name = _written_out(backend)
    with without_autocast(query):
        if name == "sdpa":
            return fused.plain(query, key, value, rate=dropout, **_seen(terms)), None
        if name == "lift":
            return fused.lift(query, key, value, pre, post, **_seen(terms)), None
        if name == "eager":
            return eager.attention(query, key, value, terms)
        key, value = fused.repeated(key, query.shape[1]), fused.repeated(value, out_heads)
        return chunked.attention(query, key, value, terms, kernel=name == "triton"), None


def _seen(terms: Terms) -> dict[str, Any]:
    return {"mask": terms.mask, "is_causal": terms.is_causal, "scale": terms.scale}


def _transformed(*tensors: Tensor | None) -> bool:
    """Whether torch carries tangents along (forward mode) or a transform of `torch.func` is at work."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active():
        return True
    return any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def _written_out(asked: str) -> str:
    """Returns the back end that has every derivative.

    Raises:
        OptionError: another was asked for by name.
    """
    if asked != "auto":
        raise OptionError(
            f"backend {asked!r} has a reverse-mode gradient only: no tangents and no torch.func; choose auto or eager"
        )
    return "eager"


def chosen(backend: str, query: Tensor, key: Tensor, pre: Mix, post: Mix, dropout: float) -> str:
    """Returns the back end to use.

    Raises:
        OptionError: the one asked for is unknown or cannot do this.
    """
    talks, dynamic = pre.mixes or post.mixes, pre.dynamic or post.dynamic
    if backend == "auto":
        if not talks:
            return "sdpa"
        if torch.compiler.is_exporting():  # a choice by length would fix the length
            return "eager"
        if query.shape[2] * key.shape[2] <= SHORT or query.shape[2] == 1:
            return "eager"
        fits = query.dtype != torch.float64 and _most_heads(query, pre, post) <= MOST_HEADS
        kernel = query.is_cuda and not dynamic and fits and find_spec("triton")
        return "triton" if kernel else "chunked"
    if backend not in get_args(Backend):
        raise OptionError(f"backend {backend!r}: unknown; choose one of {', '.join(get_args(Backend))}")
    if backend == "sdpa" and talks:
        raise OptionError("backend 'sdpa' cannot mix heads; choose auto, eager, chunked, triton or lift")
    if backend in ("lift", "triton") and dynamic:
        raise OptionError(f"backend {backend!r} cannot mix by query or key; choose auto, eager or chunked")
    if backend == "lift" and dropout:
        raise OptionError(
            f"backend 'lift' cannot drop mixed weights (dropout {dropout}); choose auto, eager or chunked"
        )
    if backend == "triton":
        _check_kernel(query, _most_heads(query, pre, post))
    return backend


def _most_heads(query: Tensor, pre: Mix, post: Mix) -> int:
    return max(query.shape[1], *(x.shape[-1] for x in (*pre, *post) if x is not None), 1)


def _check_kernel(query: Tensor, heads: int) -> None:
    require("kernels", "triton")
    if heads > MOST_HEADS:
        raise OptionError(
            f"backend 'triton' has tiles of up to {MOST_HEADS} heads, these are {heads}; choose auto or chunked"
        )
    if query.dtype == torch.float64:
        raise OptionError("backend 'triton' computes in float32; for float64 choose chunked or eager")
    if not query.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise OptionError(
            f"backend 'triton' needs CUDA, this tensor is on {query.device}; choose auto or chunked"
        )
