"""Exact talking heads in memory linear in the length: a few queries at a time, recomputed in the backward pass.

- A chunk holds whole rows, h x rows x keys, so its softmax is final and the backward pass has its row sums for free.
- Each chunk reads only the range of keys that one of its queries sees: half of them under a causal mask, a
  document's own in packed rows.
- One opaque operator for torch.compile, forward and backward.
- Matrix products and the loop are here; what happens between them is `core` or, on CUDA, `kernels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.transformer.talking_heads import core
from shoestring.transformer.talking_heads.core import Chunk
from shoestring.transformer.talking_heads.dropout import Dropout
from shoestring.transformer.talking_heads.masks import Span, part, spans
from shoestring.transformer.talking_heads.mix import Mix
from shoestring.transformer.talking_heads.terms import Terms

# Elements of a chunk of logits, of which a few should fit the last cache; and fewest and most queries in it: matrix
# products want many, the causal triangle wants few. Those for CUDA are an estimate.
LIMITS = {"cpu": (2**20, 16, 64), "cuda": (12 * 2**20, 64, 512)}

_SHARED = (
    "Tensor q, Tensor k, Tensor v, Tensor? pre, Tensor? pre_query, Tensor? pre_key, "
    "Tensor? post, Tensor? post_query, Tensor? post_key, Tensor? mask, Tensor? seed, "
    "bool is_causal, float scale, float rate, bool kernel"
)


def attention(
    query: Float[Tensor, "b hk n k"],
    key: Float[Tensor, "b hk m k"],
    value: Float[Tensor, "b hv m v"],
    terms: Terms,
    kernel: bool = False,
) -> Float[Tensor, "b hv n v"]:
    """Returns the output; `kernel` uses the Triton kernels between the products."""
    rate, seed = terms.dropout or (0.0, None)
    return torch.ops.shoestring.talking_heads(
        query,
        key,
        value,
        *terms.pre,
        *terms.post,
        terms.mask,
        seed,
        terms.is_causal,
        terms.scale,
        rate,
        kernel,
    )


@torch.library.custom_op("shoestring::talking_heads", mutates_args=(), schema=f"({_SHARED}) -> Tensor")
def _forward(q, k, v, *rest):
    job = Job(q, k, v, *rest)
    out = v.new_zeros(q.shape[0], v.shape[1], q.shape[2], v.shape[3])
    for span, chunk in job.chunks():
        row, queries, keys = job.cuts(span)
        logits = job.product(q[row, :, queries] * job.scale, k[row, :, keys].mT)
        weights = job.core.forward(logits, chunk)
        out[row, :, queries] = weights.to(v.dtype) @ v[row, :, keys]
    return out


@torch.library.custom_op(
    "shoestring::talking_heads_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, bool mask_gradient, {_SHARED}) -> Tensor[]",
)
def _backward(gradient, mask_gradient, q, k, v, *rest):
    job = Job(q, k, v, *rest)
    dq, dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    dpre, dpost = job.pre.zeros(), job.post.zeros()
    dmask = torch.zeros_like(job.mask, dtype=job.wide) if mask_gradient else None
    for span, chunk in job.chunks():
        row, queries, keys = job.cuts(span)
        q_part, k_part, dout = q[row, :, queries] * job.scale, k[row, :, keys], gradient[row, :, queries]
        logits = job.product(q_part, k_part.mT)
        dweights = job.product(dout, v[row, :, keys].mT)
        into = dpre.part(row, queries, keys), dpost.part(row, queries, keys), part(dmask, row, queries, keys)
        weights, dlogits = job.core.backward(logits, dweights, chunk, *into)
        weights, dlogits = weights.to(v.dtype), dlogits.to(q.dtype)
        _add_product(dv[span.row, :, keys], weights[0].mT, dout[0])
        _add_product(dk[span.row, :, keys], dlogits[0].mT, q_part[0])
        torch.bmm(dlogits[0], k_part[0], out=dq[span.row, :, queries])
    dq *= job.scale
    return [dq, dk, dv] + [q.new_empty(0) if x is None else x for x in (*dpre, *dpost, dmask)]


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    torch.baddbmm(into, a, b, out=into)


class Job:
    """One call: its tensors and how it is cut into chunks."""

    def __init__(
        self, q, k, v, p, p_query, p_key, w, w_query, w_key, mask, seed, causal, scale, rate, kernel
    ):
        self.pre, self.post = Mix(p, p_query, p_key), Mix(w, w_query, w_key)
        self.mask, self.is_causal, self.scale = mask, causal, scale
        self.dropout = None if seed is None else Dropout(rate, seed)
        self.wide = q.dtype if kernel else torch.promote_types(q.dtype, torch.float32)
        self.batch, _, self.queries, _ = q.shape
        self.keys = k.shape[2]
        heads = max(
            q.shape[1], v.shape[1], *(x.shape[-1] for x in (*self.pre, *self.post) if x is not None), 1
        )
        budget, fewest, most = LIMITS["cpu" if q.device.type == "cpu" else "cuda"]
        self.rows = min(max(budget // (heads * max(self.keys, 1)), fewest), most)
        self.core = _kernels() if kernel else core

    def chunks(self) -> Iterator[tuple[Span, Chunk]]:
        """Yields the parts to compute; queries that see nothing are left out."""
        for span in spans(self.mask, self.is_causal, self.batch, self.queries, self.keys, self.rows):
            if span.low == span.high:
                continue
            row, queries, keys = cut = self.cuts(span)
            diagonal = span.start + self.keys - self.queries - span.low if self.is_causal else None
            yield span, Chunk(
                self.pre.part(*cut), self.post.part(*cut), part(self.mask, *cut), diagonal, self.dropout,
                (row.start, queries.start, keys.start),
            )  # fmt: skip

    @staticmethod
    def cuts(span: Span) -> tuple[slice, slice, slice]:
        """Returns the slices of batch, queries and keys."""
        return slice(span.row, span.row + 1), slice(span.start, span.stop), slice(span.low, span.high)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns a @ b; half precision becomes float32, unless a kernel does that itself."""
        return (a @ b).to(self.wide)


def _kernels():
    from shoestring.transformer.talking_heads import kernels

    return kernels


@_forward.register_fake
def _(q, k, v, *rest):
    return v.new_empty(q.shape[0], v.shape[1], q.shape[2], v.shape[3])


@_backward.register_fake
def _(gradient, mask_gradient, q, k, v, p, p_query, p_key, w, w_query, w_key, mask, *rest):
    given = (q, k, v, p, p_query, p_key, w, w_query, w_key, mask if mask_gradient else None)
    return [
        q.new_empty(0) if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in given
    ]


def _setup(ctx, inputs: Sequence, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:11])
    ctx.settings = inputs[11:]


def _gradients(ctx, gradient: Tensor) -> tuple:
    wanted = ctx.needs_input_grad
    with torch.autocast(gradient.device.type, enabled=False):
        found = torch.ops.shoestring.talking_heads_backward(
            gradient, wanted[9], *ctx.saved_tensors, *ctx.settings
        )
    return (*(x if want else None for x, want in zip(found, wanted, strict=False)), *(None,) * 5)


_forward.register_autograd(_gradients, setup_context=_setup)
