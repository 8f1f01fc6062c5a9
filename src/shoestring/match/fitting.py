"""`shoestring match train` and `compare`: one kind of model, or both on the same pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.match.judging import decided, measured
from shoestring.match.options import METRIC, above, column_options, device, labelled
from shoestring.match.scores import OPTIMISTIC

if TYPE_CHECKING:
    from shoestring.match.compare import Comparison
    from shoestring.match.pairs import Pairs


def training_options(function: Callable) -> Callable:
    """Adds the options of a training run."""
    options = (
        click.option(
            "--base", required=True, help="Hugging Face or sentence-transformers folder, or hub name."
        ),
        click.option("--data", required=True, help="Pairs to train on."),
        click.option("--dev", help="Pairs that choose step and threshold.  [default: a tenth of --data]"),
        click.option("--test", help="Pairs to report on; a leak from --data is reported."),
        click.option(
            "--loss", default="cosent", show_default=True, help="cosent, angle, contrastive or softmax."
        ),
        click.option(
            "--pooling", default="mean", show_default=True, help="mean, cls, first-last-avg or own."
        ),
        click.option("--prompt", help="Put before each text, such as 'query: ' for E5 models."),
        click.option(
            "--epochs", default=3.0, show_default=True, help="Passes; 0 only chooses the threshold."
        ),
        click.option("--batch-size", default=64, show_default=True, help="Pairs in a step."),
        click.option(
            "--chunk", type=int, help="Pairs in memory at a time, however large the batch (CoSENT)."
        ),
        click.option("--learning-rate", default=2e-5, show_default=True, help="Its peak."),
        click.option("--max-length", default=64, show_default=True, help="Tokens of a text."),
        click.option("--freeze", default=0, show_default=True, help="Lower layers that are not trained."),
        above,
        click.option("--calibration", default="auto", show_default=True, help="auto, platt or isotonic."),
        click.option("--seed", default=0, show_default=True, help="Of heads, order and dropout."),
        device,
        click.option("--overwrite", is_flag=True, help="Replace what is there."),
    )
    for option in reversed(options):
        function = option(function)
    return column_options(function)


@ui.command("train")
@training_options
@click.option("--mode", default="bi", show_default=True, help="bi (two embeddings) or cross (one sequence).")
@click.option("--metric", default="accuracy", show_default=True, help=METRIC)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
def train(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, overwrite: bool,
    first: str | None, second: str | None, label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Fine-tunes a bi-encoder or a cross-encoder and stores its threshold in the model's folder.

    Data: .tsv, .csv, .jsonl, .parquet with two texts and a label, ATEC, BQ, LCQMC, PAWS-X and STS-B files as
    published, a folder of the library datasets, or hf:NAME:SPLIT. Interrupted, the same command goes on.
    """
    from shoestring.match.training import Training
    from shoestring.match.training import train as run

    settings = Training(**options)
    pairs, chosen, held = _three(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
    done = run(base, pairs, chosen, output, settings, overwrite=overwrite, ui=ui)
    if done.cut:
        ui.say(
            f"{done.cut:,} texts have more than {settings.max_length} tokens and are cut; see --max-length"
        )
    result = {
        "output": str(output),
        "steps": done.steps,
        "seconds": round(done.seconds, 1),
        **decided(done.decision),
    }
    if held is not None:
        from shoestring.match.matcher import Matcher

        result |= measured(Matcher(output, settings.device), held, ui)
    else:
        ui.say(OPTIMISTIC)
    ui.result(result)


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
    from shoestring.match.training import Training

    settings = Training(**options)
    pairs, chosen, held = _three(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
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


def _three(
    ui: ui.UI, data: str, dev: str | None, test: str | None, seed: int, columns: tuple
) -> tuple[Pairs, Pairs, Pairs | None]:
    """Reads the pairs to train on, those that choose and those to report on; tells of leaks among them."""
    from shoestring.match.leaks import exact_leaks

    pairs = labelled(ui, data, columns)
    if dev is None:
        pairs, chosen = pairs.split(0.1, seed)
        ui.say(
            f"no --dev: {len(chosen):,} of the pairs, which share no text with the others, choose the threshold"
        )
    else:
        chosen = labelled(ui, dev, columns)
    held = labelled(ui, test, columns) if test else None
    for name, part in (("--dev", chosen), ("--test", held)):
        for other, whole in (("--data", pairs), ("--dev", chosen)):
            if part is not None and part is not whole and (found := exact_leaks(part, whole)):
                ui.say(
                    f"LEAK: {len(found):,} of {len(part):,} pairs of {name} are in {other}; see shoestring match leaks"
                )
    return pairs, chosen, held
