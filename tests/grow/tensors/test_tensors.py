"""Laws of the algebra: parts add up, grown tensors act like A W A^+, nothing depends on how work is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.grow.stored import dtypes
from shoestring.grow.tensors import axes, splits
from shoestring.grow.tensors.draws import Draws
from shoestring.grow.tensors.rows import Growth
from shoestring.grow.tensors.sides import product, side

FLOATS = ("F64", "F32", "F16", "BF16")
sizes = st.integers(1, 9)


def stored(shape, dtype, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape)
    return dtypes.encode(values, dtype)


def grow(block, growth, chunk=None):
    """The whole new matrix, in chunks of rows."""
    out = np.zeros((growth.rows.size, growth.columns.size), block.dtype)
    worst = 0.0
    for start in range(0, len(block), chunk or len(block)):
        part = growth.prepared(block[start : start + (chunk or len(block))], start)
        pieces, distance = growth.grown(part, start, check=True)
        worst = max(worst, distance)
        for place, rows in pieces:
            out[place : place + len(rows)] = rows
    mean = dtypes.decode(block, growth.dtype).astype(np.float64).mean(0)
    for place, rows in growth.new_rows(mean):
        out[place : place + len(rows)] = rows
    return out, worst


def rule(rows, columns, block, dtype, **settings):
    return Growth("w", "w", block.shape, (rows.size, columns.size), dtype, rows, columns, **settings)


def random_axis(draw, n):
    kind = draw(st.sampled_from(["tiled", "isometric", "averaged", "identity", "padded"]))
    size = draw(st.integers(n, 3 * n))
    return axes.identity(n) if kind == "identity" else getattr(axes, kind)(n, size)


@settings(deadline=None, max_examples=60)
@given(st.data(), sizes, sizes, st.sampled_from(FLOATS), st.sampled_from(splits.SPLITS))
def test_a_reader_of_what_was_written_reads_what_it_read(data, n, m, dtype, kind):
    """W' A = B W for a reader W' with rows on B: the law that makes growth lossless."""
    read, written = random_axis(data.draw, n), random_axis(data.draw, m)
    block = stored((m, n), dtype, data.draw(st.integers(0, 99)))
    growth = rule(side(written, "write"), side(read, "read"), block, dtype, split=kind)
    out, worst = grow(block, growth)
    old = dtypes.decode(block, dtype).astype(np.float64)
    wide = dtypes.decode(out, dtype).astype(np.float64)
    got = wide @ read.matrix()
    truth = written.matrix() @ old
    rows = written.index != axes.NEW  # new rows are free
    tolerance = 0 if not growth.rounded else 6 * max(read.copies.max(), 1) * dtypes.EPSILON[dtype]
    largest = np.abs(old).max() * max(1, np.abs(written.scale).max()) + 1
    assert np.abs(got - truth)[rows].max() <= tolerance * largest
    assert worst <= (0 if not growth.rounded else 6 * max(read.copies.max(), 1))


@settings(deadline=None, max_examples=40)
@given(st.data(), sizes, sizes, st.integers(1, 9), st.sampled_from(["grid", "noise"]))
def test_chunks_change_nothing(data, n, m, chunk, kind):
    read, written = random_axis(data.draw, n), random_axis(data.draw, m)
    block = stored((m, n), "BF16")
    for roles in (("write", "read"), ("read", "write")):
        sides = side(written, roles[0]), side(read, roles[1])
        growth = rule(*sides, block, "BF16", split=kind)
        assert (grow(block, growth)[0] == grow(block, growth, chunk)[0]).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_grid_parts_add_up_bit_for_bit_and_differ(dtype, count):
    rng = np.random.default_rng(1)
    values = rng.standard_normal(4096) * 10.0 ** rng.integers(-3, 3, 4096)
    block = dtypes.encode(values, dtype)[None]
    draw = Draws(0, "w")
    parts = splits.divided(block, dtype, count, "grid", lambda k: draw.bytes(k, 0, 1, 4096), lambda k: block)
    numbers = [dtypes.decode(part, dtype).astype(np.float64) for part in parts]
    assert (sum(numbers) == dtypes.decode(block, dtype)).all()
    assert np.mean(numbers[0] == numbers[1]) < 0.05
    assert all((part * np.sign(values) >= 0).all() for part in numbers)


@pytest.mark.parametrize("kind", splits.SPLITS)
def test_every_bf16_number_is_divided(kind):
    """All 65,536 of them: subnormals, zeros of both signs, infinities; what is not a number stays none."""
    bits = np.arange(65536, dtype=np.uint16)[None]
    value = dtypes.decode(bits, "BF16")
    draw = Draws(3, "all")
    parts = splits.divided(
        bits, "BF16", 2, kind, lambda k: draw.bytes(k, 0, 1, 65536), lambda k: np.zeros(bits.shape)
    )
    first, second = (dtypes.decode(part, "BF16").astype(np.float64) for part in parts)
    finite = np.isfinite(value)
    small = np.abs(value) < 2.0**-125
    assert (first + second == value)[finite & ~small].all()
    assert np.abs(first + second - value)[finite].max() <= (0 if kind == "grid" else 2.0**-132)
    assert np.isnan((first + second)[np.isnan(value)]).all()


def test_the_table_for_bf16_is_the_rule_on_the_grid():
    block = stored((64, 64), "BF16")
    draw = Draws(0, "w")
    byte = draw.bytes(0, 0, 64, 64)
    fast = splits.divided(block, "BF16", 2, "grid", lambda k: byte, lambda k: block)
    slow = splits._on_grid(block, "BF16", 2, lambda k: byte)
    assert all((a == b).all() for a, b in zip(fast, slow, strict=True))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), sizes, sizes, sizes)
def test_draws_depend_on_the_row_alone(seed, start, rows, width):
    draws = Draws(seed, "w")
    whole = draws.bytes(0, 0, start + rows, width)
    assert (draws.bytes(0, start, start + rows, width) == whole[start:]).all()
    assert (Draws(seed + 1, "w").bytes(0, 0, 9, 9) != draws.bytes(0, 0, 9, 9)).any()


def test_draws_are_what_they_say():
    drawn = Draws(0, "w").normal(0, 0, 400, 400)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_shares_add_up_to_their_number_times_the_whole(dtype):
    block = stored((4, 6), dtype)
    axis = axes.identity
    parts = [
        rule(side(axis(4), "write"), side(axis(6), "read"), block, dtype, share=(part, 2)) for part in (0, 1)
    ]
    total = sum(dtypes.decode(each.prepared(block, 0), dtype).astype(np.float64) for each in parts)
    assert (total == 2 * dtypes.decode(block, dtype).astype(np.float64)).all()


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6))
def test_regrouped_heads_cover_the_old_ones(groups, width, times, new_width):
    found = axes.grouped_heads(groups * width, groups, groups * times * new_width, groups * times)
    if found is None:
        assert times * new_width < width or new_width * times * groups < groups * width
        return
    queries, keys = found
    assert set(queries.tolist()) == set(range(groups * width))
    assert (queries // width == np.repeat(keys, new_width)).all()


def test_neighbouring_dimensions_taken_as_one():
    first, second = axes.tiled(2, 4), axes.isometric(3, 4)
    both = product(side(first, "write"), side(second, "write"))
    dense = np.zeros((16, 6))
    dense[np.arange(16), both.index] = both.factor
    assert np.allclose(dense, np.kron(first.matrix(), second.matrix()))


def test_averaged_keeps_what_layernorm_computes():
    x = np.random.default_rng(0).standard_normal(8)
    axis = axes.averaged(8, 12)
    grown = np.where(axis.index == axes.NEW, x.mean(), x[axis.index]) * axis.scale
    z, big = (x - x.mean()) / np.sqrt(x.var() + 1e-3), (grown - grown.mean()) / np.sqrt(grown.var() + 1e-3)
    assert np.allclose(big[:8], z * axis.scale[0])
    assert np.allclose(big[8:], 0)


def test_isometric_keeps_the_mean_square():
    x = np.random.default_rng(0).standard_normal(8)
    grown = axes.isometric(8, 13).matrix() @ x
    assert np.isclose((grown**2).mean(), (x**2).mean())
