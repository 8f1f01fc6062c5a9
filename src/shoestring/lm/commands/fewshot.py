"""`shoestring lm fewshot`: answers after a few examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.lm.commands.options import loaded, model_options

if TYPE_CHECKING:
    from shoestring.lm.engines.base import Engine

from shoestring.lm.commands.eval import accuracy_line


@ui.command("fewshot")
@model_options
@click.argument("shots", required=False)
@click.option(
    "--template", default="translate", show_default=True, help="A built-in one, FILE.toml or FILE.toml:NAME."
)
@click.option(
    "--test", "tests", metavar="FILE", help="Queries, one a line, with TAB and the answer if it is known."
)
@click.option("--query", "queries", multiple=True, help="A query; may be repeated.")
@click.option("--choose", "choosing", is_flag=True, help="Choose among the answers of the shots.")
@click.option(
    "--score",
    type=click.Choice(["likelihood", "mean", "channel"]),
    default="mean",
    show_default=True,
    help="With --choose.",
)
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def fewshot(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, shots: str | None,
    template: str, tests: str | None, queries: tuple[str, ...], choosing: bool, score: str, calibrate: bool,
) -> None:  # fmt: skip
    """Answers queries after a few examples. SHOTS: a table of input and output; without it the template's own."""
    from shoestring.lm.fewshot.evaluate import accuracy, predictions
    from shoestring.lm.fewshot.shots import read_shots
    from shoestring.lm.fewshot.template import named

    task = named(template)
    examples = list(task.shots) if shots is None else read_shots(shots)
    asked: list[tuple[str, str | None]] = [(query, None) for query in queries]
    if tests:
        asked += [(query, wanted or None) for query, wanted in read_shots(tests, labelled=False)]
    if not asked:
        raise OptionError("nothing to answer; pass --query TEXT or --test FILE")
    engine = loaded(ui, model, backend, precision, device, threads)
    examples = task.fitted([query for query, _ in asked], examples, _fits(engine, task.max_tokens))
    candidates = sorted({answer for _, answer in examples}) if choosing else []
    if strange := {wanted for _, wanted in asked if choosing and wanted and wanted.strip() not in candidates}:
        ui.say(f"wanted, but none of the shots' answers, so never right: {', '.join(sorted(strange))[:80]}")
    from shoestring.lm.fewshot.choosing import FewShot

    few = FewShot(engine, task, examples, candidates, score, calibrate)
    found = list(ui.track(predictions(few, asked), "answering", len(asked), "query"))
    rows = [(each.query, each.answer, each.wanted or "") for each in found]
    if ui.as_json:
        ui.result({
            "shots": len(examples), **accuracy(found),
            "predictions": [dict(zip(("query", "answer", "wanted"), row, strict=True)) for row in rows],
        })  # fmt: skip
        return
    ui.table(("query", "answer", "wanted"), rows)
    _say_accuracy(ui, accuracy(found))


def _fits(engine: Engine, answer: int) -> Callable[[str], bool]:
    return lambda text: len(engine.texts.encode(text)) + answer <= engine.positions


def _say_accuracy(ui: ui.UI, values: dict[str, Any]) -> None:
    if "accuracy" in values:
        print(accuracy_line(values))
