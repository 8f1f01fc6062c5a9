"""`shoestring match predict`: score, probability and verdict of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from shoestring import files, ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.files.delimited import written
from shoestring.match.commands.options import CUT, device

MANY = 100  # pairs that tell whether they are like those which chose the threshold


@ui.command("predict")
@click.argument("model")
@click.argument("texts", nargs=-1)
@click.option("--pairs", "source", help="A table with two texts in each row; a label is not needed.")
@click.option("-o", "--output", help="Where to write .tsv; without it the result goes to the screen.")
@click.option("--first", help="Column of the first text.")
@click.option("--second", help="Column of the second text.")
@device
def predict(
    ui: ui.UI, model: str, texts: Sequence[str], source: str | None, output: str | None, first: str | None,
    second: str | None, device: str,
) -> None:  # fmt: skip
    """Scores pairs and says whether they match: MODEL TEXT TEXT, or MODEL --pairs FILE."""
    if (source is None) == (len(texts) != 2):
        raise OptionError("give two texts, or --pairs FILE")
    require("match", "sentence_transformers")
    from shoestring.match.data.pairs import read_texts
    from shoestring.match.matcher import Matcher

    pairs = [(texts[0], texts[1])] if source is None else read_texts(source, first, second)
    if not all(text.strip() for pair in pairs for text in pair):
        raise InputError("empty text: both texts of a pair must have something in them")
    matcher = Matcher(model, device)
    with ui.bar("scoring", len(pairs), "pair") as bar:
        found = matcher.predict(pairs, progress=bar.update)
    if cut := matcher.too_long([text for pair in pairs for text in pair]):
        ui.say(f"{cut:,} {CUT}")
    for line in matcher.decision.remarks(found.scores) if matcher.decision and len(pairs) >= MANY else ():
        ui.say(line)
    if matcher.decision is None:
        ui.say(
            f"{model}: has no threshold, so there are only scores; choose one: shoestring match train --epochs 0"
        )
    said = [each for each in (found.scores, found.probabilities, found.verdicts) if each is not None]
    header = ("text1", "text2", *("score", "probability", "match")[: len(said)])
    rows = [(*pair, *values) for pair, *values in zip(pairs, *(each.tolist() for each in said), strict=True)]
    if output:
        with files.atomic(output) as file:
            file.writelines(written(list(map(_cell, row))) for row in (header, *rows))
        ui.result({"output": output, "pairs": len(pairs)})
    elif ui.as_json:
        ui.result({"pairs": [dict(zip(header, row, strict=True)) for row in rows]})
    else:
        ui.table(header, [list(map(_cell, row)) for row in rows])


def _cell(value: str | float) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
