"""A figure shows the values that it was given, and is written whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring import plot
from shoestring._errors import OutputError

pytest.importorskip("matplotlib")


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200))
def test_smoothing_stays_between_the_extremes_keeps_the_start_and_ends_with_a_mean(values):
    smooth = plot.smoothed(values)
    assert len(smooth) == len(values)
    assert smooth[0] == pytest.approx(values[0], abs=1e-9)
    last = values[-1 - round(len(values) / 40) :]  # half of a window of 1/20
    assert smooth[-1] == pytest.approx(sum(last) / len(last), abs=1e-9)
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in smooth)


def test_smoothing_removes_noise_and_keeps_a_slope():
    noisy = [0.1 * step + (-1) ** step for step in range(400)]
    smooth = plot.smoothed(noisy)
    assert all(abs(smooth[step] - 0.1 * step) < 0.1 for step in range(20, 380))


@pytest.mark.parametrize("log_x", [False, True])
def test_loss_curves_are_drawn_in_their_colours(log_x, tmp_path):
    curves = {
        "encoder": [(step, 3 + 4 * math.exp(-step / 90) + 0.2 * math.sin(step)) for step in range(1, 500)],
        "decoder": [(100, 5.0), (300, 4.5), (499, 4.2)],
    }
    plot.loss_curves(curves, tmp_path / "loss.png", log_x=log_x)
    image = pixels(tmp_path / "loss.png")
    assert image.shape[:2] == (504, 864)
    for colour in plot.COLOURS[:2]:
        red, green, blue = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
        close = abs(image[..., 0] - red) + abs(image[..., 1] - green) + abs(image[..., 2] - blue) < 0.05
        assert close.sum() > 100


def test_ranks_are_drawn_under_their_bound(tmp_path):
    logits, weights = [[3.0, 4.0], [6.0, 7.5], [7.0, 7.9]], [[2.0, 5.0], [4.0, 12.0], [8.0, 30.0]]
    plot.attention_ranks([8, 16, 32], logits, weights, [[7.0, 7.9]], tmp_path / "rank.png", key_size=8)
    image = pixels(tmp_path / "rank.png")
    assert image.shape[:2] == (504, 1152)
    for colour in plot.COLOURS[:2]:
        red, green, blue = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
        close = abs(image[..., 0] - red) + abs(image[..., 1] - green) + abs(image[..., 2] - blue) < 0.05
        assert close.sum() > 100


def test_no_points_are_an_empty_figure(tmp_path):
    plot.loss_curves({}, tmp_path / "none.png")
    plot.loss_curves({"training": []}, tmp_path / "empty.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OutputError):
        plot.loss_curves({"training": [(1, 2.0)]}, tmp_path / "missing" / "loss.png")
    assert list(tmp_path.iterdir()) == []


def test_differences_stand_on_their_side_of_the_line(tmp_path):
    path = tmp_path / "differences.png"
    plot.differences({"equal steps": {"worse": (0.03, 0.01), "better": (-0.02, 0.01)}}, path, title="")
    inked = (abs(pixels(path)[:, :, :3] - [0, 114 / 255, 178 / 255]) < 0.02).all(axis=-1)  # the first colour
    rows = inked.any(axis=1).nonzero()[0]
    upper, lower = inked[: rows.mean().astype(int)], inked[rows.mean().astype(int) :]
    assert upper.any(axis=0).nonzero()[0].mean() > lower.any(axis=0).nonzero()[0].mean()
