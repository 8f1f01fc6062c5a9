"""The laws of talking-heads attention: every back end is the formula, whatever the shapes and the masks."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.utils._python_dispatch
from attention_cases import Case, cases, compare, example
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from shoestring.transformer import talking_heads_attention
from shoestring.transformer.talking_heads import chunked, masks

laws = settings(max_examples=40, deadline=None)


@laws
@given(cases, st.sampled_from(("eager", "chunked", "auto")))
def test_every_back_end_is_the_formula_in_double_precision(case, backend):
    compare(case, backend, torch.float64, 1e-12)


@laws
@given(cases, st.sampled_from(("eager", "chunked")))
def test_every_back_end_is_the_formula_in_single_precision(case, backend):
    compare(case, backend, torch.float32, 5e-6)


@laws
@given(cases, st.integers(1, 4))
def test_chunks_of_any_size_are_the_formula(case, rows):
    """The chunks of the test above are one each: the sequences are shorter than the smallest."""
    before, chunked.LIMITS = chunked.LIMITS, {"cpu": (1, rows, rows)}
    try:
        compare(case, "chunked", torch.float64, 1e-12)
    finally:
        chunked.LIMITS = before


fixed = cases.filter(lambda case: not any("_by_" in name for name in case.mixes))


@laws
@given(fixed)
def test_the_lift_is_the_formula(case):
    compare(case, "lift", torch.float64, 1e-12)


@laws
@given(fixed)
def test_the_lift_is_the_formula_in_single_precision(case):
    compare(case, "lift", torch.float32, 5e-6)


@settings(max_examples=4, deadline=None)
@given(fixed.map(lambda case: replace(case, lengths=(case.lengths[0], 4 * case.lengths[1]))))
def test_the_kernels_are_the_formula(case):
    """In Triton's interpreter where there is no GPU; over several tiles of keys."""
    kernels = pytest.importorskip("shoestring.transformer.talking_heads.kernels")
    before, kernels.TILE = kernels.TILE, 16
    try:
        compare(case, "triton", torch.float32, 5e-6)
    finally:
        kernels.TILE = before


@pytest.mark.parametrize("mask", ["none", "packed", "random", "additive"])
@pytest.mark.parametrize("mixes", [{"pre", "post"}, {"pre", "post", "pre_by_query", "post_by_key"}])
def test_gradcheck(mask, mixes):
    case = Case(1, (2, 3, 2), 1, (4, 5), (3, 2), frozenset(mixes), mask, mask == "none", 3)
    qkv, mixes, mask = case.tensors()
    names = list(mixes)
    given = [x.requires_grad_() for x in (*qkv, *mixes.values())]

    def call(q, k, v, *rest):
        rest = dict(zip(names, rest, strict=True))
        return talking_heads_attention(q, k, v, mask=mask, is_causal=case.causal, backend="chunked", **rest)

    assert torch.autograd.gradcheck(call, given)


BACKENDS = ("eager", "chunked", "lift")


@pytest.mark.parametrize("backend", BACKENDS)
def test_identity_mixes_are_multi_head_attention(backend):
    q, k, v, _, _ = example()
    eye = torch.eye(4, dtype=q.dtype)
    ours = talking_heads_attention(q, k, v, eye, eye, is_causal=True, backend=backend)
    torch.testing.assert_close(ours, scaled_dot_product_attention(q, k, v, is_causal=True))
    torch.testing.assert_close(talking_heads_attention(q, k, v, is_causal=True), ours)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_sees_nothing_gets_0_and_gives_no_gradient(backend):
    q, k, v, p, w = (x.requires_grad_() for x in example())
    seen = torch.ones(9, 9, dtype=torch.bool)
    seen[3] = False
    out = talking_heads_attention(q, k, v, p, w, mask=seen, backend=backend)
    out.sum().backward()
    assert (out[:, :, 3] == 0).all()
    assert (q.grad[:, :, 3] == 0).all()
    assert all(x.grad.isfinite().all() for x in (q, k, v, p, w))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["causal", "mask"])
def test_what_is_not_seen_changes_nothing(backend, how):
    """Not even under a post mix: it has no bias that would attend to everything."""
    q, k, v, p, w = example()
    mask = None if how == "causal" else (torch.arange(9) < 5)[None, None, None]
    changed = [x.clone() for x in (k, v)]
    for x in changed:
        x[:, :, 5:] += 100
    out = [
        talking_heads_attention(q, *kv, p, w, mask=mask, is_causal=how == "causal", backend=backend)
        for kv in ((k, v), changed)
    ]
    assert torch.equal(out[0][:, :, :5], out[1][:, :, :5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_queries_alone_equal_the_last_of_all(backend):
    """What a cache relies on: n queries and m keys end together."""
    q, k, v, p, w = example()
    for count in (1, 4):
        some = talking_heads_attention(q[:, :, -count:], k, v, p, w, is_causal=True, backend=backend)
        torch.testing.assert_close(
            some, talking_heads_attention(q, k, v, p, w, is_causal=True)[:, :, -count:]
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_documents_equal_separate_ones(backend):
    q, k, v, p, w = example()
    number = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    mask = number[:, None] == number[None]
    packed = talking_heads_attention(q, k, v, p, w, mask=mask, is_causal=True, backend=backend)
    for document in range(3):
        its = number == document
        alone = talking_heads_attention(*(x[:, :, its] for x in (q, k, v)), p, w, is_causal=True)
        torch.testing.assert_close(packed[:, :, its], alone)


def test_chunks_read_only_the_keys_that_are_seen():
    packed = torch.block_diag(*[torch.ones(64, 64)] * 4).bool()[None, None]
    found = masks.spans(packed, True, 1, 256, 256, 32)
    assert [(span.low, span.high) for span in found] == [
        (0, 32), (0, 64), (64, 96), (64, 128), (128, 160), (128, 192), (192, 224), (192, 256)
    ]  # fmt: skip


def test_memory_is_linear_in_the_length():
    """Nothing as large as all the logits is ever allocated, forward or backward."""
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(
                x.numel() for x in (out if isinstance(out, (tuple, list)) else [out]) if torch.is_tensor(x)
            )
            return out

    q, k, v, p, w = (x.requires_grad_() for x in example(n=1024, m=1024, b=1, dtype=torch.float32))
    with Watch():
        talking_heads_attention(q, k, v, p, w, is_causal=True, backend="chunked").sum().backward()
    assert max(sizes) <= 4 * 64 * 1024


def test_half_precision_does_not_overflow():
    q, k, v, p, w = example()
    q, k = q * 3000, k * 3000  # products of 10^7 are beyond float16
    exact = talking_heads_attention(q, k, v, p, w)
    for backend in ("eager", "chunked", "triton"):
        if backend == "triton":
            pytest.importorskip("triton")
        for dtype in (torch.float16, torch.bfloat16):
            half = [x.to(dtype) for x in (q, k, v)]
            found = talking_heads_attention(*half, p, w, backend=backend)
            assert found.dtype == dtype
            wanted = talking_heads_attention(*(x.double() for x in half), p, w)
            torch.testing.assert_close(found.double(), wanted, atol=0.05, rtol=0.05)
    assert exact.isfinite().all()


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_under_autocast_products_are_in_half_precision_and_mixes_are_not(backend):
    q, k, v, p, w = (x.requires_grad_() for x in example(n=130, m=130, dtype=torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        found = talking_heads_attention(q, k, v.bfloat16(), p, w, backend=backend)
    halves = [x.bfloat16() for x in (q, k, v)]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, talking_heads_attention(*halves, p, w, backend=backend))
    assert all(x.dtype == torch.float32 for x in torch.autograd.grad(found.sum(), (q, p, w)))


COMPILED = """
import torch
from shoestring.transformer import ShoestringForCausalLM, preset, talking_heads_attention

for backend in ("eager", "chunked", "lift", "auto"):
    def call(q, k, v, p, w):
        return talking_heads_attention(q, k, v, p, w, is_causal=True, backend=backend)
    torch.manual_seed(0)
    given = [torch.randn(2, 4, 16, 6) for _ in range(3)] + [torch.randn(4, 4) for _ in range(2)]
    given = [x.double().requires_grad_() for x in given]
    found = []
    for function in (call, torch.compile(call, fullgraph=True)):
        out = function(*given)
        found.append([out, *torch.autograd.grad(out.square().sum(), given)])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other)

config = preset("nano", vocab_size=40, num_layers=1, is_decoder=True, talking_heads="both", dynamic_talking_heads=True)
model, ids = ShoestringForCausalLM(config).eval(), torch.arange(5, 29)[None]
for implementation in ("sdpa", "talking_heads_chunked"):
    model.set_attn_implementation(implementation)
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(ids).logits, model(ids).logits)
"""


@pytest.mark.slow
def test_compiled_equals_eager():
    """In a process of its own: the checks of shapes that tests put into the code cannot be compiled."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)
