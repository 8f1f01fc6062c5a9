"""`shoestring match eval`: what a model is worth on labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._extras import require
from shoestring.match.commands.options import CUT, METRIC, above, column_options, device, labelled
from shoestring.match.commands.threshold import summary

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs
    from shoestring.match.deciding.decision import Decision
    from shoestring.match.matcher import Matcher


@ui.command("eval")
@click.argument("model")
@click.argument("data")
@click.option("--figure", type=click.Path(path_type=Path), help="PNG of the scores of both kinds of pairs.")
@click.option("--metric", default="accuracy", show_default=True, help=METRIC)
@above
@column_options
@device
def evaluate(
    ui: ui.UI, model: str, data: str, figure: Path | None, metric: str, above: float | None, device: str,
    first: str | None, second: str | None, label: str | None, skip_bad: bool,
) -> None:  # fmt: skip
    """Measures any sentence-transformers bi-encoder or cross-encoder on labelled pairs.

    A model with a threshold is measured at it. Without one, the best threshold of these very pairs is shown, with
    its interval, and what it would lose on others.
    """
    require("match", "sentence_transformers")
    from shoestring.match.matcher import Matcher

    pairs = labelled(ui, data, (first, second, label, skip_bad))
    ui.result(measured(Matcher(model, device), pairs, ui, metric, above, figure))


def measured(
    matcher: Matcher, pairs: Pairs, ui: ui.UI, metric: str = "accuracy", above: float | None = None,
    figure: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns what a model is worth on pairs, as rows for people or JSON; draws its scores."""
    from shoestring import plot
    from shoestring.match.deciding.decision import decide
    from shoestring.match.deciding.threshold import Curve
    from shoestring.match.training.settings import spearman

    own = matcher.decision
    cut_at = own.cut(pairs, above) if own else pairs.middle if above is None else above
    truth = pairs.binary(cut_at)
    with ui.bar("scoring", len(pairs), "pair") as bar:
        scores = matcher.scores(list(pairs), progress=bar.update)
    result: dict[str, Any] = {"pairs": len(pairs), "test spearman": spearman(scores, pairs.labels)}
    if own is None:
        own = decide(scores, pairs, matcher.mode, metric, cut_at)
        result |= decided(own)
        ui.say("these pairs chose the threshold: its metric on others is below")
    else:
        curve = Curve.of(scores, truth)
        result |= {"threshold": own.threshold}
        for line in own.remarks(scores, truth):
            ui.say(line)
        result |= {
            f"test {name}": curve.at(own.threshold, name).value
            for name in dict.fromkeys((own.metric, "accuracy", "f1"))
        }
    if cut := matcher.too_long([text for pair in pairs for text in pair]):
        ui.say(f"{cut:,} {CUT}")
    if figure:
        plot.score_distributions(
            {str(matcher.folder.name): (scores.tolist(), truth.tolist(), own.threshold)}, figure
        )
        result["figure"] = str(figure)
    return result


def decided(decision: Decision) -> dict[str, Any]:
    """Returns a stored threshold and its uncertainty as rows for people or JSON."""
    return summary(
        decision.metric, decision.threshold, decision.threshold_interval, decision.value, decision.value_interval,
        decision.optimism,
    )  # fmt: skip
