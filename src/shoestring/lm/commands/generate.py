"""`shoestring lm generate`: text as it comes, several samples, beams, or JSON with log-probabilities."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.lm.commands.options import loaded, model_options, sampling_of, sampling_options

if TYPE_CHECKING:
    from shoestring.lm.engines.base import Engine
    from shoestring.lm.generation.sampling import Sampling


@ui.command("generate")
@model_options
@click.argument("prompts", nargs=-1, required=True)
@sampling_options
@click.option("--samples", default=1, show_default=True, help="Of each prompt.")
@click.option("--beams", type=click.IntRange(1), help="Search with so many beams instead of drawing.")
@click.option(
    "--length-penalty", default=0.0, show_default=True, help="Of beams; above 0 favours longer texts."
)
@click.option("--logprobs", type=int, help="Report the so many most likely tokens (with --json).")
@click.option(
    "--truncate", type=click.Choice(["left", "right"]), help="Cut a prompt that is too long on this side."
)
def generate(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, prompts: tuple[str, ...],
    samples: int, beams: int | None, length_penalty: float, logprobs: int | None, truncate: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Continues prompts; the text comes while it is made. - reads one prompt from stdin."""
    sampling = sampling_of({**settings, "logprobs": logprobs})
    for name, given, other in (
        ("samples", beams and samples != 1, "with --beams"),
        ("length-penalty", not beams and length_penalty, "without --beams"),
        ("logprobs", logprobs is not None and not ui.as_json, "without --json"),
    ):
        if given:
            raise OptionError(f"--{name}: not {other}; leave it out")
    texts = [sys.stdin.read().removesuffix("\n") if text == "-" else text for text in prompts]
    engine = loaded(ui, model, backend, precision, device, threads)
    if beams:
        from shoestring.lm.generation.beam import beam_search

        found = beam_search(
            engine, texts, sampling, beams=beams, length_penalty=length_penalty, truncate=truncate
        )
    else:
        found = _streamed(ui, engine, texts, sampling, samples, truncate)
    if ui.as_json:
        ui.result({"prompts": [_as_json(engine, text, row) for text, row in zip(texts, found, strict=True)]})
    elif beams or len(texts) * samples > 1:
        for text, row in zip(texts, found, strict=True):
            for sample in row:
                print(f"{text}{sample.text}\n")


def _streamed(
    ui: ui.UI, engine: Engine, texts: list[str], sampling: Sampling, samples: int, truncate: str | None
) -> list[list[Any]]:
    from shoestring.lm.generation.generation import collected, stream

    alone = len(texts) == samples == 1 and not ui.as_json
    with _prefill(ui) as progress:
        pieces = []
        for piece in stream(engine, texts, sampling, samples=samples, truncate=truncate, progress=progress):
            if alone:
                if not pieces:
                    progress(0)
                print(("" if pieces else texts[0]) + piece.text, end="", flush=True)
            pieces.append(piece)
    if alone:
        print()
    return collected(pieces, len(texts), samples)


@contextmanager
def _prefill(ui: ui.UI) -> Iterator[Callable[[int], Any]]:
    """A bar for the tokens of the prompt, which goes when the first token comes."""
    with ui.bar("reading the prompt", None, "token") as bar:

        def progress(tokens: int) -> None:
            if tokens:
                bar.update(tokens)
            else:
                bar.close()

        yield progress


def _as_json(engine: Engine, prompt: str, samples: list[Any]) -> dict[str, Any]:
    def token(each: Any) -> dict[str, Any]:
        values = {"id": each.id, "text": engine.texts.names([each.id])[0], "logprob": each.logprob}
        names = engine.texts.names([id for id, _ in each.top])
        top = {name: value for name, (_, value) in zip(names, each.top, strict=True)}
        return values | ({"top": top} if top else {})

    return {
        "prompt": prompt,
        "samples": [
            {"text": each.text, "finish": each.finish, "logprob": each.logprob,
             "tokens": [token(one) for one in each.tokens]}
            for each in samples
        ],
    }  # fmt: skip
