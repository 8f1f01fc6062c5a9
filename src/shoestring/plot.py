"""Figures: one function each, values in, a PNG out.

- Drawn by matplotlib's Agg without a display; labels are English, since the fonts of a bare machine have no
  Chinese.
- Every figure is written whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from shoestring._extras import require
from shoestring.files import atomic

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008


def loss_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    path: str | os.PathLike[str],
    *,
    title: str = "Loss",
    log_x: bool = False,
) -> None:
    """Draws losses over steps: the raw points faint, their centred moving average on top.

    Args:
        curves: name -> (step, loss) points in order; losses in nats per target.
        path: the PNG.
        title: above the figure.
        log_x: steps on a logarithmic axis.

    >>> loss_curves({"training": [(1, 7.0), (2, 6.1), (3, 5.8)]}, "loss.png")  # doctest: +SKIP
    """
    with _figure(path, title) as axes:
        for colour, (name, points) in zip(_colours(len(curves)), curves.items(), strict=True):
            steps, losses = [step for step, _ in points], [loss for _, loss in points]
            few = len(points) < 20
            axes.plot(steps, losses, color=colour, **_style(few), label=_label(name, losses) if few else None)
            if not few:
                axes.plot(steps, smoothed(losses), color=colour, linewidth=1.8, label=_label(name, losses))
        axes.set(xlabel="step", ylabel="loss (nats per target)", xscale="log" if log_x else "linear")
        if curves:
            axes.legend(frameon=False)


def nats(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    path: str | os.PathLike[str],
    *,
    title: str,
    x: str = "step",
    log_x: bool = False,
) -> None:
    """Draws bounds in nats per image; the axis leaves out the first tenth of each curve, where they are huge.

    Args:
        curves: name -> (x, nats) points in order.
        path: the PNG.
        title: above the figure.
        x: what the points are over.
        log_x: x on a logarithmic axis.

    >>> nats({"test": [(100, 120.0), (200, 110.0)]}, "nats.png", title="ELBO")  # doctest: +SKIP
    """
    with _figure(path, title) as axes:
        for colour, (name, points) in zip(_colours(len(curves)), curves.items(), strict=True):
            xs, ys = [place for place, _ in points], [value for _, value in points]
            axes.plot(
                xs, ys, color=colour, **_style(len(points) < 20) | {"alpha": 0.9}, label=_label(name, ys)
            )
        late = [value for points in curves.values() for _, value in points[len(points) // 10 :]]
        axes.set(xlabel=x, ylabel="nats per image", xscale="log" if log_x else "linear")
        if late:
            axes.set_ylim(top=max(late) * 1.05)
            axes.legend(frameon=False)


def smoothed(values: Sequence[float], span: float = 0.05) -> list[float]:
    """Returns the mean over `span` of the values around each one: a curve that does not lag behind.

    The window is symmetric and so shrinks towards the start, where losses fall steeply; towards the end it loses what
    is not there yet, so that the last value is no single one.

    >>> smoothed([1.0, 2.0, 6.0, 4.0], span=1.0)
    [1.0, 3.0, 3.25, 4.0]
    """
    sums, count = [0.0, *accumulate(values)], len(values)
    out = []
    for index in range(count):
        reach = min(round(span * count / 2), index)
        end = min(index + reach + 1, count)
        out.append((sums[end] - sums[index - reach]) / (end - index + reach))
    return out


def zipf(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: str | os.PathLike[str], *, title: str = "Zipf"
) -> None:
    """Draws counts over ranks, both logarithmic; an exponent in a name belongs to the caller.

    Args:
        curves: name -> (rank, count) points.
        path: the PNG.
        title: above the figure.

    >>> zipf({"news": [(1, 1000), (10, 100), (100, 10)]}, "zipf.png")  # doctest: +SKIP
    """
    _logarithmic(curves, path, title, "rank", "occurrences")


def heaps(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: str | os.PathLike[str], *, title: str = "Heaps"
) -> None:
    """Draws the number of different words over the number of tokens, both logarithmic.

    Args:
        curves: name -> (tokens, distinct) points.
        path: the PNG.
        title: above the figure.

    >>> heaps({"news": [(1, 1), (1000, 400), (1e6, 40000)]}, "heaps.png")  # doctest: +SKIP
    """
    _logarithmic(curves, path, title, "tokens", "distinct words")


def _logarithmic(curves: Mapping, path: str | os.PathLike[str], title: str, x: str, y: str) -> None:
    with _figure(path, title) as axes:
        for colour, (name, points) in zip(_colours(len(curves)), curves.items(), strict=True):
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.plot(xs, ys, color=colour, marker=".", markersize=4, linewidth=1.2, label=name)
        axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
        if curves:
            axes.legend(frameon=False)


def speedup(
    bars: Sequence[tuple[str, float, int]], path: str | os.PathLike[str], *, title: str = "Speed-up"
) -> None:
    """Draws speed-ups over a baseline as bars, and where one per process lies.

    Args:
        bars: (name, speed-up, processes), the baseline among them with 1.
        path: the PNG.
        title: above the figure.

    >>> speedup([("naive loop", 1, 1), ("2 processes", 1.8, 2)], "speedup.png")  # doctest: +SKIP
    """
    with _figure(path, title) as axes:
        places = range(len(bars), 0, -1)
        for place, (_, value, processes) in zip(places, bars, strict=True):
            axes.barh(place, value, color=COLOURS[0] if value > processes else COLOURS[4], height=0.6)
            axes.plot([processes] * 2, [place - 0.4, place + 0.4], color=COLOURS[6], linewidth=1.5)
            axes.text(value * 1.05, place, f"{value:.3g}", va="center")
        axes.set_yticks(places, [name for name, _, _ in bars])
        axes.set(xlabel="times the naive loop (black: one per process)", xscale="log")
        axes.set_xlim(right=max((value for _, value, _ in bars), default=1) * 2.5)


def attention_ranks(
    lengths: Sequence[int],
    logits: Sequence[Sequence[float]],
    weights: Sequence[Sequence[float]],
    grid: Sequence[Sequence[float]],
    path: str | os.PathLike[str],
    *,
    key_size: int,
    title: str = "Effective rank of attention",
) -> None:
    """Draws how the effective rank of attention grows with the text, and which head has how much of it.

    Args:
        lengths: tokens of the pieces measured.
        logits: effective ranks of all heads' logits, a row for each length.
        weights: the same of the attention weights.
        grid: of the logits at the longest length, a row for each layer and a column for each head.
        path: the PNG.
        key_size: drawn as a line, which logits cannot pass unless talking heads mix them.
        title: above the figure.

    >>> attention_ranks([8, 16], [[4, 5], [7, 8]], [[6, 6], [9, 11]], [[7, 8]], "r.png", key_size=8)  # doctest: +SKIP
    """
    with _figures(path, title, columns=2) as (left, right):
        left.plot(lengths, lengths, color=COLOURS[6], linestyle=":", linewidth=1, label="length: full rank")
        left.axhline(key_size, color=COLOURS[6], linestyle="--", linewidth=1, label=f"key size {key_size}")
        for colour, name, rows in ((COLOURS[0], "logits", logits), (COLOURS[1], "weights", weights)):
            means = [sum(row) / len(row) for row in rows]
            left.fill_between(
                lengths, [min(row) for row in rows], [max(row) for row in rows], color=colour, alpha=0.15
            )
            left.plot(
                lengths, means, color=colour, marker="o", markersize=4, label=f"{name} (band: all heads)"
            )
        left.set(xlabel="tokens", ylabel="effective rank", xscale="log", yscale="log")
        left.set_xticks(lengths, [str(length) for length in lengths], minor=False)
        left.minorticks_off()
        left.legend(frameon=False, fontsize=8)
        image = right.imshow(grid, aspect="auto", cmap="viridis", vmin=1)
        right.set(xlabel="head", ylabel="layer", title=f"logits, {lengths[-1]} tokens")
        right.grid(visible=False)
        right.xaxis.get_major_locator().set_params(integer=True)
        right.yaxis.get_major_locator().set_params(integer=True)
        right.figure.colorbar(image, ax=right, shrink=0.9)


def differences(
    groups: Mapping[str, Mapping[str, tuple[float, float]]],
    path: str | os.PathLike[str],
    *,
    title: str = "Differences",
) -> None:
    """Draws differences to a baseline with their intervals; left of the line is better.

    Args:
        groups: group -> name -> (difference, half of its interval), losses in nats per target.
        path: the PNG.
        title: above the figure.

    >>> differences({"equal steps": {"wide keys": (0.01, 0.02)}}, "differences.png")  # doctest: +SKIP
    """
    with _figure(path, title) as axes:
        labels = [(group, name) for group, rows in groups.items() for name in rows]
        for place, (group, name) in zip(range(len(labels), 0, -1), labels, strict=True):
            difference, half = groups[group][name]
            colour = COLOURS[list(groups).index(group) % len(COLOURS)]
            axes.errorbar(difference, place, xerr=half, fmt="o", color=colour, capsize=4)
            axes.annotate(
                f"{difference:+.3f} ± {half:.3f}",
                (difference, place),
                (0, 8),
                textcoords="offset points",
                ha="center",
            )
        axes.axvline(0, color=COLOURS[6], linewidth=1)
        axes.set_yticks(range(len(labels), 0, -1), [f"{name}, {group}" for group, name in labels])
        axes.set_ylim(0.4, len(labels) + 0.7)
        axes.set(xlabel="difference in loss (nats per target)")


def score_distributions(
    sets: Mapping[str, tuple[Sequence[float], Sequence[int], float]],
    path: str | os.PathLike[str],
    *,
    title: str = "Scores",
) -> None:
    """Draws how the scores of matching and of other pairs lie, and where the threshold cuts; a row per set.

    Args:
        sets: name -> (scores, labels of 0 and 1, threshold).
        path: the PNG.
        title: above the figure.

    >>> score_distributions({"bi": ([0.9, 0.8, 0.2], [1, 1, 0], 0.5)}, "scores.png")  # doctest: +SKIP
    """
    with _figures(path, title, rows=len(sets)) as every:
        for axes, (name, (scores, labels, threshold)) in zip(every, sets.items(), strict=True):
            parts = [[s for s, y in zip(scores, labels, strict=True) if y == kind] for kind in (0, 1)]
            low, high = min(scores), max(scores)
            span = (low, high) if high > low else (low - 0.5, high + 0.5)
            bins = min(60, 10 + int(len(scores) ** 0.5))
            for part, colour, label in zip(
                parts, (COLOURS[1], COLOURS[0]), ("other", "matching"), strict=True
            ):
                axes.hist(
                    part, bins=bins, range=span, color=colour, alpha=0.55, label=f"{label} ({len(part):,})"
                )
            axes.axvline(threshold, color=COLOURS[6], linewidth=1.5, label=f"threshold {threshold:.4g}")
            axes.set(xlabel="score", ylabel="pairs")
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False, title=name, alignment="left")


def learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]],
    path: str | os.PathLike[str],
    *,
    x: str,
    y: str,
) -> None:
    """Draws how good something is over how much it was given, with intervals; a panel for each set it is tried on.

    Args:
        panels: set -> name -> (amount, value, low, high) in order.
        path: the PNG.
        x: what the amount is.
        y: what the value is.

    >>> learning_curves({"test": {"bi": [(250, 0.8, 0.7, 0.9)]}}, "c.png", x="pairs", y="accuracy")  # doctest: +SKIP
    """
    with _figures(path, "", columns=len(panels)) as every:
        for axes, (panel, curves) in zip(every, panels.items(), strict=True):
            for colour, (name, points) in zip(_colours(len(curves)), curves.items(), strict=True):
                amounts, values, lows, highs = zip(*points, strict=True)
                axes.plot(amounts, values, color=colour, marker="o", markersize=4, label=name)
                axes.fill_between(amounts, lows, highs, color=colour, alpha=0.15, linewidth=0)
            axes.set(xlabel=x, ylabel=y, xscale="log")
            axes.set_title(panel, loc="left", fontweight="bold")
            axes.legend(frameon=False)


@contextmanager
def _figure(path: str | os.PathLike[str], title: str) -> Iterator[Any]:
    """Gives the axes of a new figure and writes it to `path` at the end."""
    with _figures(path, title) as (axes,):
        yield axes


@contextmanager
def _figures(
    path: str | os.PathLike[str], title: str, rows: int = 1, columns: int = 1
) -> Iterator[Sequence[Any]]:
    """Gives several axes in one figure and writes it to `path` at the end."""
    require("plot", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (7.2 + 2.4 * (columns - 1), 4.2 if rows == 1 else 1.2 + 3 * rows)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    every[0].set_title(title, loc="left", fontweight="bold")
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    yield every
    with atomic(os.fspath(path), "wb") as file:
        figure.savefig(file, format="png")


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _style(few: bool) -> dict:
    return {"marker": "o", "markersize": 4, "linewidth": 1.5} if few else {"alpha": 0.25, "linewidth": 0.8}


def _label(name: str, losses: Sequence[float]) -> str:
    return f"{name} (last {losses[-1]:.3f})" if losses else name
