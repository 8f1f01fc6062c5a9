"""`shoestring lm chat`: a conversation in the terminal, each answer as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.lm.commands.options import loaded, model_options, sampling_of, sampling_options

if TYPE_CHECKING:
    from shoestring.lm.serve.talking import Talk

_HELP = "/new starts over, /exit or Ctrl-D leaves, Ctrl-C stops an answer"


@ui.command("chat")
@model_options
@click.option("--system", default="", help="Instructions that the model reads before everything.")
@partial(sampling_options, max_tokens=512)
def chat(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, system: str, **settings: Any
) -> None:  # fmt: skip
    """Talks with a model; it remembers what was said. Lines of a file or a pipe are said one by one."""
    require("lm", "pydantic", "llguidance")
    from shoestring.lm.serve.talking import Talk

    sampling = sampling_of(settings)
    talk = Talk(loaded(ui, model, backend, precision, device, threads), sampling, system)
    if sys.stdin.isatty():
        ui.say(_HELP)
    for line in _lines():
        if line.strip() in ("/exit", "/quit"):
            break
        if line.strip() == "/new":
            talk.anew()
        elif line.strip():
            _turn(ui, talk, line.strip())
    if ui.as_json:
        ui.result({"messages": [each.model_dump(include={"role", "content"}) for each in talk.messages]})


def _turn(ui: ui.UI, talk: Talk, line: str) -> None:
    forgotten, answer = talk.forgotten, talk.say(line)
    try:
        for piece in answer:
            if not ui.as_json:
                print(piece, end="", flush=True)
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        ui.say("\nstopped; Ctrl-D leaves")
    except (InputError, OptionError) as error:
        if not sys.stdin.isatty():
            raise
        ui.say(f"{type(error).__name__}: {error}")
    finally:
        answer.close()
    if not ui.as_json:
        print(flush=True)
    if talk.forgotten > forgotten:
        ui.say(f"the oldest {talk.forgotten - forgotten} turns no longer fit and were forgotten")


def _lines() -> Iterator[str]:
    """Yields what is typed, with the arrow keys that people expect, or the lines of a file."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() a memory
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
