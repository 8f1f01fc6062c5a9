"""`shoestring match audit`: what labels can be guessed from without understanding a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring.match.commands.options import above, column_options, labelled


@ui.command("audit")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--seed", default=0, show_default=True, help="Of the pairs that are looked at (8,000 of a set)."
)
@above
@column_options
def audit(
    ui: ui.UI, sources: Sequence[str], seed: int, above: float | None, first: str | None, second: str | None,
    label: str | None, skip_bad: bool,
) -> None:  # fmt: skip
    """Shortcuts in labelled pairs: what a small model guesses from lengths, final marks, overlap, one text alone ...

    A model that is trained on pairs with a shortcut may learn that instead, and lose it on other pairs. With several
    sets, the model of each is asked about the others, too.
    """
    from shoestring.match.data.audit import audit as run

    sets = [labelled(ui, name, (first, second, label, skip_bad)) for name in sources]
    with ui.bar("guessing", None, "set"):
        found = run(sets, above, seed)
    if ui.as_json:
        ui.result({"sets": [_plain(each) for each in found]})
        return
    for each in found:
        others = [name for name in dict.fromkeys(other.name for other in found) if name != each.name]
        rows = [
            (
                one.kind,
                f"{one.accuracy:.1%}",
                f"{one.area:.3f}",
                *(f"{one.elsewhere[name]:.3f}" for name in others),
            )
            for one in each.shortcuts.values()
        ]
        title = f"{each.name}: {each.pairs:,} pairs, the more frequent label is {each.majority:.1%}"
        columns = ("guessed from", "right", "area", *(f"area on {Path(name).name}" for name in others))
        ui.table(columns, rows, title=title)
    for line in (line for each in found for line in each.warnings()):
        ui.say(line)


def _plain(found: Any) -> dict[str, Any]:
    shortcuts = {
        kind: {"accuracy": each.accuracy, "area": each.area, "area elsewhere": each.elsewhere}
        for kind, each in found.shortcuts.items()
    }
    return {"set": found.name, "pairs": found.pairs, "majority": found.majority, "guessed from": shortcuts}
