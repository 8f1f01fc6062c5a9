"""What torch's fused attention can do for talking heads.

- `plain`: nothing mixes. Fused kernels want equal widths and silently fall back to the n x m form otherwise, so the
  narrower side is padded with zeros: padded keys add 0 to every logit, padded values are cut off again. Exact.
- `lift`: talking heads as multi-query attention with one wide head, K' = [K_1 ... K_hk] and V' = [V_1 ... V_hv];
  head i asks with [P[1, i] Q_1 ... P[hk, i] Q_hk], and O[c] = sum over i of W[i, c] (o_i)[part c]. Exact, works with
  any kernel and reads the ordinary cache once, for h times the arithmetic.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from shoestring.transformer.talking_heads.masks import lowest, visible
from shoestring.transformer.talking_heads.mix import Mix, identity


def plain(
    query: Float[Tensor, "b h n k"],
    key: Float[Tensor, "b g m k"],
    value: Float[Tensor, "b u m v"],
    *,
    mask: Tensor | None,
    is_causal: bool,
    scale: float,
    rate: float = 0.0,
) -> Float[Tensor, "b h n v"]:
    """Returns attention whose heads do not mix; keys and values may be shared by groups of heads."""
    width = max(query.shape[-1], value.shape[-1])
    query, key, wide = (functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value))
    key, wide = repeated(key, query.shape[1]), repeated(wide, query.shape[1])
    square = is_causal and mask is None and query.shape[2] == key.shape[2]
    blind = None
    if not square:
        mask, blind = _one_mask(mask, is_causal and query.shape[2] > 1, query.shape[2], key.shape[2], query)
    out = functional.scaled_dot_product_attention(
        query, key, wide, attn_mask=mask, dropout_p=rate, is_causal=square, scale=scale
    )
    out = out[..., : value.shape[-1]]
    return out if blind is None else out.masked_fill(blind, 0)


def lift(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b g m k"],
    value: Float[Tensor, "b u m v"],
    pre: Mix,
    post: Mix,
    *,
    mask: Tensor | None,
    is_causal: bool,
    scale: float,
) -> Float[Tensor, "b hv n v"]:
    """Returns talking heads with fixed matrices and without dropout; half precision is computed in float32.

    In its own precision the queries would be rounded once they are mixed: 2 to 5 times the error of plain attention.
    """
    heads, kind = query.shape[1], value.dtype
    query, key, value = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
    p = identity(heads, heads, query) if pre.matrix is None else pre.matrix.to(query.dtype)
    w = identity(p.shape[1], p.shape[1], query) if post.matrix is None else post.matrix.to(query.dtype)
    groups, shared = key.shape[1], value.shape[1]
    asks = torch.einsum("bgand,gai->bingd", query.unflatten(1, (groups, -1)), p.unflatten(0, (groups, -1)))
    out = plain(
        asks.flatten(3),
        key.transpose(1, 2).flatten(2)[:, None],
        value.transpose(1, 2).flatten(2)[:, None],
        mask=mask, is_causal=is_causal, scale=scale,
    ).unflatten(3, (shared, -1))  # (b, h, n, u, v)  # fmt: skip
    return torch.einsum("binuv,iuc->bucnv", out, w.unflatten(1, (shared, -1))).flatten(1, 2).to(kind)


def repeated(x: Float[Tensor, "b g m d"], heads: int) -> Float[Tensor, "b h m d"]:
    """Returns keys or values once for each head that shares them."""
    return (
        x[:, :, None].expand(-1, -1, heads // x.shape[1], -1, -1).flatten(1, 2)
    )  # a view where one serves all


def _one_mask(
    mask: Tensor | None, is_causal: bool, queries: int, keys: int, like: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Returns one mask for all that is hidden, in which no query is blind, and which queries are."""
    seen = visible(mask, is_causal, queries, keys, like.device)
    if seen is None:
        return None, None
    blind = ~seen.any(-1, keepdim=True)
    seen = seen | blind
    if mask is not None and mask.is_floating_point():
        mask = mask.masked_fill(mask <= lowest(mask.dtype), 0).to(like.dtype)
        return mask.masked_fill(~seen, -torch.inf), blind
    return seen, blind
