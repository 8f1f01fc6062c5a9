"""`shoestring match compare`: both kinds of model over growing numbers of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.match.commands.options import labelled
from shoestring.match.commands.train import three_sets, training_options

if TYPE_CHECKING:
    from shoestring.match.compare import Comparison


@ui.command("compare")
@training_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for runs, models and figure.",
)
@click.option(
    "--other", "others", multiple=True, metavar="PAIRS", help="Report on these pairs, too; repeatable."
)
@click.option(
    "--sizes", default="250,1000,4000,16000,all", show_default=True, help="Numbers of pairs to train on."
)
@click.option("--seeds", default=3, show_default=True, help="Runs of each kind and size.")
@click.option("--quick", is_flag=True, help="The first two sizes and one seed: minutes.")
@click.option("--texts", default=100_000, show_default=True, help="Size of the search whose cost is told.")
def compare(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, others: Sequence[str],
    sizes: str, seeds: int, quick: bool, texts: int, overwrite: bool, first: str | None, second: str | None,
    label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Bi-encoder or cross-encoder? Accuracy over the number of labelled pairs, here and on other pairs.

    Both kinds train on the same pairs for the same number of steps; interrupted, the same command goes on.
    """
    from shoestring.match.compare import compare as run
    from shoestring.match.training.settings import Training

    cross = {name: options.pop(name) for name in ("head_learning_rate", "one_way")}
    settings, columns = Training(**options), (first, second, label, skip_bad)
    pairs, chosen, held = three_sets(ui, data, dev, test, settings.seed, columns)
    if held is None:
        raise OptionError("compare needs --test: pairs that neither train nor choose the threshold")
    wanted = _sizes(sizes, len(pairs), settings.batch_size)[: 2 if quick else None]
    more = {name: labelled(ui, name, columns) for name in others}
    found = run(
        base, pairs, chosen, held, output, settings, others=more, sizes=wanted, seeds=1 if quick else seeds,
        cross=cross, overwrite=overwrite, ui=ui,
    )  # fmt: skip
    figure = output / "compare.png"
    draw(found, figure)
    costs = _costs(found, texts)
    if ui.as_json:
        ui.result({**_values(found), "costs": costs, "figure": str(figure)})
        return
    for name in found.curves.sets:
        ui.table(
            ("pairs to train on", "bi", "cross", "cross is ahead by (95 %)"), _rows(found, name),
            title=f"accuracy on {found.curves.right('bi', 0, name).shape[1]:,} pairs: {name}",
        )  # fmt: skip
    ui.table(("", "bi", "cross"), [(what, *map(_figure, each.values())) for what, each in costs.items()])
    for line in conclusions(found):
        ui.say(line)
    ui.say(f"{figure}; models in {output / 'bi'} and {output / 'cross'}")


def conclusions(found: Comparison) -> list[str]:
    """Returns what a user needs to know, whichever way it comes out."""
    curves = found.curves
    lines = [curves.sentence(name) for name in curves.sets]
    for mode in ("bi", "cross"):
        if sizes := curves.rising(mode):
            lines.append(
                f"{mode}: was still rising at {', '.join(f'{size:,}' for size in sizes)} pairs; more --epochs may help"
            )
    if len(curves.of("bi", curves.sizes[-1])) == 1:
        lines.append(
            "one seed: the intervals are over the test pairs alone; --seeds 3 or more covers other runs, too"
        )
    return lines


def draw(found: Comparison, figure: Path) -> None:
    """Draws accuracy over the number of pairs, a panel for each set."""
    from shoestring import plot

    curves = found.curves
    panels = {}
    for name in curves.sets:
        untrained = curves.accuracy("bi", 0, name)[0]
        panels[name] = {
            f"{mode}-encoder": [(size, *curves.accuracy(mode, size, name)) for size in curves.sizes]
            for mode in ("bi", "cross")
        }
        panels[name]["bi, untrained"] = [(size, untrained, untrained, untrained) for size in curves.sizes]
    plot.learning_curves(panels, figure, x="pairs to train on", y="accuracy")


def _sizes(text: str, most: int, batch: int) -> list[int]:
    try:
        sizes = [most if each.strip() == "all" else int(each) for each in text.split(",")]
    except ValueError as error:
        raise OptionError(f"--sizes {text!r}: write numbers and all, such as 250,1000,all") from error
    fitting = sorted({size for size in sizes if size <= most and size >= 2 * batch})
    if not fitting:
        raise OptionError(
            f"--sizes {text!r}: there are {most:,} pairs, and a run needs two batches, {2 * batch}"
        )
    return fitting


def _values(found: Comparison) -> dict[str, Any]:
    """Everything, in full precision."""
    curves, sets = found.curves, {}
    for name in curves.sets:
        sets[name] = {"bi untrained": curves.accuracy("bi", 0, name)} | {
            str(size): {
                **{mode: curves.accuracy(mode, size, name) for mode in ("bi", "cross")},
                "cross ahead": curves.ahead(size, name),
            }
            for size in curves.sizes
        }
    runs = [
        {"mode": run.mode, "pairs": run.size, "seed": run.seed, "steps": run.steps, "seconds": run.seconds,
         "threshold": run.threshold, "rising": run.rising, "spearman": curves.spearman(run)}
        for run in curves.runs
    ]  # fmt: skip
    return {"accuracy": sets, "runs": runs, "conclusions": conclusions(found)}


def _costs(found: Comparison, texts: int) -> dict[str, dict[str, float]]:
    largest = found.curves.sizes[-1]
    searching = dict(zip(("bi", "cross"), found.search_seconds(texts), strict=True))
    training = {
        mode: sum(run.seconds for run in found.curves.of(mode, largest)) / len(found.curves.of(mode, largest))
        for mode in ("bi", "cross")
    }
    return {
        "texts (bi) or pairs (cross) per CPU second": dict(found.speeds),
        f"seconds to search {texts:,} texts": searching,
        f"seconds of training on {largest:,} pairs": training,
    }


def _rows(found: Comparison, name: str) -> list[tuple[str, ...]]:
    curves = found.curves
    rows: list[tuple[str, ...]] = [("untrained", _share(curves.accuracy("bi", 0, name)), "", "")]
    for size in curves.sizes:
        both = (_share(curves.accuracy(mode, size, name)) for mode in ("bi", "cross"))
        rows.append((f"{size:,}", *both, "{:+.3f} ({:+.3f} to {:+.3f})".format(*curves.ahead(size, name))))
    return rows


def _share(found: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*found)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
