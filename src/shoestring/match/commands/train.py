"""`shoestring match train`: a bi-encoder or a cross-encoder with its threshold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring.match.commands.eval import decided, measured
from shoestring.match.commands.options import CUT, METRIC, above, column_options, labelled
from shoestring.match.commands.threshold import OPTIMISTIC

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs

    pass


LOSSES = (
    "cosent", "angle", "contrastive", "softmax", "MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss",
)  # fmt: skip


def training_options(function: Callable) -> Callable:
    """Adds the options of a training run."""
    options = (
        click.option(
            "--base", required=True, help="Hugging Face or sentence-transformers folder, or hf:OWNER/NAME."
        ),
        click.option("--data", required=True, help="Pairs to train on."),
        click.option("--dev", help="Pairs that choose step and threshold.  [default: a tenth of --data]"),
        click.option("--test", help="Pairs to report on; a leak from --data is reported."),
        click.option(
            "--loss",
            default="cosent",
            show_default=True,
            help="A cross-encoder takes cosent or softmax; ranking losses learn from the pairs that match.",
            type=click.Choice(LOSSES),
        ),
        click.option(
            "--pooling",
            default="mean",
            show_default=True,
            help="Of a bi-encoder.",
            type=click.Choice(("mean", "cls", "first-last-avg", "own")),
        ),
        click.option("--prompt", help="Bi-encoder: put before each text, such as 'query: ' for E5 models."),
        click.option(
            "--epochs", default=3.0, show_default=True, help="Passes; 0 only chooses the threshold."
        ),
        click.option("--batch-size", default=64, show_default=True, help="Pairs in a step."),
        click.option(
            "--chunk", type=int, help="Pairs in memory at a time, however large the batch (CoSENT)."
        ),
        click.option("--learning-rate", type=float, help="Its peak.  [default: 2e-5, with --freeze 2e-4]"),
        click.option(
            "--head-learning-rate", type=float, help="Of a fresh head.  [default: 5 times the other]"
        ),
        click.option("--max-length", default=64, show_default=True, help="Tokens of a text."),
        click.option("--freeze", default=0, show_default=True, help="Lower layers that are not trained."),
        click.option(
            "--lora",
            default=0,
            show_default=True,
            type=click.IntRange(0),
            help="Rank of additions trained instead of the weights.",
        ),
        above,
        click.option(
            "--calibration",
            default="auto",
            show_default=True,
            type=click.Choice(("auto", "platt", "isotonic")),
            help="auto is platt below 1,000 pairs.",
        ),
        click.option(
            "--one-way", is_flag=True, help="Cross: one order of the texts only, at half the price."
        ),
        click.option("--seed", default=0, show_default=True, help="Of heads, order and dropout."),
        ui.device_option(),
        click.option(
            "--precision",
            default="auto",
            show_default=True,
            help="Of the products while it learns; auto is bf16 where the processor multiplies it.",
            type=click.Choice(("fp32", "bf16", "auto")),
        ),
        click.option("--overwrite", is_flag=True, help="Replace what is there."),
    )
    for option in reversed(options):
        function = option(function)
    return column_options(function)


@ui.command("train")
@training_options
@click.option(
    "--mode",
    default="bi",
    show_default=True,
    type=click.Choice(("bi", "cross")),
    help="Two embeddings, or one sequence.",
)
@click.option(
    "--hard-negatives",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Mined for each match; with a ranking loss.",
)
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
    from shoestring.match.training.settings import Training
    from shoestring.match.training.train import train as run

    settings = Training(**options)
    pairs, chosen, held = three_sets(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
    done = run(base, pairs, chosen, output, settings, overwrite=overwrite, ui=ui)
    if done.cut:
        ui.say(f"{done.cut:,} {CUT}; see --max-length")
    result = {
        "output": str(output),
        "steps": done.steps,
        "seconds": done.seconds,
        **decided(done.decision),
    }
    if held is not None:
        from shoestring.match.matcher import Matcher

        result |= measured(Matcher(output, settings.device), held, ui)
    else:
        ui.say(OPTIMISTIC)
    ui.result(result)


def three_sets(
    ui: ui.UI, data: str, dev: str | None, test: str | None, seed: int, columns: tuple
) -> tuple[Pairs, Pairs, Pairs | None]:
    """Reads the pairs to train on, those that choose and those to report on; tells of leaks among them."""
    from shoestring.match.data.audit import surface_warnings
    from shoestring.match.data.leaks import exact_leaks

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
    for line in surface_warnings(pairs):
        ui.say(line)
    return pairs, chosen, held
