"""`shoestring match leaks`: pairs that sets have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, ui
from shoestring.match.commands.options import column_options, labelled

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs


@ui.command("leaks")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--near", default=0.8, show_default=True, help="Similarity of near duplicates; 0 looks for exact ones."
)
@click.option("--examples", default=3, show_default=True, help="How many of each kind to show.")
@click.option("-o", "--output", help="Where to write all of them, .jsonl.")
@column_options
def leaks(
    ui: ui.UI, sources: Sequence[str], near: float, examples: int, output: str | None, first: str | None,
    second: str | None, label: str | None, skip_bad: bool,
) -> None:  # fmt: skip
    """Finds pairs that two splits or sets have in common, in either order, exactly or nearly; and doubles in each."""
    from shoestring.match.data.leaks import find_leaks

    sets = {name: labelled(ui, name, (first, second, label, skip_bad)) for name in sources}
    with ui.bar("comparing", None, "set"):
        found = find_leaks(list(sets.values()), near or None)
    rows, shown = [], []
    for each in found:
        one, two = sets[each.first], sets[each.second]
        contradictions = sum(leak.contradicts for leak in (*each.exact, *each.near))
        rows.append((each.first, each.second, len(one), len(each.exact), len(each.near), contradictions))
        shown += [_leak(one, two, leak) for leak in (*each.exact[:examples], *each.near[:examples])]
    header = ("pairs of", "in", "of", "exact", "near", "contradicting")
    if output:
        with files.atomic(output) as file:
            for each in found:
                for leak in (*each.exact, *each.near):
                    line = {**_leak(sets[each.first], sets[each.second], leak), **asdict(leak)}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if ui.as_json:
        ui.result({"sets": [dict(zip(header, row, strict=True)) for row in rows], "examples": shown})
    else:
        ui.table(header, rows)
        for each in shown:
            ui.say(
                f"{each['similarity']:.2f}  {' | '.join(each['pair'])}  =  {' | '.join(each['other pair'])}"
            )


def _leak(one: Pairs, two: Pairs, leak: Any) -> dict[str, Any]:
    return {
        "pair": [one.first[leak.row], one.second[leak.row]],
        "other pair": [two.first[leak.other], two.second[leak.other]],
        "in": [one.name, two.name],
        "similarity": leak.similarity,
    }
