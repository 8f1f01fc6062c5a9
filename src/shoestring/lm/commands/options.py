"""What the commands that run a model have in common: how it is loaded, how tokens are drawn, how files are read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from shoestring import hub, ui
from shoestring._errors import OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.lm.engines.base import Engine
    from shoestring.lm.generation.sampling import Sampling


def model_options(function: Callable) -> Callable:
    """Adds what says how a model is loaded; the function gets `model`, `backend`, `precision`, `device`, `threads`."""
    for option in (
        click.option("--threads", default=0, help="Of the processor.  [default: every core]"),
        ui.device_option(numbered=True),
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16", "int8", "int4"]),
            default="auto",
            show_default=True,
            help="Of the weights.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "torch", "llama.cpp"]),
            default="auto",
            show_default=True,
            help="What computes.",
        ),
        click.argument("model"),
    ):
        function = option(function)
    return function


def sampling_options(function: Callable, max_tokens: int = 64) -> Callable:
    """Adds the settings of a generation; the function gets them under the names of `Sampling`."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of the draws."),
        click.option(
            "--min-ends", default=1, show_default=True, help="How many stop strings or end tokens it takes."
        ),
        click.option(
            "--stop", multiple=True, help="A string that ends the text, such as '\\n'; may be repeated."
        ),
        click.option("--repetition-penalty", default=1.0, show_default=True, help="Above 1: repeat less."),
        click.option(
            "--frequency-penalty",
            default=0.0,
            show_default=True,
            help="Off a token's logit for each time it came.",
        ),
        click.option(
            "--presence-penalty", default=0.0, show_default=True, help="Off the logit of a token that came."
        ),
        click.option(
            "--min-p", default=0.0, show_default=True, help="Only those so likely beside the most likely one."
        ),
        click.option(
            "--top-p", default=1.0, show_default=True, help="Only the most likely of this total probability."
        ),
        click.option("--top-k", default=0, show_default=True, help="Only the k most likely; 0 is all."),
        click.option("--temperature", default=1.0, show_default=True, help="0 takes the most likely token."),
        click.option("--min-tokens", default=0, show_default=True, help="No end before so many."),
        click.option("--max-tokens", default=max_tokens, show_default=True, help="At most so many."),
    ):
        function = option(function)
    return function


def loaded(ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int) -> Engine:
    """Loads a model and says so."""
    hub.located(model)  # a wrong path is told before anything heavy is loaded
    require("lm", "torch", "sentencepiece", "jieba", "transformers")
    import torch

    from shoestring.lm.engines.load import load

    if threads < 0:
        raise OptionError(f"--threads {threads}: must be 0 or more")
    if threads:
        torch.set_num_threads(threads)
    started = time.perf_counter()
    engine = load(
        model,
        backend=backend,
        precision=precision,
        device=None if device == "auto" else device,
        threads=threads,
    )
    ui.say(f"{engine.name}: {engine.kind}, loaded in {time.perf_counter() - started:.1f} s")
    return engine


def sampling_of(settings: dict[str, Any]) -> Sampling:
    """Returns what `sampling_options` were given."""
    from shoestring.lm.generation.sampling import Sampling

    settings["stop"] = tuple(_unescaped(stop) for stop in settings["stop"])
    return Sampling(**settings)


def _unescaped(stop: str) -> str:
    """A new line is hard to type: \\n and \\t mean what they do in Python."""
    return stop.replace("\\n", "\n").replace("\\t", "\t")
