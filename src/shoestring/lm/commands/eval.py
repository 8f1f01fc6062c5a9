"""`shoestring lm eval`: perplexity of texts, or accuracy on a labelled file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.lm.commands.options import lines_of, loaded, model_options

if TYPE_CHECKING:
    pass


@ui.command("eval")
@model_options
@click.argument("texts", nargs=-1)
@click.option("--labelled", metavar="FILE", help="input TAB answer a line: accuracy of the template on it.")
@click.option("--template", default="sentiment", show_default=True, help="For --labelled.")
@click.option(
    "--score", default="mean", show_default=True, help="For --labelled: likelihood, mean or channel."
)
@click.option("--limit", default=0, help="Only the first so many documents or lines; 0 is all.")
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def evaluate(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, texts: tuple[str, ...],
    labelled: str | None, template: str, score: str, calibrate: bool, limit: int,
) -> None:  # fmt: skip
    """Perplexity of text files, a document a line; or accuracy on a labelled file by choosing among its answers."""
    from itertools import islice

    from shoestring import files
    from shoestring.lm.fewshot.evaluate import accuracy, pairs, perplexity, predictions
    from shoestring.lm.fewshot.template import named

    if bool(texts) == bool(labelled):
        raise OptionError("give either text files or --labelled FILE")
    engine = loaded(ui, model, backend, precision, device, threads)
    if labelled:
        from shoestring.lm.fewshot.choosing import FewShot

        asked = pairs(lines_of(labelled), labelled)[: limit or None]
        task = FewShot(
            engine, named(template), None, sorted({answer for _, answer in asked}), score, calibrate
        )
        found = list(ui.track(predictions(task, asked), "choosing", len(asked), "query"))
        ui.result(accuracy(found), accuracy_line(accuracy(found)))
        return
    documents = islice(files.documents(list(texts)), limit or None)
    cost = perplexity(engine, ui.track(documents, "reading", unit="doc"))
    values = {
        "perplexity per token": round(cost.per_token, 3), "perplexity per character": round(cost.per_character, 3),
        "tokens": cost.tokens, "characters": cost.characters, "documents": cost.documents,
    }  # fmt: skip
    ui.result(values)


def accuracy_line(values: dict[str, Any]) -> str:
    """Says an accuracy beside that of the most frequent answer."""
    return "accuracy {accuracy:.1%} on {labelled:,}; always the most frequent answer: {majority:.1%}".format(
        **values
    )
