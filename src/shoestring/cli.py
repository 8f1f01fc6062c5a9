"""The `shoestring` command: a table of verbs, each a click command that is loaded only when it is typed.

`shoestring --help` reads the table and imports nothing, click neither: it starts as fast as Python does.
"""

from __future__ import annotations

import sys

from shoestring import __version__

# verb: (module:click command, one line for --help)
VERBS = {
    "relay": (
        "shoestring.relay.commands.main:relay",
        "802.1X login through a router that keeps the session alive",
    ),
    "count": ("shoestring.count.commands.group:verb", "exact word frequencies of a huge corpus"),
    "tour": ("shoestring.tour.commands.tour:tour", "the whole story on real text, offline, in minutes"),
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
    "env": ("shoestring.env:env", "versions, devices, cores and memory, for a bug report"),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs `shoestring VERB ...` and exits: 0 done, 1 our error, 2 wrong usage, 130 interrupted."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        print(overview())
    elif verb == "--version":
        print(f"shoestring {__version__}")
    elif verb in VERBS:
        _command(verb).main(rest, prog_name=f"shoestring {verb}")
    else:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "type: shoestring --help"
        print(f"shoestring: no command {verb!r}; {hint}", file=sys.stderr)
        sys.exit(2)


def overview() -> str:
    """Returns the text of `shoestring --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {line}" for verb, (_, line) in VERBS.items())
    return (
        "Usage: shoestring COMMAND [OPTIONS] [ARGS]...\n\n"
        "  Big-model work on the hardware you have.\n\n"
        f"Commands:\n{verbs}\n\n"
        "Every command has --help, --json, -q/--quiet and --debug; `shoestring --version` prints the version."
    )


def _command(verb: str):
    from importlib import import_module

    module, name = VERBS[verb][0].split(":")
    return getattr(import_module(module), name)
