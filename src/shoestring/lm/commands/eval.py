"""`shoestring lm eval`: perplexity of texts, or accuracy on a labelled file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.lm.commands.options import loaded, model_options

if TYPE_CHECKING:
    from shoestring.lm.engines.base import Engine


@ui.command("eval")
@model_options
@click.argument("texts", nargs=-1)
@click.option("--labelled", metavar="FILE", help="input TAB answer a line: accuracy of the template on it.")
@click.option("--template", default="sentiment", show_default=True, help="For --labelled.")
@click.option(
    "--score",
    type=click.Choice(["likelihood", "mean", "channel"]),
    default="mean",
    show_default=True,
    help="For --labelled.",
)
@click.option("--limit", default=0, help="Only the first so many documents or lines; 0 is all.")
@click.option(
    "--against",
    type=click.Choice(["fp32", "bf16", "int8", "int4"]),
    help="What the precision costs: the same texts in this one too, by torch.",
)
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def evaluate(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, texts: tuple[str, ...],
    labelled: str | None, template: str, score: str, calibrate: bool, limit: int, against: str | None,
) -> None:  # fmt: skip
    """Perplexity of text files, a document a line; or accuracy on a labelled file by choosing among its answers."""
    from itertools import islice

    from shoestring import files
    from shoestring.lm.fewshot.evaluate import accuracy, predictions
    from shoestring.lm.fewshot.shots import read_shots
    from shoestring.lm.fewshot.template import named

    if bool(texts) == bool(labelled):
        raise OptionError("give either text files or --labelled FILE")
    if against and labelled:
        raise OptionError("--against compares perplexities; give text files instead of --labelled FILE")
    engine = loaded(ui, model, backend, precision, device, threads)
    if labelled:
        from shoestring.lm.fewshot.choosing import FewShot

        asked = read_shots(labelled)[: limit or None]
        task = FewShot(
            engine, named(template), None, sorted({answer for _, answer in asked}), score, calibrate
        )
        found = list(ui.track(predictions(task, asked), "choosing", len(asked), "query"))
        ui.result(accuracy(found), accuracy_line(accuracy(found)))
        return
    documents = list(islice(files.documents(list(texts)), limit or None))
    values = _cost(ui, engine, documents)
    if against:
        exact = loaded(ui, model, "torch", against, device, threads)
        wanted = _cost(ui, exact, documents)["perplexity per token"]
        values[f"perplexity per token in {against}"] = wanted
        values[f"worse than {against}"] = values["perplexity per token"] / wanted - 1
    ui.result(values, "\n".join(f"{name}: {_shown(name, value)}" for name, value in values.items()))


def _cost(ui: ui.UI, engine: Engine, documents: list[str]) -> dict[str, float]:
    from shoestring.lm.fewshot.evaluate import perplexity

    cost = perplexity(engine, ui.track(documents, "reading", unit="doc"))
    return {
        "perplexity per token": cost.per_token, "perplexity per character": cost.per_character,
        "tokens": cost.tokens, "characters": cost.characters, "documents": cost.documents,
    }  # fmt: skip


def _shown(name: str, value: float) -> str:
    if name.startswith("worse"):
        return f"{value:+.2%}"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def accuracy_line(values: dict[str, Any]) -> str:
    """Says an accuracy beside that of the most frequent answer."""
    return "accuracy {accuracy:.1%} on {labelled:,}; always the most frequent answer: {majority:.1%}".format(
        **values
    )
