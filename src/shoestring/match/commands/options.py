"""What several commands of `shoestring match` share: options, and labelled pairs read as these say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs

METRIC = "accuracy, f1, mcc, balanced, cost=FP,FN, recall@precision=P or precision@recall=R."
CUT = "texts are longer than the model reads, and cut"
device = ui.device_option(numbered=True)
above = click.option(
    "--above", type=float, help="Labels above this match.  [default: the middle of their range]"
)


def column_options(function: Callable) -> Callable:
    """Adds the options that say where texts and labels stand in a table."""
    for name, what in (("label", "the label"), ("second", "the second text"), ("first", "the first text")):
        function = click.option(f"--{name}", help=f"Column of {what}.  [default: the usual names or places]")(
            function
        )
    return click.option("--skip-bad", is_flag=True, help="Leave out rows without texts or label.")(function)


def labelled(ui: ui.UI, source: str, columns: tuple) -> Pairs:
    """Reads labelled pairs; tells what was left out, and whether a published file is whole."""
    require("match", "numpy")
    from shoestring.match.data.pairs import read_pairs

    first, second, label, skip_bad = columns
    pairs = read_pairs(source, first, second, label, skip_bad)
    for why, count in pairs.skipped.items():
        ui.say(f"{source}: {count:,} rows left out: {why}")
    if wrong := pairs.check():
        ui.say(f"not the published file? {wrong}")
    return pairs
