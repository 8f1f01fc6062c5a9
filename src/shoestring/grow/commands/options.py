"""The sizes that `shoestring grow` and its plan are asked for."""

from __future__ import annotations

from collections.abc import Callable

import click

SIZES = (
    ("hidden", "Width of the residual stream: 2x, 1.5x, 1152, +256. Heads and feed-forward follow it."),
    ("heads", "Query heads."),
    ("kv-heads", "Key-value heads."),
    ("head-dim", "Width of a head."),
    ("ffn", "Width of the feed-forward layer; any."),
    ("layers", "Blocks: +4 or 2x."),
    ("vocab", "Token ids."),
    ("experts", "Experts of a mixture: 2x."),
)


def sizes(command: Callable) -> Callable:
    """Adds the options that say how large, and how copies share what the original had."""
    options = [click.option(f"--{name}", metavar="SIZE", help=text) for name, text in SIZES]
    options += [
        click.option(
            "--repeat", metavar="A-B", help="Run blocks A to B twice, as SOLAR does; not exact, instead of --layers."
        ),
        click.option(
            "--freeze-old", is_flag=True, help="Write what to train if new blocks alone are to learn (LLaMA-Pro)."
        ),
        click.option(
            "--place", type=click.Choice(["spread", "top"]), default="spread", show_default=True,
            help="Where new blocks go.",
        ),
        click.option(
            "--split", type=click.Choice(["grid", "noise", "equal"]), default="grid", show_default=True,
            help="How copies share a weight: grid (unequal, exact in bf16), noise, or equal (they never diverge).",
        ),
        click.option("--noise", default=0.1, show_default=True, help="For --split noise, relative to the row."),
        click.option(
            "--dtype", type=click.Choice(["float64", "float32", "float16", "bfloat16"]),
            help="Of what is written.  [default: as it is]",
        ),
        click.option("--seed", default=0, show_default=True, help="Of everything random."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
