"""Products with few-bit weights: those of the unpacked weights up to rounding, the same bits everywhere."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.lm.weights import few_bits
from shoestring.lm.weights.few_bits import Embedding8, Linear8, LinearLow
from shoestring.lm.weights.quantize import GROUP, from_int8, from_low, shapes_of, to_int8, to_low
from shoestring.lm.weights.safetensors_file import Shape

LOW = (4, 5)  # bits of weights with a zero


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_rows_result_does_not_depend_on_its_batch(rows, seed):
    torch.manual_seed(seed)
    weight, x = torch.randn(2 * GROUP, 2 * GROUP), torch.randn(rows, 2 * GROUP) * 10 ** torch.randn(rows, 1)
    layers = [LinearLow(*weight.shape, *to_low(weight, bits)) for bits in LOW]
    for layer in (Linear8(*weight.shape, *to_int8(weight)), *layers):
        assert torch.equal(layer(x)[:1], layer(x[:1]))


FINE = 16  # activations that share a scale, in the kernel
LEVELS = range((few_bits.LEVEL if few_bits.LEVEL is not None else -1) + 1)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 19), outputs=st.integers(1, 70), inputs=st.integers(1, 200), seed=st.integers(0, 99)
)
def test_every_processors_product_is_that_of_the_unpacked_weights(rows, outputs, inputs, seed):
    """All differ from the weights' own product by the rounding of activations alone, and in no bit from each other."""
    torch.manual_seed(seed)
    x, bias = torch.randn(rows, inputs) * 10 ** torch.randn(rows, 1), torch.randn(outputs)
    weight = torch.randn(outputs, inputs) * 10 ** torch.randn(outputs, 1)
    layers = [(Linear8(outputs, inputs, *to_int8(weight), bias), from_int8(*to_int8(weight)))]
    if inputs >= GROUP:
        whole = weight[:, : inputs // GROUP * GROUP]
        for parts in (to_low(whole, bits) for bits in LOW):
            layers.append((LinearLow(*whole.shape, *parts, bias), from_low(*parts)))
    for layer, padded in layers:
        part, exact = x[:, : layer.inputs], padded[:outputs, : layer.inputs]
        wanted, found = part @ exact.t() + bias, []
        parts = torch.nn.functional.pad(part, (0, -layer.inputs % FINE)).unflatten(1, (-1, FINE))
        half = (parts.abs().amax(-1) / 254).repeat_interleave(FINE, 1)[:, : layer.inputs]
        most = half @ exact.abs().t()
        for level in LEVELS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(few_bits, "LEVEL", level)
                found.append(layer(part))
                alone = torch.cat([layer(row[None]) for row in part])
            assert torch.equal(found[-1], alone)
            assert torch.equal(found[-1], found[0])
            assert ((found[-1] - wanted).abs() <= most * 1.001 + 1e-4 * wanted.abs() + 1e-5).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(wrong):
    """It is found in the row that has it, in every output, and in no other row."""
    x, weight = torch.randn(11, 100), torch.randn(20, 100)
    x[3, 70] = wrong
    for level in LEVELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(few_bits, "LEVEL", level)
            found = Linear8(20, 100, *to_int8(weight))(x)
        assert found[3].isnan().all()
        assert found[[row for row in range(11) if row != 3]].isfinite().all()


def test_numbers_of_every_size():
    weight = torch.randn(20, 64)
    layer = Linear8(20, 64, *to_int8(weight))
    for size in (1e34, 1e10, 1e-25, 1e-38, 1e-44, 0.0):
        x = torch.ones(2, 64) * size
        wanted = (x.double() @ from_int8(*to_int8(weight))[:20].double().t()).float()
        assert torch.allclose(layer(x), wanted, rtol=1e-3, atol=1e-28 + 1e-2 * size)


def test_products_in_several_threads_and_from_several_threads():
    torch.manual_seed(0)
    layer, x = Linear8(2000, 512, *to_int8(torch.randn(2000, 512))), torch.randn(8, 512)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = layer(x)
        for threads in (2, 5, 3):
            torch.set_num_threads(threads)
            with ThreadPoolExecutor(4) as pool:
                assert all(torch.equal(each, alone) for each in pool.map(lambda _: layer(x), range(40)))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no threads to be counted here")
@pytest.mark.skipif(few_bits.LEVEL is None, reason="the kernel was not compiled")
def test_products_in_several_threads_after_a_fork():
    """Also of a process in which another thread is computing: the child computes as fast and as right."""
    torch.manual_seed(0)
    layer, x = Linear8(2000, 512, *to_int8(torch.randn(2000, 512))), torch.randn(8, 512)
    before, over = torch.get_num_threads(), threading.Event()

    def busy():
        torch.set_num_threads(3)
        long = x.repeat(200, 1)
        while not over.is_set():
            layer(long)

    torch.set_num_threads(3)
    other = threading.Thread(target=busy)
    try:
        wanted = layer(x)
        other.start()
        for _ in range(5):
            time.sleep(0.02)
            child = os.fork()
            if child == 0:
                same = all(torch.equal(layer(x), wanted) for _ in range(20))
                os._exit(0 if same and len(os.listdir("/proc/self/task")) >= 3 else 1)
            assert waited(child) == 0
        over.set()
        other.join()
        assert all(torch.equal(layer(x), wanted) for _ in range(20))
    finally:
        over.set()
        torch.set_num_threads(before)


def waited(child):
    """Returns how a process ended; one that hangs is killed."""
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return ended[1]


def test_without_a_compiler_the_products_are_as_right(monkeypatch):
    torch.manual_seed(0)
    weight, x, bias = torch.randn(300, 128), torch.randn(2, 3, 128), torch.randn(300)
    monkeypatch.setattr(few_bits, "_kernel", None)
    monkeypatch.setattr(few_bits, "_UNPACKED", 128 * 7)
    for kind, parts, exact in (
        (Linear8, to_int8(weight), from_int8(*to_int8(weight))),
        *((LinearLow, to_low(weight, bits), from_low(*to_low(weight, bits))) for bits in LOW),
    ):
        assert torch.allclose(kind(300, 128, *parts, bias)(x), x @ exact[:300].t() + bias, atol=1e-4)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 64), (16, 128), (37, 64), (300, 192)])
def test_what_lies_in_tiles_is_the_weight(outputs, inputs):
    weight = torch.randn(outputs, inputs)
    low = [(to_low(weight, bits), from_low, bits) for bits in LOW]
    for parts, back, bits in ((to_int8(weight), from_int8, 8), *low):
        found = [Shape(part.dtype, tuple(part.shape)) for part in parts]
        assert found == list(shapes_of(bits, outputs, inputs).values())
        assert (back(*parts)[:outputs] - weight).abs().max() < weight.abs().max() / 2 ** (bits - 1) + 0.1
    rows = Embedding8(inputs, *to_int8(weight), 3.0)(torch.arange(outputs)[None])
    assert torch.allclose(rows[0], 3 * from_int8(*to_int8(weight))[:outputs])


def test_few_bits_are_close_to_many():
    torch.manual_seed(0)
    weight, x = torch.randn(256, 512), torch.randn(9, 512)
    exact = x @ weight.t()
    for layer, tolerance in (
        (Linear8(256, 512, *to_int8(weight)), 0.008),
        (LinearLow(256, 512, *to_low(weight, 5)), 0.04),
        (LinearLow(256, 512, *to_low(weight, 4)), 0.08),
    ):
        assert (layer(x) - exact).norm() / exact.norm() < tolerance
    ones = torch.full((256, 512), 0.02)  # sums of equal signs are where 16-bit additions would overflow
    layer = Linear8(256, 512, *to_int8(ones))
    assert layer(torch.ones(4, 512)).mean() == pytest.approx(10.24, rel=1e-3)
