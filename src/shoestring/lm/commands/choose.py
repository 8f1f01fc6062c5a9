"""`shoestring lm choose`: which of some candidates follows a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring.lm.commands.options import loaded, model_options

if TYPE_CHECKING:
    pass


@ui.command("choose")
@model_options
@click.argument("prompt")
@click.argument("candidates", nargs=-1, required=True)
@click.option(
    "--score",
    type=click.Choice(["likelihood", "mean"]),
    default="mean",
    show_default=True,
    help="By the sum or the mean of a candidate's tokens.",
)
def choose(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, prompt: str,
    candidates: tuple[str, ...], score: str,
) -> None:  # fmt: skip
    """Tells which of some candidates follows a prompt, in one pass."""
    from shoestring.lm.fewshot.choosing import choose

    engine = loaded(ui, model, backend, precision, device, threads)
    choice = choose(engine, prompt, candidates, score=score)
    rows = sorted(
        zip(choice.candidates, choice.scores, choice.logprobs, choice.tokens, choice.shares, strict=True),
        key=lambda row: -row[1],
    )
    names = ("candidate", "score", "logprob", "tokens", "share")
    if ui.as_json:
        ui.result({"best": choice.best, "candidates": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        ui.table(names, [(c, f"{s:.3f}", f"{p:.3f}", n, f"{share:.1%}") for c, s, p, n, share in rows])
