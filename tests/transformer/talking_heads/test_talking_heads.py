"""The laws of talking-heads attention: every back end is the formula, whatever the shapes and the masks."""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.utils._python_dispatch
from attention_cases import Case, cases, compare, example
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.nn.functional import scaled_dot_product_attention

from shoestring._errors import OptionError
from shoestring.transformer import talking_heads_attention
from shoestring.transformer.talking_heads import chunked, core, masks
from shoestring.transformer.talking_heads.mix import Mix

laws = settings(max_examples=40, deadline=None)


@laws
@given(cases, st.sampled_from(("eager", "chunked", "auto")))
def test_every_back_end_is_the_formula_in_double_precision(case, backend):
    compare(case, backend, torch.float64, 1e-12)


@laws
@given(cases, st.sampled_from(("eager", "chunked")))
def test_every_back_end_is_the_formula_in_single_precision(case, backend):
    compare(case, backend, torch.float32, 1e-5)


@laws
@given(cases, st.integers(1, 4), st.integers(1, 2))
def test_chunks_of_any_size_are_the_formula(case, rows, batch):
    """The chunks of the test above are one each: the sequences are shorter than the smallest."""
    before, chunked.LIMITS = chunked.LIMITS, {"cpu": (1, rows, rows, batch)}
    try:
        compare(case, "chunked", torch.float64, 1e-12)
    finally:
        chunked.LIMITS = before


@contextmanager
def tiles_of(kernels, keys):
    """Several tiles of keys where sequences are short."""
    kept = [(kernel, kernel.configs) for kernel in (kernels._forward, kernels._backward)]
    for kernel, _ in kept:
        kernel.configs = [kernels.triton.Config({"TILE": keys})]
    yield
    for kernel, configs in kept:
        kernel.configs = configs


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
    with tiles_of(kernels, 16):
        compare(case, "triton", torch.float32, 1e-5)


def test_more_heads_than_a_gpu_can_hold_are_refused_by_the_kernels_alone():
    pytest.importorskip("triton")
    q = torch.randn(1, 8, 3, 4)
    wide, narrow = torch.randn(8, 65), torch.randn(65, 8)
    with pytest.raises(OptionError, match="tiles of up to 64 heads, these are 65; choose auto or chunked"):
        talking_heads_attention(q, q, q, wide, narrow, backend="triton")
    assert talking_heads_attention(q, q, q, wide, narrow, backend="chunked").shape == q.shape


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
    found = masks.spans(packed, True, 1, 256, 256, (1, 32))
    assert [(span.keys.start, span.keys.stop) for span in found] == [
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


@pytest.mark.parametrize("spread", [1, 4, 16])
@pytest.mark.parametrize("backend", ["eager", "chunked", "triton", "lift"])
def test_half_precision_errs_no_more_than_sdpa(backend, spread):
    """Logits of this standard deviation are summed in float32 and never rounded before they are mixed."""
    if backend == "triton":
        pytest.importorskip("triton")

    def error(x, exact):
        return (x.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()

    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 12, 100, 64) for _ in range(3))
    p, w = (torch.eye(12) + 0.3 * torch.randn(12, 12) for _ in range(2))
    half = [x.bfloat16() for x in (q * spread, k, v)]
    wide = [x.double() for x in half]
    sdpa = scaled_dot_product_attention(*half, is_causal=True)
    theirs = error(sdpa, scaled_dot_product_attention(*wide, is_causal=True))
    for one, two in ((torch.eye(12), torch.eye(12)), (p, w)):
        exact = talking_heads_attention(*wide, one.double(), two.double(), is_causal=True, backend="eager")
        ours = error(talking_heads_attention(*half, one, two, is_causal=True, backend=backend), exact)
        assert ours <= 1.2 * max(
            theirs, error(exact.bfloat16(), exact)
        )  # no output is better than its own rounding


LONG = pytest.param(4097, marks=pytest.mark.slow)


@pytest.mark.parametrize("heads", [12, 16, 32, 33])
@pytest.mark.parametrize("keys", [127, 128, LONG])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_at_the_edges_of_their_tiles(heads, keys, dtype):
    """Forward and gradients are those of the chunks in double precision, with one mask for each kernel's branch."""
    pytest.importorskip("triton")
    torch.manual_seed(heads + keys)
    q, k, v = (torch.randn(2, heads, n, 8).to(dtype) for n in (2, keys, keys))
    p, w = (torch.eye(heads) + 0.2 * torch.randn(heads, heads) for _ in range(2))
    mask = torch.rand(2, 1, 1, keys) < 0.8 if heads % 2 == 0 else 3 * torch.randn(1, heads, 2, keys).to(dtype)
    mixes = ((p, w), (p, None), (None, w))[keys % 3]

    def run(kind, backend):
        given = [x.to(kind).requires_grad_() for x in (q, k, v)]
        mixed = [
            None if x is None else x.to(kind if kind == torch.float64 else torch.float32).requires_grad_()
            for x in mixes
        ]
        seen = mask if mask.dtype == torch.bool else mask.to(kind)
        out = talking_heads_attention(*given, *mixed, mask=seen, is_causal=True, backend=backend)
        wanted = [*given, *(x for x in mixed if x is not None)]
        return [out, *torch.autograd.grad(out.square().sum(), wanted)]

    close = 2e-5 if dtype == torch.float32 else 2e-2
    for ours, exact in zip(run(dtype, "triton"), run(torch.float64, "chunked"), strict=True):
        size = exact.abs().max()
        torch.testing.assert_close(ours.double() / size, exact / size, atol=close, rtol=0)


@pytest.mark.parametrize("mixes", [("pre",), ("post",), ("pre", "post")])
def test_the_kernels_write_nothing_that_they_read(mixes):
    """With one mix alone a result has the shape of its input; in place, threads would overtake each other."""
    kernels = pytest.importorskip("shoestring.transformer.talking_heads.kernels")
    torch.manual_seed(0)
    logits, gradient = torch.randn(2, 2, 4, 3, 40).unbind()
    pre, post = (Mix(torch.randn(4, 4)) if name in mixes else Mix() for name in ("pre", "post"))
    chunk = core.Chunk(pre, post, None, 37, None, (0, 0, 0), torch.float32)
    for call in (
        lambda ours, x, y: ours.forward(x, chunk),
        lambda ours, x, y: ours.backward(x, y, chunk, pre.zeros(), post.zeros(), None),
    ):
        given = logits.clone(), gradient.clone()
        found = call(kernels, *given)
        assert torch.equal(given[0], logits)
        assert torch.equal(given[1], gradient)
        torch.testing.assert_close(found, call(core, *given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mask", [None, (2, 1, 1, 150), (2, 4, 150, 150)], ids=["none", "padding", "learnt"])
def test_nothing_is_read_back_from_a_device(mask):
    """Such a read waits for the device and cannot be captured in a CUDA graph; on `meta` it is an error."""

    def empty(*shape, dtype=torch.float32):
        return torch.empty(shape, device="meta", dtype=dtype)

    learnt = mask == (2, 4, 150, 150)
    given = [empty(2, 4, 150, 6) for _ in range(3)]
    mixes = empty(4, 4), empty(2, 150, 4, 4), empty(2, 150, 4, 4), empty(4, 4), None, None
    hidden = None if mask is None else empty(*mask, dtype=torch.float32 if learnt else torch.bool)
    rest = *mixes, hidden, empty(1, dtype=torch.int32), True, 0.4, 0.1, False
    out = chunked._forward._init_fn(*given, *rest)
    assert len(chunked._backward._init_fn(out, learnt, *given, *rest)) == 10


def test_a_learned_mask_in_half_precision():
    pytest.importorskip("triton")
    q, k, v, p, w = (x.detach().bfloat16() for x in example(n=20, m=40))
    bias = torch.randn(1, 1, 20, 40, dtype=torch.bfloat16, requires_grad=True)
    found = []
    for backend in ("triton", "chunked", "eager"):
        out = talking_heads_attention(q, k, v, p, w, mask=bias, backend=backend)
        found.append(torch.autograd.grad(out.float().square().sum(), bias)[0].float())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], atol=0.02 * found[2].abs().max().item(), rtol=0)


def test_a_derivative_that_a_back_end_lacks_is_no_zero():
    """Forward mode, torch.func and the second derivative: the eager one's, or an error of ours."""
    q, k, v, p, w = (x.detach() for x in example(n=150, m=150))
    tangent = torch.randn_like(q)

    def call(backend):
        return lambda x: talking_heads_attention(x, k, v, p, w, is_causal=True, backend=backend)

    def forward_mode(backend):
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(call(backend)(forward_ad.make_dual(q, tangent))).tangent

    def second(backend):
        x = q.clone().requires_grad_()
        (first,) = torch.autograd.grad(call(backend)(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    ways = {
        "dual": forward_mode,
        "jvp": lambda backend: torch.func.jvp(call(backend), (q,), (tangent,))[1],
        "grad": lambda backend: torch.func.grad(lambda x: call(backend)(x).square().sum())(q),
        "second": second,
    }
    for name, way in ways.items():
        with pytest.raises(OptionError, match="choose"):
            way("chunked")
        exact = way("eager")
        assert exact.abs().max() > 0
        if name != "second":
            torch.testing.assert_close(way("auto"), exact)
    torch.testing.assert_close(ways["dual"]("auto"), ways["jvp"]("eager"))


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
