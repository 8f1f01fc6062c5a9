"""Talking heads by Triton: right against fp64, and how fast.

Predictions count operations: 4 n^2 d h a row for the two products of a forward pass (halved by causality), 2.5 times
that more for the backward pass, at 40 % of the peak; the mixes add 4 n^2 h^2, at 20 % of it, since their matrices are
small. Plain SDPA is predicted at 55 %. A form is two kernels of three or four tiles, 2 to 5 s of one processor each:
about 25 s, so sixteen processors compile some fifty forms in the 80 s that they get.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarks.gpu import ahead
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report, gibibytes, milliseconds
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from shoestring.transformer import talking_heads_attention

WIDTH = 64
SIZES = {4096: 4, 16384: 1, 512: 64}  # tokens: rows; the goal is at the first
SLACK = 2.5  # how much further from fp64 the fused form may be than the one written out, in the same type
NOISE = {torch.float32: 1e-6, torch.bfloat16: 1e-3}  # what is nearer than this counts as so near


AHEAD = 0.42  # of the seconds, for compiling what is checked
FORMS = ("causal", "shared keys", "mask", "dropout")


class Form(NamedTuple):
    """What two kernels are compiled for; shared keys are repeated before them, so they are as causal ones."""

    kind: str
    mixes: str
    h: int
    dtype: torch.dtype


def run(report: Report, data: Path) -> None:
    """Compiles in parallel, times what the goal is about, counts compilations, checks, then times the rest."""
    ready = set(forms(report.small))
    if report.device.type == "cuda":
        begun = time.monotonic()
        ready = ahead.compiled(attempt, forms(report.small), AHEAD * report.left)
        report.figure("forms compiled ahead", len(ready), float(len(forms(report.small))))
        report.figure("seconds of compiling ahead", time.monotonic() - begun)
    (length, rows), *rest = ({64: 2} if report.small else SIZES).items()
    timed(report, length, rows)
    compilations(report)
    checked(report, ready)
    for length, rows in rest:
        timed(report, length, rows)


def forms(small: bool) -> list[Form]:
    """Returns what is to be compiled, most telling first; the number of tokens compiles nothing anew."""
    found = [Form("causal", "both", 12, torch.bfloat16), Form("mask", "both", 12, torch.float32)]
    for h, _, mixes, dtype in cases(small):
        found += [Form(kind, mixes, h, dtype) for kind in ("causal", "mask", "dropout")]
    return list(dict.fromkeys(found))


def attempt(form: Form, device: str = "cuda") -> None:
    """Runs a form forward and backward on a few tokens."""
    kind, mixes, h, dtype = form
    results("triton", *given(torch.device(device), kind, mixes, h, 128, WIDTH, dtype))


def cases(small: bool) -> Iterator[tuple[int, int, str, torch.dtype]]:
    """Yields (heads, tokens, mixes, type), most telling first: each is two kernels to compile."""
    if small:
        yield from itertools.product((4, 5), (17,), ("both", "pre", "post"), (torch.float32,))
        return
    half, single = torch.bfloat16, torch.float32
    yield from itertools.product((12, 16, 32, 33), (127,), ("both",), (half,))
    yield from itertools.product((12,), (127, 128), ("both", "pre", "post"), (single, half))
    yield from itertools.product((12, 33), (4097,), ("both",), (half,))
    yield from itertools.product((16, 32, 33), (127, 128), ("pre", "post", "both"), (single, half))


def checked(report: Report, ready: set[Form]) -> None:
    """Compares outputs and gradients with those of the formula written out in fp64."""
    left_out = 0
    for h, n, mixes, dtype in dict.fromkeys(cases(report.small)):
        for form in FORMS if n < 1000 else FORMS[:1]:
            name = f"{form}, {mixes}, h = {h}, n = {n}, {str(dtype).removeprefix('torch.')}"
            kernels = Form("causal" if form == "shared keys" else form, mixes, h, dtype)
            if (report.left < 40 and not report.small) or kernels not in ready:
                left_out += 1
                continue
            try:
                worst = compared(report, form, mixes, h, n, dtype)
            except Exception as error:  # such as too little shared memory for one form
                report.check(name, right=False, detail=repr(error)[:200])
                continue
            report.check(
                name, worst <= SLACK, f"{worst:.2f} times as far from fp64 as the formula written out"
            )
    report.figure("forms left out for want of time", left_out, 0.0)


def compared(report: Report, form: str, mixes: str, h: int, n: int, dtype: torch.dtype) -> float:
    """Returns how many times as far from fp64 ours is as the formula in the same type; infinity for NaN."""
    call = given(report.device, form, mixes, h, n, 8 if report.small else WIDTH, dtype)
    qkv, pre, post, mask, rate = call
    ours, eager = results("triton", *call), results("eager", *call)
    true = results("eager", [each.double() for each in qkv], *(
        None if mix is None else mix.double() for mix in (pre, post)), mask, rate)  # fmt: skip
    ratios = [
        far(one, it) / max(far(two, it), NOISE[dtype]) for one, two, it in zip(ours, eager, true, strict=True)
    ]
    return max(ratios) if all(map(math.isfinite, ratios)) else math.inf


def given(
    device: torch.device, form: str, mixes: str, h: int, n: int, width: int, dtype: torch.dtype
) -> tuple[list[Tensor], Tensor | None, Tensor | None, Tensor | None, float]:
    """Returns queries, keys and values, both mixes, mask and dropout of a form."""
    torch.manual_seed(h * n)
    groups = h if form != "shared keys" else (h // 4 if h % 4 == 0 else 1)
    qkv = [torch.randn(1, each, n, width, device=device, dtype=dtype) for each in (h, groups, groups)]
    both = [torch.eye(h, device=device) + 0.1 * torch.randn(h, h, device=device) for _ in range(2)]
    pre, post = both[0] if mixes != "post" else None, both[1] if mixes != "pre" else None
    mask = torch.rand(1, 1, n, n, device=device) > 0.2 if form == "mask" else None
    return qkv, pre, post, mask, 0.1 if form == "dropout" else 0.0


def results(
    backend: str,
    qkv: list[Tensor],
    pre: Tensor | None,
    post: Tensor | None,
    mask: Tensor | None,
    dropout: float,
) -> list[Tensor]:
    """Returns the output and every gradient; dropout is by one seed, so that every form drops the same weights."""
    torch.manual_seed(7)
    leaves = [each.detach().clone().requires_grad_() for each in qkv]
    mixes = [None if mix is None else mix.detach().clone().requires_grad_() for mix in (pre, post)]
    out = talking_heads_attention(
        *leaves, *mixes, mask=mask, is_causal=mask is None, dropout=dropout, backend=backend
    )
    weight = torch.linspace(
        -1, 1, out.numel(), device=out.device, dtype=torch.bfloat16
    )  # the same for every type
    weight = weight.to(out.dtype).view_as(out)
    (out * weight).sum().backward()
    return [out.detach()] + [each.grad for each in (*leaves, *mixes) if each is not None]  # type: ignore[misc]


def far(one: Tensor, true: Tensor) -> float:
    """Returns the root mean square of a difference, relative to the true values."""
    return float((one.double() - true).square().mean().sqrt() / true.square().mean().sqrt().clamp_min(1e-30))


def compilations(report: Report) -> None:
    """Counts the kernels that packed batches of several lengths compile after the first, forward and backward."""
    cache = Path(os.environ.get("TRITON_CACHE_DIR", Path.home() / ".triton" / "cache"))

    def count() -> int:
        return sum(1 for _ in cache.rglob("*.cubin")) if cache.is_dir() else 0

    h, longest = (4, 48) if report.small else (12, 1024)
    mix = torch.eye(h, device=report.device)
    before = None
    for batch in range(3 if report.small else 50):
        generator, n = torch.Generator().manual_seed(batch), longest - 7 * (batch % 5)
        document = torch.randint(0, 4, (n,), generator=generator).sort().values.to(report.device)
        mask = (document[:, None] == document) & torch.ones(
            n, n, dtype=torch.bool, device=report.device
        ).tril()
        q, k, v = (
            torch.randn(1, h, n, 8 if report.small else WIDTH, device=report.device, requires_grad=True)
            for _ in range(3)
        )
        talking_heads_attention(q, k, v, mix, mix, mask=mask[None, None], backend="triton").sum().backward()
        before = count() if before is None else before
    more = count() - (before or 0)
    report.figure("kernels compiled by further packed batches", more, 0.0)
    report.check(
        "packed batches compile once", more <= 4, f"{more} kernels more"
    )  # alignment of a mask's rows


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

        try:
            spent = milliseconds(both, 2 if report.small else 5, report.device)
        except Exception as error:  # such as no memory: the others are still told
            report.figure(f"{name}, {length} tokens x {rows}", repr(error)[:200])
            continue
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
