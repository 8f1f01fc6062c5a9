"""Exact talking heads in memory linear in the length: a few queries at a time, recomputed in the backward pass.

- A chunk holds whole rows, h x rows x keys, so its softmax is final and the backward pass has its row sums for free.
- Each chunk reads only the range of keys that one of its queries sees: half of them under a causal mask, a
  document's own in packed rows.
- Products of half precision are float32, as in flash attention: logits are never rounded before they are mixed.
- One opaque operator for torch.compile, forward and backward; not for derivatives of derivatives or forward mode.
- Matrix products and the loop are here; what happens between them is `core` or, on CUDA, `kernels`.
- On CUDA a chunk has several rows of the batch and nothing is read back, so a call can be captured in a CUDA graph
  (with `kernels`, after a first call that chooses their tiles).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads import core
from shoestring.transformer.talking_heads.core import Chunk
from shoestring.transformer.talking_heads.dropout import Dropout
from shoestring.transformer.talking_heads.masks import Span, part, spans
from shoestring.transformer.talking_heads.mix import Mix
from shoestring.transformer.talking_heads.terms import Terms

# Elements of a chunk of logits, of which a few should fit the last cache; fewest and most queries in it: matrix
# products want many, the causal triangle wants few; and most rows of the batch. Those for CUDA are an estimate.
LIMITS = {"cpu": (2**20, 16, 64, 1), "cuda": (12 * 2**20, 64, 512, 64)}

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
    for (rows, queries, keys), chunk in job.chunks():
        logits = job.logits(q[rows, :, queries], k[rows, :, keys])
        out[rows, :, queries] = job.product(job.core.forward(logits, chunk), v[rows, :, keys])
    return out


@torch.library.custom_op(
    "shoestring::talking_heads_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, bool mask_gradient, {_SHARED}) -> Tensor[]",
)
def _backward(gradient, mask_gradient, q, k, v, *rest):
    job = Job(q, k, v, *rest)
    dq, dk, dv = (torch.zeros(x.shape, dtype=job.wide, device=x.device) for x in (q, k, v))
    dpre, dpost = job.pre.zeros(), job.post.zeros()
    dmask = torch.zeros_like(job.mask, dtype=job.wide) if mask_gradient else None
    for cut, chunk in job.chunks():
        rows, queries, keys = cut
        asks, given, dout = q[rows, :, queries], k[rows, :, keys], gradient[rows, :, queries]
        dweights = job.product(dout, v[rows, :, keys].mT)
        into = dpre.part(*cut), dpost.part(*cut), part(dmask, *cut)
        weights, dlogits = job.core.backward(job.logits(asks, given), dweights, chunk, *into)
        job.add_product(dv[rows, :, keys], weights.mT, dout)
        job.add_product(dk[rows, :, keys], dlogits.mT, asks)
        job.add_product(dq[rows, :, queries], dlogits, given)
    found = [dq.mul_(job.scale).to(q.dtype), dk.mul_(job.scale).to(k.dtype), dv.to(v.dtype)]
    return found + [q.new_empty(0) if x is None else x for x in (*dpre, *dpost, dmask)]


class Job:
    """One call: its tensors and how it is cut into chunks."""

    def __init__(
        self, q, k, v, p, p_query, p_key, w, w_query, w_key, mask, seed, causal, scale, rate, kernel
    ):
        self.pre, self.post = Mix(p, p_query, p_key), Mix(w, w_query, w_key)
        self.mask, self.is_causal, self.scale = mask, causal, scale
        self.dropout = None if seed is None else Dropout(rate, seed)
        self.wide = torch.promote_types(q.dtype, torch.float32)
        self.on_gpu = q.device.type != "cpu"
        self.narrow = q.is_cuda and q.dtype != self.wide  # tensor cores multiply halves and sum in float32
        self.kind = q.dtype if self.narrow else self.wide
        self.batch, _, self.queries, _ = q.shape
        self.keys = k.shape[2]
        heads = max(
            q.shape[1], v.shape[1], *(x.shape[-1] for x in (*self.pre, *self.post) if x is not None), 1
        )
        budget, fewest, most, rows = LIMITS["cuda" if self.on_gpu else "cpu"]
        pairs = max(budget // (heads * max(self.keys, 1)), fewest)  # of a row of the batch and a query
        rows = min(max(pairs // max(min(self.queries, most), 1), 1), rows, max(self.batch, 1))
        self.size = rows, min(max(pairs // rows, fewest), most)
        self.core = _kernels() if kernel else core

    def chunks(self) -> Iterator[tuple[Span, Chunk]]:
        """Yields the parts to compute; queries that see nothing are left out."""
        sizes = self.batch, self.queries, self.keys
        for cut in spans(self.mask, self.is_causal, *sizes, self.size, look=not self.on_gpu):
            rows, queries, keys = cut
            diagonal = queries.start + self.keys - self.queries - keys.start if self.is_causal else None
            yield cut, Chunk(
                self.pre.part(*cut), self.post.part(*cut), part(self.mask, *cut), diagonal, self.dropout,
                (rows.start, queries.start, keys.start), self.kind,
            )  # fmt: skip

    def logits(self, query: Tensor, key: Tensor) -> Tensor:
        """Returns Q K^T scale, in float32 at least."""
        if not self.narrow:
            return self.product(query.to(self.wide) * self.scale, key.mT)
        return self.product(query, key.mT) * self.scale

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns a @ b, in float32 at least: neither factors nor sums lose more than half precision has lost."""
        if not self.narrow:
            return a.to(self.wide) @ b.to(self.wide)
        flat = torch.bmm(a.to(self.kind).flatten(0, 1), b.flatten(0, 1), out_dtype=self.wide)
        return flat.unflatten(0, a.shape[:2])

    def add_product(self, into: Tensor, a: Tensor, b: Tensor) -> None:
        """Adds a @ b to a part of a gradient."""
        if len(into) > 1 or self.narrow:
            into += self.product(a, b)
        else:
            torch.baddbmm(into[0], a[0].to(self.wide), b[0].to(self.wide), out=into[0])


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


def _no_second(ctx, *gradients: object) -> tuple:
    raise OptionError(
        "backend 'chunked' (and 'triton') has no second derivative; choose backend='eager' "
        "(attn_implementation='talking_heads_eager'), which keeps all logits in memory"
    )


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_second)
