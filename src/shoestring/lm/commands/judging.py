"""`shoestring lm fewshot`, `choose` and `eval`: answers after examples, candidates, perplexity and accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.lm.commands.options import lines_of, loaded, model_options

if TYPE_CHECKING:
    from shoestring.lm.engine import Engine


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
    "--score", default="mean", show_default=True, help="likelihood, mean or channel; with --choose."
)
@click.option("--calibrate", is_flag=True, help="Do not favour answers that are likely everywhere.")
def fewshot(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, shots: str | None,
    template: str, tests: str | None, queries: tuple[str, ...], choosing: bool, score: str, calibrate: bool,
) -> None:  # fmt: skip
    """Answers queries after a few examples. SHOTS.tsv has input TAB output a line; without it the template's own."""
    from shoestring.lm.evaluate import accuracy, pairs, predictions
    from shoestring.lm.template import named

    task = named(template)
    examples = list(task.shots) if shots is None else pairs(lines_of(shots), shots)
    asked: list[tuple[str, str | None]] = [(query, None) for query in queries]
    if tests:
        asked += [(query, wanted or None) for query, wanted in pairs(lines_of(tests), tests, labelled=False)]
    if not asked:
        raise OptionError("nothing to answer; pass --query TEXT or --test FILE")
    engine = loaded(ui, model, backend, precision, device, threads)
    examples = task.fitted([query for query, _ in asked], examples, _fits(engine, task.max_tokens))
    candidates = sorted({answer for _, answer in examples}) if choosing else []
    from shoestring.lm.choosing import FewShot

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


@ui.command("choose")
@model_options
@click.argument("prompt")
@click.argument("candidates", nargs=-1, required=True)
@click.option("--score", default="mean", show_default=True, help="likelihood or mean.")
def choose(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, prompt: str,
    candidates: tuple[str, ...], score: str,
) -> None:  # fmt: skip
    """Tells which of some candidates follows a prompt, in one pass."""
    from shoestring.lm.choosing import choose

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
    from shoestring.lm.evaluate import accuracy, pairs, perplexity, predictions
    from shoestring.lm.template import named

    if bool(texts) == bool(labelled):
        raise OptionError("give either text files or --labelled FILE")
    engine = loaded(ui, model, backend, precision, device, threads)
    if labelled:
        from shoestring.lm.choosing import FewShot

        asked = pairs(lines_of(labelled), labelled)[: limit or None]
        task = FewShot(
            engine, named(template), None, sorted({answer for _, answer in asked}), score, calibrate
        )
        found = list(ui.track(predictions(task, asked), "choosing", len(asked), "query"))
        ui.result(accuracy(found), _accuracy_line(accuracy(found)))
        return
    documents = islice(files.documents(list(texts)), limit or None)
    cost = perplexity(engine, ui.track(documents, "reading", unit="doc"))
    values = {
        "perplexity per token": round(cost.per_token, 3), "perplexity per character": round(cost.per_character, 3),
        "tokens": cost.tokens, "characters": cost.characters, "documents": cost.documents,
    }  # fmt: skip
    ui.result(values)


def _fits(engine: Engine, answer: int) -> Callable[[str], bool]:
    return lambda text: len(engine.tokenizer.encode(text)) + answer <= engine.positions


def _say_accuracy(ui: ui.UI, values: dict[str, Any]) -> None:
    if "accuracy" in values:
        print(_accuracy_line(values))


def _accuracy_line(values: dict[str, Any]) -> str:
    return "accuracy {accuracy:.1%} on {labelled:,}; always the most frequent answer: {majority:.1%}".format(
        **values
    )
