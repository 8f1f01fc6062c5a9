"""`shoestring match threshold`: the best threshold of a table of scores and labels. numpy only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.tables import Column, is_number, read_table
from shoestring.match.commands.options import METRIC

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPTIMISTIC = (
    "these pairs chose the threshold, so the metric here is optimistic; report it on others with --test"
)
UPSIDE_DOWN = (
    "positive pairs have the smaller scores (area under the ROC curve {:.2f}): if these are distances, give 1 minus "
    "them or their negatives; a pair counts as positive from the threshold on upwards"
)
TRUTH = {"true": 1.0, "false": 0.0}  # as pandas writes them
SCORE = ("score", "scores", "similarity", "prediction", "probability")
LABEL = ("label", "labels", "gold", "truth", "target")


def read_scores(
    source: str | Path, score: str | None = None, label: str | None = None
) -> tuple[NDArray, NDArray]:
    """Reads (scores, labels), each (n,).

    Args:
        source: a table, see `shoestring.files.tables`; without a header score and label are its last columns.
        score: the column of the scores.
        label: the column of the labels.

    Raises:
        InputError: nothing there, or a cell is no finite number, or as a label true or false; the line is named.
    """
    import numpy as np

    columns = (
        Column(score, SCORE, -2, "--score", is_number, alone=True),
        Column(label, LABEL, -1, "--label", is_number, alone=True),
    )
    rows = []
    for line, (value, said) in read_table(source, columns):
        cells = (value, TRUTH.get(str(said).strip().lower(), said))
        for what, cell in zip((score or "score", label or "label"), cells, strict=True):
            if not is_number(cell) or not np.isfinite(float(cell)):
                raise InputError(f"{source}: line {line:,}: {what} {cell!r} is no finite number")
        rows.append([float(cell) for cell in cells])
    if not rows:
        raise InputError(f"{source}: no rows; each needs a score and a label")
    values = np.array(rows)
    return values[:, 0], values[:, 1]


def _require_binary(source: str, label: str, labels: NDArray) -> None:
    low, high = float(labels.min()), float(labels.max())
    if not ((labels == 0) | (labels == 1)).all():
        raise InputError(
            f"{source}: {label} goes from {low:g} to {high:g}, but 0 and 1 are needed; say above which a pair is "
            f"positive, such as --above {(low + high) / 2:g}, or --graded for thresholds between grades"
        )


@ui.command("threshold")
@click.argument("scores")
@click.option("--metric", default="f1", show_default=True, help=METRIC)
@click.option("--score", help="Column of the scores.  [default: the usual names, or the last but one]")
@click.option("--label", help="Column of the labels.  [default: the usual names, or the last]")
@click.option("--above", type=float, help="Labels above this are positive.  [default: labels are 0 and 1]")
@click.option("--graded", is_flag=True, help="Labels are ordered grades: find a threshold between each two.")
@click.option(
    "--test", metavar="SCORES", help="Report the metric on these, which did not choose the threshold."
)
@click.option("--rounds", default=1000, show_default=True, help="Bootstrap samples for the intervals.")
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
def threshold(
    ui: ui.UI,
    scores: str,
    metric: str,
    score: str | None,
    label: str | None,
    above: float | None,
    graded: bool,
    test: str | None,
    rounds: int,
    seed: int,
) -> None:
    """Finds the threshold that makes a metric best, exactly, and how sure one can be of it.

    SCORES: a table (.tsv, .csv, .jsonl, .parquet) with a score and a label in each row.
    """
    require("threshold", "numpy")
    from shoestring.match.deciding import threshold as module
    from shoestring.match.deciding.grading import graded as graded_thresholds

    values, labels = read_scores(scores, score, label)
    if graded:
        found = graded_thresholds(values, labels)
        extra: dict[str, Any] = {}
        if test:
            there, grades = read_scores(test, score, label)
            extra[f"accuracy on {test}"] = float((found.predict(there) == grades).mean())
        ui.result({**asdict(found), **extra})
        return
    if above is None:
        _require_binary(scores, label or "label", labels)
    curve = module.Curve.of(values, labels if above is None else labels > above)
    cut = curve.best(metric)
    if curve.area < 0.5:
        ui.say(UPSIDE_DOWN.format(curve.area))
    unsure = module.bootstrap(curve, metric, rounds, seed=seed)
    result = {
        **summary(cut.metric, cut.threshold, unsure.threshold, cut.value, unsure.value, unsure.optimism),
        "pairs": cut.tp + cut.fp + cut.fn + cut.tn,
        **{f"{true} {sign}": getattr(cut, f"{true[0]}{sign[0]}")
           for true in ("true", "false") for sign in ("positives", "negatives")},
    }  # fmt: skip
    if test:
        there, truth = read_scores(test, score, label)
        truth = truth if above is None else truth > above
        on = module.Curve.of(there, truth).at(cut.threshold, metric)
        result[f"{cut.metric} on {test}"] = on.value
    else:
        ui.say(OPTIMISTIC)
    ui.result(result)


def summary(
    metric: str, threshold: float, between: tuple[float, float], value: float, values: tuple[float, float],
    optimism: float,
) -> dict[str, Any]:  # fmt: skip
    """Returns a threshold and its uncertainty as rows for people or JSON."""
    return {
        "threshold": threshold,
        "threshold interval": list(between),
        f"{metric} here": value,
        f"{metric} on new pairs": value - optimism,
        f"{metric} interval": list(values),
    }
