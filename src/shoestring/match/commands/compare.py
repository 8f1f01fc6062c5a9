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
    "--kinds", default="bi,cross", show_default=True, help="Of bi, cross, joined, cross-from-bi, distilled."
)
@click.option(
    "--sizes", default="250,1000,4000,16000,all", show_default=True, help="Numbers of pairs to train on."
)
@click.option("--seeds", default=3, show_default=True, help="Runs of each kind and size.")
@click.option("--quick", is_flag=True, help="The first two sizes and one seed: minutes.")
@click.option("--texts", default=100_000, show_default=True, help="Size of the search whose cost is told.")
def compare(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, others: Sequence[str],
    kinds: str, sizes: str, seeds: int, quick: bool, texts: int, overwrite: bool, first: str | None, second: str | None,
    label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Bi-encoder or cross-encoder? Accuracy over the number of labelled pairs, here and on other pairs.

    All kinds train on the same pairs for the same number of steps; interrupted, the same command goes on.
    joined: two texts up to the frozen layers, one sequence above. distilled: a cross-encoder's order of the pairs is
    what a bi-encoder learns.
    """
    from shoestring.match.compare import compare as run
    from shoestring.match.training.settings import Training

    cross = {name: options.pop(name) for name in ("head_learning_rate", "one_way")}
    settings, columns = Training(**options), (first, second, label, skip_bad)
    pairs, chosen, held = three_sets(ui, data, dev, test, settings.seed, columns)
    if held is None:
        raise OptionError("compare needs --test: pairs that neither train nor choose the threshold")
    fitting, unfit = _sizes(sizes, len(pairs), settings.batch_size)
    wanted = fitting[: 2 if quick else None]
    if unfit:
        ui.say(
            f"--sizes: {', '.join(map(str, unfit))} left out; there are {len(pairs):,} pairs, and a run needs two "
            f"batches, {2 * settings.batch_size}"
        )
    more = {name: labelled(ui, name, columns) for name in others}
    found = run(
        base, pairs, chosen, held, output, settings, others=more, kinds=[each.strip() for each in kinds.split(",")],
        sizes=wanted, seeds=1 if quick else seeds, cross=cross, overwrite=overwrite, ui=ui,
    )  # fmt: skip
    figure = output / "compare.png"
    draw(found, figure)
    costs = _costs(found, texts)
    if ui.as_json:
        ui.result({**_values(found), "costs": costs, "figure": str(figure)})
        return
    rest = found.curves.kinds[1:]
    for name in found.curves.sets:
        ui.table(
            ("pairs to train on", "bi", *(each for kind in rest for each in (kind, f"{kind} is ahead by (95 %)"))),
            _rows(found, name),
            title=f"accuracy on {found.curves.right('bi', 0, name).shape[1]:,} pairs: {name}",
        )  # fmt: skip
    ui.table(("", *found.speeds), [(what, *map(_figure, each.values())) for what, each in costs.items()])
    for line in conclusions(found):
        ui.say(line)
    ui.say(f"{figure}; models in {', '.join(str(output / kind) for kind in found.speeds)}")


def conclusions(found: Comparison) -> list[str]:
    """Returns what a user needs to know, whichever way it comes out."""
    curves = found.curves
    lines = [curves.sentence(kind, name) for kind in curves.kinds[1:] for name in curves.sets]
    for kind in curves.kinds:
        if sizes := curves.rising(kind):
            lines.append(
                f"{kind}: was still rising at {', '.join(f'{size:,}' for size in sizes)} pairs; more --epochs may help"
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
            kind: [(size, *curves.accuracy(kind, size, name)) for size in curves.sizes]
            for kind in curves.kinds
        }
        panels[name]["bi, untrained"] = [(size, untrained, untrained, untrained) for size in curves.sizes]
    plot.learning_curves(panels, figure, x="pairs to train on", y="accuracy")


def _sizes(text: str, most: int, batch: int) -> tuple[list[int], list[int]]:
    """Returns the numbers of pairs to train on, and those that are left out: more than there are, or too few."""
    try:
        sizes = {most if each.strip() == "all" else int(each.replace("_", "?")) for each in text.split(",")}
    except ValueError as error:
        raise OptionError(f"--sizes {text!r}: write numbers and all, such as 250,1000,all") from error
    fitting = sorted(size for size in sizes if 2 * batch <= size <= most)
    if not fitting:
        raise OptionError(
            f"--sizes {text!r}: there are {most:,} pairs, and a run needs two batches, {2 * batch}"
        )
    return fitting, sorted(sizes - set(fitting))


def accuracies(found: Comparison) -> dict[str, Any]:
    """Returns accuracy and lead of every kind by set and size, each with its interval."""
    curves, sets = found.curves, {}
    for name in curves.sets:
        sets[name] = {"bi untrained": curves.accuracy("bi", 0, name)} | {
            str(size): {
                **{kind: curves.accuracy(kind, size, name) for kind in curves.kinds},
                **{f"{kind} ahead": curves.ahead(kind, size, name) for kind in curves.kinds[1:]},
            }
            for size in curves.sizes
        }
    return sets


def _values(found: Comparison) -> dict[str, Any]:
    """Everything, in full precision."""
    runs = [
        {"mode": run.mode, "pairs": run.size, "seed": run.seed, "steps": run.steps, "seconds": run.seconds,
         "threshold": run.threshold, "rising": run.rising, "spearman": found.curves.spearman(run)}
        for run in found.curves.runs
    ]  # fmt: skip
    return {"accuracy": accuracies(found), "runs": runs, "conclusions": conclusions(found)}


def _costs(found: Comparison, texts: int) -> dict[str, dict[str, float]]:
    largest = found.curves.sizes[-1]
    training = {
        kind: sum(run.seconds for run in found.curves.of(kind, largest)) / len(found.curves.of(kind, largest))
        for kind in found.speeds
    }
    return {
        "texts (bi) or pairs (cross) per CPU second": dict(found.speeds),
        f"seconds to search {texts:,} texts": {
            kind: found.search_seconds(kind, texts) for kind in found.speeds
        },
        f"seconds of training on {largest:,} pairs": training,
    }


def _rows(found: Comparison, name: str) -> list[tuple[str, ...]]:
    curves, rest = found.curves, found.curves.kinds[1:]
    rows: list[tuple[str, ...]] = [
        ("untrained", _share(curves.accuracy("bi", 0, name)), *[""] * 2 * len(rest))
    ]
    for size in curves.sizes:
        more = [
            each
            for kind in rest
            for each in (
                _share(curves.accuracy(kind, size, name)),
                "{:+.3f} ({:+.3f} to {:+.3f})".format(*curves.ahead(kind, size, name)),
            )
        ]
        rows.append((f"{size:,}", _share(curves.accuracy("bi", size, name)), *more))
    return rows


def _share(found: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*found)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
