"""`shoestring match predict`, `eval` and `leaks`: what models and sets of pairs are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.match.options import METRIC, above, column_options, device, labelled
from shoestring.match.scores import summary

if TYPE_CHECKING:
    from shoestring.match.decision import Decision
    from shoestring.match.matcher import Matcher
    from shoestring.match.pairs import Pairs


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
    from shoestring.match.matcher import Matcher
    from shoestring.match.pairs import read_texts

    pairs = [(texts[0], texts[1])] if source is None else read_texts(source, first, second)
    if not all(text.strip() for pair in pairs for text in pair):
        raise InputError("empty text: both texts of a pair must have something in them")
    matcher = Matcher(model, device)
    with ui.bar("scoring", len(pairs), "pair") as bar:
        found = matcher.predict(pairs, progress=bar.update)
    if matcher.decision is None:
        ui.say(
            f"{model}: has no threshold, so there are only scores; choose one: shoestring match train --epochs 0"
        )
    said = [each for each in (found.scores, found.probabilities, found.verdicts) if each is not None]
    header = ("text1", "text2", *("score", "probability", "match")[: len(said)])
    rows = [(*pair, *values) for pair, *values in zip(pairs, *(each.tolist() for each in said), strict=True)]
    if output:
        with files.atomic(output) as file:
            file.writelines("\t".join(map(_cell, row)) + "\n" for row in (header, *rows))
        ui.result({"output": output, "pairs": len(pairs)})
    elif ui.as_json:
        ui.result({"pairs": [dict(zip(header, row, strict=True)) for row in rows]})
    else:
        ui.table(header, [list(map(_cell, row)) for row in rows])


def _cell(value: str | float) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


@ui.command("eval")
@click.argument("model")
@click.argument("data")
@click.option("--figure", type=click.Path(path_type=Path), help="PNG of the scores of both kinds of pairs.")
@click.option("--metric", default="accuracy", show_default=True, help=METRIC)
@above
@column_options
@device
def evaluate(
    ui: ui.UI, model: str, data: str, figure: Path | None, metric: str, above: float | None, device: str,
    first: str | None, second: str | None, label: str | None, skip_bad: bool,
) -> None:  # fmt: skip
    """Measures any sentence-transformers bi-encoder or cross-encoder on labelled pairs.

    A model with a threshold is measured at it. Without one, the best threshold of these very pairs is shown, with
    its interval, and what it would lose on others.
    """
    require("match", "sentence_transformers")
    from shoestring.match.matcher import Matcher

    pairs = labelled(ui, data, (first, second, label, skip_bad))
    ui.result(measured(Matcher(model, device), pairs, ui, metric, above, figure))


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
    from shoestring.match.leaks import find_leaks

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


def measured(
    matcher: Matcher, pairs: Pairs, ui: ui.UI, metric: str = "accuracy", above: float | None = None,
    figure: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns what a model is worth on pairs, as rows for people or JSON; draws its scores."""
    from shoestring import plot
    from shoestring.match.decision import decide
    from shoestring.match.threshold import Curve
    from shoestring.match.training import spearman

    own = matcher.decision
    with ui.bar("scoring", len(pairs), "pair") as bar:
        scores = matcher.scores(list(pairs), progress=bar.update)
    cut_at = above if above is not None else own.above if own else pairs.middle
    truth = pairs.binary(cut_at)
    result: dict[str, Any] = {"pairs": len(pairs), "test spearman": round(spearman(scores, pairs.labels), 4)}
    if own is None:
        own = decide(scores, pairs, matcher.mode, metric, cut_at)
        result |= decided(own)
        ui.say("these pairs chose the threshold: its metric on others is below")
    else:
        curve = Curve.of(scores, truth)
        result |= {"threshold": round(own.threshold, 6)}
        result |= {
            f"test {name}": round(curve.at(own.threshold, name).value, 4)
            for name in dict.fromkeys((own.metric, "accuracy", "f1"))
        }
    if cut := matcher.too_long([text for pair in pairs for text in pair]):
        ui.say(f"{cut:,} texts are longer than the model reads and are cut")
    if figure:
        plot.score_distributions(
            {str(matcher.folder.name): (scores.tolist(), truth.tolist(), own.threshold)}, figure
        )
        result["figure"] = str(figure)
    return result


def decided(decision: Decision) -> dict[str, Any]:
    """Returns a stored threshold and its uncertainty as rows for people or JSON."""
    return summary(
        decision.metric, decision.threshold, decision.threshold_interval, decision.value, decision.value_interval,
        decision.optimism,
    )  # fmt: skip


def _leak(one: Pairs, two: Pairs, leak: Any) -> dict[str, Any]:
    return {
        "pair": [one.first[leak.row], one.second[leak.row]],
        "other pair": [two.first[leak.other], two.second[leak.other]],
        "in": [one.name, two.name],
        "similarity": leak.similarity,
    }
