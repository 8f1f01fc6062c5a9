"""`shoestring match compare`: both kinds of model on the same pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError

if TYPE_CHECKING:
    from shoestring.match.compare import Comparison

from shoestring.match.commands.train import three_sets, training_options


@ui.command("compare")
@training_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for both models."
)
@click.option("--texts", default=100_000, show_default=True, help="Size of the search whose cost is told.")
def compare(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, texts: int, overwrite: bool,
    first: str | None, second: str | None, label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Bi-encoder or cross-encoder? Trains both on the same pairs and tells what each is worth and costs."""
    from shoestring import plot
    from shoestring.match.compare import compare as run
    from shoestring.match.training.settings import Training

    settings = Training(**options)
    pairs, chosen, held = three_sets(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
    if held is None:
        raise OptionError("compare needs --test: pairs that neither train nor choose the threshold")
    found = run(base, pairs, chosen, held, output, settings, overwrite=overwrite, ui=ui)
    result = _both(found, texts)
    truth = held.binary(chosen.middle if settings.above is None else settings.above)
    figure = output / "compare.png"
    drawn = {
        f"{side.mode}-encoder": (side.scores.tolist(), truth.tolist(), side.threshold)
        for side in (found.bi, found.cross)
    }
    plot.score_distributions(drawn, figure, title=f"Scores of {len(held):,} test pairs")
    if ui.as_json:
        ui.result({**result, "pairs": found.pairs, "figure": str(figure)})
        return
    rows = [(name, *(_figure(result[mode][name]) for mode in ("bi", "cross")), _gap(found.ahead.get(name)))
            for name in result["bi"]]  # fmt: skip
    ui.table(("", "bi", "cross", "cross is ahead by (95 %)"), rows, title=f"{len(held):,} test pairs")
    ui.say(f"{figure}; models in {output / 'bi'} and {output / 'cross'}")


def _both(found: Comparison, texts: int) -> dict[str, Any]:
    """What each kind is worth and costs, and how far cross is ahead."""
    sides = {}
    for side, seconds in zip((found.bi, found.cross), found.search_seconds(texts), strict=True):
        sides[side.mode] = {
            "spearman": side.spearman, "accuracy": side.accuracy, "f1": side.f1, "threshold": side.threshold,
            "pairs per CPU second": side.pairs_per_second, f"seconds to search {texts:,} texts": seconds,
            "seconds of training": side.train_seconds,
        }  # fmt: skip
    return {**sides, "cross ahead": found.ahead}


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _gap(ahead: tuple[float, float, float] | None) -> str:
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*ahead) if ahead else ""
