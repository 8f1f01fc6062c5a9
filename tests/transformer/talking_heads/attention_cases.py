"""What the tests of talking heads share: random calls, the paper's formula, and their comparison."""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from shoestring.transformer import talking_heads_attention

MIXES = ("pre", "post", "pre_by_query", "pre_by_key", "post_by_query", "post_by_key")


@dataclass(frozen=True)
class Case:
    """One call, its tensors drawn from a seed."""

    batch: int
    heads: tuple[int, int, int]
    share: int
    lengths: tuple[int, int]
    widths: tuple[int, int]
    mixes: frozenset[str]
    mask: str
    causal: bool
    seed: int

    def tensors(self, dtype=torch.float64):
        """Returns (q, k, v), the mixes and the mask."""
        torch.manual_seed(self.seed)
        (hk, h, hv), (n, m), (dk, dv), b = self.heads, self.lengths, self.widths, self.batch
        if "pre" not in self.mixes:
            hk = h
        if "post" not in self.mixes:
            hv = h
        share = math.gcd(self.share, math.gcd(hk, hv))
        shapes = [(b, hk, n, dk), (b, hk // share, m, dk), (b, hv // share, m, dv)]
        qkv = [torch.randn(shape, dtype=dtype) for shape in shapes]
        of = {"pre": (hk, h), "post": (h, hv)}
        lead = {"": (), "query": (b, n), "key": (b, m)}
        mixes = {
            name: torch.randn((*lead[name.partition("_by_")[2]], *of[name.partition("_")[0]]), dtype=dtype)
            for name in MIXES
            if name in self.mixes
        }
        return qkv, mixes, self.mask_of(b, h, n, m, dtype)

    def mask_of(self, b, h, n, m, dtype):
        """Returns a mask of the kind that the case names."""
        if self.mask == "padding":
            return (torch.arange(m) >= torch.randint(0, m, (b, 1)))[:, None, None]
        if self.mask == "prefix":
            prefix = torch.randint(0, m + 1, (b, 1, 1, 1))
            return (torch.arange(m) < prefix) | torch.ones(n, m, dtype=torch.bool).tril(m - n)
        if self.mask == "packed":
            documents = torch.randint(0, 2, (b, max(n, m))).cumsum(1)
            return (documents[:, -n:, None] == documents[:, None, -m:])[:, None]
        if self.mask == "random":  # some queries see nothing
            return torch.rand(b, 1, n, m) < torch.rand(b, 1, n, 1) - 0.3
        if self.mask == "heads":
            return torch.rand(h, n, m) < 0.6
        if self.mask == "additive":
            bias = torch.randn(b, h, n, m, dtype=dtype)
            return bias.masked_fill(torch.rand(b, 1, n, m) < 0.4, torch.finfo(dtype).min)
        return None


cases = st.builds(
    Case,
    batch=st.integers(1, 2),
    heads=st.tuples(st.sampled_from((1, 2, 4, 6)), st.integers(1, 5), st.sampled_from((1, 2, 4, 6))),
    share=st.sampled_from((1, 2, 3)),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    mixes=st.frozensets(st.sampled_from(MIXES)).map(
        lambda names: names | {name.partition("_")[0] for name in names}
    ),
    mask=st.sampled_from(("none", "padding", "prefix", "packed", "random", "heads", "additive")),
    causal=st.booleans(),
    seed=st.integers(0, 10**6),
)


def formula(qkv, mixes, mask, causal):
    """The paper's formula, query by query, in plain loops over the heads; nothing of ours takes part."""
    (q, k, v) = qkv
    hk, n, m = q.shape[1], q.shape[2], k.shape[2]
    p, w = mixes.get("pre"), mixes.get("post")
    h = hk if p is None else p.shape[1]
    hv = h if w is None else w.shape[1]
    k, v = k.repeat_interleave(hk // k.shape[1], 1), v.repeat_interleave(hv // v.shape[1], 1)
    p = torch.eye(h, dtype=q.dtype) if p is None else p
    w = torch.eye(h, dtype=q.dtype) if w is None else w
    b = len(q)
    p = p.expand(b, n, m, hk, h) + sum_of(mixes, "pre", (b, n, m, hk, h), q.dtype)
    w = w.expand(b, n, m, h, hv) + sum_of(mixes, "post", (b, n, m, h, hv), q.dtype)
    products = torch.einsum("band,bamd->bnma", q, k) / q.shape[-1] ** 0.5
    logits = (products[..., :, None] * p).sum(-2)  # (b, n, m, h)
    seen = torch.ones(b, n, m, h, dtype=torch.bool)
    if mask is not None:
        mask = mask.expand(b, h, n, m).permute(0, 2, 3, 1)
        if mask.dtype == torch.bool:
            seen = seen & mask
        else:
            seen = seen & (mask > torch.finfo(mask.dtype).min / 2)
            logits = logits + torch.where(seen, mask, 0)
    if causal:
        seen = seen & torch.ones(n, m, dtype=torch.bool).tril(m - n)[None, :, :, None]
    top = torch.where(seen, logits, -1e30).amax(2, keepdim=True).detach()
    powers = torch.where(seen, (torch.where(seen, logits, top) - top).exp(), 0.0)
    weights = powers / powers.sum(2, keepdim=True).clamp(min=1e-300)
    mixed = (weights[..., :, None] * w).sum(-2)  # (b, n, m, hv)
    return torch.einsum("bnmc,bcmd->bcnd", mixed, v)


def sum_of(mixes, name, shape, dtype):
    out = torch.zeros(shape, dtype=dtype)
    if f"{name}_by_query" in mixes:
        out = out + mixes[f"{name}_by_query"][:, :, None]
    if f"{name}_by_key" in mixes:
        out = out + mixes[f"{name}_by_key"][:, None]
    return out


def gradients(function, tensors):
    """Returns the output and the gradient of every tensor, for an output gradient that is always the same."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    output = function(*leaves)
    torch.manual_seed(7)
    output.backward(torch.randn(output.shape, dtype=torch.float64).to(output.dtype))
    return [output.detach(), *(torch.zeros_like(x) if x.grad is None else x.grad for x in leaves)]


def compare(case, backend, dtype, tolerance):
    qkv, mixes, mask = case.tensors()
    bias = [mask] if mask is not None and mask.is_floating_point() else []
    names = list(mixes)

    def run(call, given, kind):
        given = [x.to(kind) for x in given]

        def function(q, k, v, *rest):
            mask_given = rest[len(names)] if bias else mask
            return call((q, k, v), dict(zip(names, rest, strict=False)), mask_given)

        return gradients(function, given)

    given = [*qkv, *mixes.values(), *bias]
    expected = run(lambda x, y, z: formula(x, y, z, case.causal), given, torch.float64)
    found = run(
        lambda x, y, z: talking_heads_attention(*x, mask=z, is_causal=case.causal, backend=backend, **y),
        given,
        dtype,
    )
    for ours, theirs in zip(found, expected, strict=True):
        size = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours.double() / size, theirs / size, atol=tolerance, rtol=0)


def example(n=9, m=9, h=4, dk=6, dv=5, b=2, dtype=torch.float64):
    torch.manual_seed(1)
    q, k, v = torch.randn(b, h, n, dk), torch.randn(b, h, m, dk), torch.randn(b, h, m, dv)
    return [x.to(dtype) for x in (q, k, v, torch.randn(h, h), torch.randn(h, h))]
