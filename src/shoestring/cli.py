"""The `shoestring` command: a table of verbs, each a click command that is loaded only when it is typed.

`shoestring --help` reads the table and imports nothing, click neither: it starts as fast as Python does.
"""

from __future__ import annotations

import os
import sys

from shoestring import __version__
from shoestring._report import escape_what_cannot_be_shown, interrupt, leave, reported

COMPLETE = "_SHOESTRING_COMPLETE"  # what click's completion scripts set

# verb: (module:click command, one line for --help)
VERBS = {
    "relay": (
        "shoestring.relay.commands.main:relay",
        "802.1X login through a router that keeps the session alive",
    ),
    "count": ("shoestring.count.commands.group:verb", "exact word frequencies of a huge corpus"),
    "tour": ("shoestring.tour.commands.tour:tour", "the whole story on real text, offline, in minutes"),
    "examples": (
        "shoestring.tour.commands.examples:examples",
        "small real inputs and models in a folder, to try the recipes on",
    ),
    "tokenizer": ("shoestring.transformer.commands.tokenizer:tokenizer", "train a tokenizer on your text"),
    "pretrain": (
        "shoestring.transformer.commands.pretrain:pretrain",
        "pre-train an encoder or a decoder on your text",
    ),
    "grow": (
        "shoestring.grow.commands.group:verb",
        "enlarge a trained Transformer without changing what it computes",
    ),
    "convert": (
        "shoestring.transformer.commands.convert:convert",
        "a BERT, RoBERTa, RoFormer, NEZHA, GPT-2 or Llama as one of our family",
    ),
    "rank": (
        "shoestring.transformer.commands.rank:rank",
        "effective rank of a model's attention, with a figure",
    ),
    "lm": (
        "shoestring.lm.commands.group:verb",
        "CPM and other language models: convert, generate, few-shot, serve",
    ),
    "match": (
        "shoestring.match.commands.group:verb",
        "are two texts the same? with a threshold you can trust",
    ),
    "nvae": ("shoestring.nvae.commands.group:verb", "sharp images from a deep hierarchical VAE"),
    "completion": ("shoestring.completion:completion", "completion of commands and options for your shell"),
    "env": ("shoestring.env:env", "versions, devices, cores and memory, for a bug report"),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs `shoestring VERB ...` and exits: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    typed = sys.argv[1:] if arguments is None else arguments
    if arguments is None and typed and typed[0] in VERBS:
        _interruptible()
    try:
        _run(typed)
    finally:
        if (
            arguments is None and "enum" in sys.modules
        ):  # all that signal takes; `shoestring --help` has not loaded it
            import signal  # a program that ends: Ctrl-C while libraries are unloaded changes no exit code

            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(arguments: list[str]) -> None:
    verb, *rest = arguments or [""]
    escape_what_cannot_be_shown()
    with reported("--debug" in rest):
        if COMPLETE in os.environ:
            module("shoestring.completion").complete(os.environ[COMPLETE])
        elif verb in ("-h", "--help"):
            print(overview())
        elif verb == "--version":
            print(f"shoestring {__version__}")
        elif verb in VERBS:
            command(verb).main(rest, prog_name=f"shoestring {verb}")
        elif verb:
            leave(f"shoestring: no command {verb!r}; {_hint(verb)}", 2)
        else:
            leave(overview(), 2)
        sys.stdout.flush()


def _interruptible() -> None:
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, nobody else's
        signal.signal(signal.SIGINT, interrupt)


def overview() -> str:
    """Returns the text of `shoestring --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {line}" for verb, (_, line) in VERBS.items())
    return (
        "Usage: shoestring COMMAND [OPTIONS] [ARGS]...\n\n"
        "  Big-model work on the hardware you have.\n\n"
        f"Commands:\n{verbs}\n\n"
        "Every command has --help, --json, -q/--quiet and --debug; `shoestring --version` prints the version.\n"
        'Your shell completes commands and options after: eval "$(shoestring completion bash)"  (or zsh, fish)'
    )


def command(verb: str):
    """Returns the command of a verb."""
    import gc

    home, name = VERBS[verb][0].split(":")
    gc.disable()  # imports make no garbage, and looking for it takes a tenth of their time
    try:
        return getattr(module(home), name)
    finally:
        gc.enable()


def module(name: str):
    """Imports a module only now."""
    from importlib import import_module

    return import_module(name)


def _hint(verb: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    return f"did you mean {near[0]!r}?" if near else "type: shoestring --help"
