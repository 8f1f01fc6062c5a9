"""Talking heads by Triton: right against fp64, and how fast.

Predictions count operations: 4 n^2 d h a row for the two products of a forward pass (halved by causality), 2.5 times
that more for the backward pass, at 40 % of the peak; the mixes add 4 n^2 h^2, at 20 % of it, since their matrices are
small. Plain SDPA is predicted at 55 %.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report, gibibytes, milliseconds
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from shoestring.transformer import talking_heads_attention

WIDTH = 64
SIZES = {512: 64, 4096: 4, 16384: 1}  # tokens: rows
SLACK = 1.5  # how much further from fp64 the fused form may be than the one written out, in the same type


def run(report: Report, data: Path) -> None:
    """Checks, counts compilations, then times."""
    checked(report)
    compilations(report)
    for length, rows in ({64: 2} if report.small else SIZES).items():
        timed(report, length, rows)


def checked(report: Report) -> None:
    """Compares outputs and gradients with those of the formula written out in fp64."""
    heads, lengths = ((4, 5), (17,)) if report.small else ((12, 16, 32, 33), (127, 128, 4097))
    types = (torch.float32,) if report.small else (torch.float32, torch.bfloat16)
    for h, n, mixes, dtype in itertools.product(heads, lengths, ("pre", "post", "both"), types):
        if report.left < 20 or (n > 1000 and (h, mixes) not in ((12, "both"), (33, "both"))):
            continue
        for form in ("causal", "shared keys", "mask", "dropout"):
            if n > 1000 and form != "causal":
                continue
            rate = 0.1 if form == "dropout" else 0.0
            torch.manual_seed(h * n)
            groups = h if form != "shared keys" else (h // 4 if h % 4 == 0 else 1)
            given = [
                torch.randn(1, count, n, WIDTH if not report.small else 8, device=report.device, dtype=dtype)
                for count in (h, groups, groups)
            ]
            both = [
                torch.eye(h, device=report.device) + 0.1 * torch.randn(h, h, device=report.device)
                for _ in range(2)
            ]
            pre, post = both[0] if mixes != "post" else None, both[1] if mixes != "pre" else None
            mask = torch.rand(1, 1, n, n, device=report.device) > 0.2 if form == "mask" else None
            ours = results("triton", given, pre, post, mask, rate)
            eager = results("eager", given, pre, post, mask, rate)
            true = results("eager", [each.double() for each in given], *(
                None if mix is None else mix.double() for mix in (pre, post)), mask, rate)  # fmt: skip
            worst = max(
                far(one, it) / max(far(two, it), 1e-7) for one, two, it in zip(ours, eager, true, strict=True)
            )
            name = f"{form}, {mixes}, h = {h}, n = {n}, {str(dtype).removeprefix('torch.')}"
            report.check(
                name, worst <= SLACK, f"{worst:.2f} times as far from fp64 as the formula written out"
            )


def results(
    backend: str,
    given: list[Tensor],
    pre: Tensor | None,
    post: Tensor | None,
    mask: Tensor | None,
    dropout: float,
) -> list[Tensor]:
    """Returns the output and every gradient; dropout is by one seed, so that every form drops the same weights."""
    torch.manual_seed(7)
    leaves = [each.detach().clone().requires_grad_() for each in given]
    mixes = [None if mix is None else mix.detach().clone().requires_grad_() for mix in (pre, post)]
    out = talking_heads_attention(
        *leaves, *mixes, mask=mask, is_causal=mask is None, dropout=dropout, backend=backend
    )
    weight = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)
    (out * weight).sum().backward()
    return [out.detach()] + [each.grad for each in (*leaves, *mixes) if each is not None]  # type: ignore[misc]


def far(one: Tensor, true: Tensor) -> float:
    """Returns the root mean square of a difference, relative to the true values."""
    return float((one.double() - true).square().mean().sqrt() / true.square().mean().sqrt().clamp_min(1e-30))


def compilations(report: Report) -> None:
    """Counts the kernels that 50 packed batches compile after the first."""
    cache = Path(os.environ.get("TRITON_CACHE_DIR", Path.home() / ".triton" / "cache"))

    def count() -> int:
        return sum(1 for _ in cache.rglob("*.cubin")) if cache.is_dir() else 0

    h, n = (4, 48) if report.small else (12, 1024)
    mix = torch.eye(h, device=report.device)
    before = None
    for batch in range(3 if report.small else 50):
        generator = torch.Generator().manual_seed(batch)
        document = torch.randint(0, 4, (n,), generator=generator).sort().values.to(report.device)
        mask = (document[:, None] == document) & torch.ones(
            n, n, dtype=torch.bool, device=report.device
        ).tril()
        q, k, v = (torch.randn(1, h, n, 8 if report.small else WIDTH, device=report.device) for _ in range(3))
        talking_heads_attention(q, k, v, mix, mix, mask=mask[None, None], backend="triton")
        before = count() if before is None else before
    report.figure("kernels compiled by 49 further packed batches", count() - (before or 0), 0.0)


def timed(report: Report, length: int, rows: int) -> None:
    """Times forward and backward of every form that this machine has, in turns."""
    h, width = (4, 8) if report.small else (12, WIDTH)
    dtype = torch.float32 if report.small else torch.bfloat16
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(rows, h, length, width, device=report.device, dtype=dtype, requires_grad=True)
        for _ in range(3)
    )
    pre, post = ((torch.eye(h, device=report.device) * 1.1).requires_grad_() for _ in range(2))

    def talking(backend: str) -> Callable[[], Tensor]:
        return lambda: talking_heads_attention(q, k, v, pre, post, is_causal=True, backend=backend)

    ways: dict[str, Callable[[], Tensor]] = {
        "SDPA": lambda: scaled_dot_product_attention(q, k, v, is_causal=True), "triton": talking("triton"),
    }  # fmt: skip
    if rows * h * length**2 * 4 * 6 < 60e9:  # the logits in fp32, some six times
        ways["eager"] = talking("eager")
        if not report.small:
            ways["eager, compiled"] = torch.compile(talking("eager"))
            if (peer := x_transformers(q, k, v, h)) is not None:
                ways["x-transformers"] = peer
    operations = 3.5 * 4 * length**2 / 2 * width * h * rows
    mixing = 3.5 * 4 * length**2 / 2 * h * h * rows
    for name, way in ways.items():
        if report.left < 5:
            return

        def both(way: Callable[[], Tensor] = way) -> None:
            way().sum().backward()

        spent = milliseconds(both, 2 if report.small else 5, report.device)
        predicted = None
        if report.flops and name in ("SDPA", "triton"):
            share = operations / (0.55 if name == "SDPA" else 0.4) + (0 if name == "SDPA" else mixing / 0.2)
            predicted = 1e3 * share / report.flops
        report.figure(f"{name}, {length} tokens x {rows}: ms", spent, predicted)
        report.figure(f"{name}, {length} tokens x {rows}: TFLOP/s", operations / spent / 1e9)
        report.figure(f"{name}, {length} tokens x {rows}: GiB", gibibytes(both, report.device))


def x_transformers(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Callable[[], Tensor] | None:
    """Returns the same by x-transformers, if it is there."""
    try:
        from x_transformers.attend import Attend
    except ImportError:
        return None
    attend = Attend(
        heads=heads, causal=True, pre_talking_heads=True, post_talking_heads=True, scale=WIDTH**-0.5
    )
    attend = attend.to(q.device, q.dtype)
    return lambda: attend(q, k, v)[0]


if __name__ == "__main__":
    start(run)
