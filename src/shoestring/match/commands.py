"""`shoestring match train`, `predict`, `eval`, `compare` and `leaks`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.match.matcher import Matcher
    from shoestring.match.pairs import Pairs

METRIC = "accuracy, f1, mcc, balanced, cost=FP,FN, recall@precision=P or precision@recall=R."
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
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


def training_options(function: Callable) -> Callable:
    """Adds the options of a training run."""
    options = (
        click.option(
            "--base", required=True, help="Hugging Face or sentence-transformers folder, or hub name."
        ),
        click.option("--data", required=True, help="Pairs to train on."),
        click.option("--dev", help="Pairs that choose step and threshold.  [default: a tenth of --data]"),
        click.option("--test", help="Pairs to report on; a leak from --data is reported."),
        click.option(
            "--loss", default="cosent", show_default=True, help="cosent, angle, contrastive or softmax."
        ),
        click.option(
            "--pooling", default="mean", show_default=True, help="mean, cls, first-last-avg or own."
        ),
        click.option("--prompt", help="Put before each text, such as 'query: ' for E5 models."),
        click.option(
            "--epochs", default=3.0, show_default=True, help="Passes; 0 only chooses the threshold."
        ),
        click.option("--batch-size", default=64, show_default=True, help="Pairs in a step."),
        click.option(
            "--chunk", type=int, help="Pairs in memory at a time, however large the batch (CoSENT)."
        ),
        click.option("--learning-rate", default=2e-5, show_default=True, help="Its peak."),
        click.option("--max-length", default=64, show_default=True, help="Tokens of a text."),
        click.option("--freeze", default=0, show_default=True, help="Lower layers that are not trained."),
        above,
        click.option("--calibration", default="auto", show_default=True, help="auto, platt or isotonic."),
        click.option("--seed", default=0, show_default=True, help="Of heads, order and dropout."),
        device,
        click.option("--overwrite", is_flag=True, help="Replace what is there."),
    )
    for option in reversed(options):
        function = option(function)
    return column_options(function)


@ui.command("train")
@training_options
@click.option("--mode", default="bi", show_default=True, help="bi (two embeddings) or cross (one sequence).")
@click.option("--metric", default="accuracy", show_default=True, help=METRIC)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
def train(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, overwrite: bool,
    first: str | None, second: str | None, label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Fine-tunes a bi-encoder or a cross-encoder and stores its threshold in the model's folder.

    Data: .tsv, .csv, .jsonl, .parquet with two texts and a label, ATEC, BQ, LCQMC, PAWS-X and STS-B files as
    published, a folder of the library datasets, or hf:NAME:SPLIT. Interrupted, the same command goes on.
    """
    from shoestring.match.training import Training
    from shoestring.match.training import train as run

    settings = Training(**options)
    pairs, chosen, held = _three(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
    done = run(base, pairs, chosen, output, settings, overwrite=overwrite, ui=ui)
    if done.cut:
        ui.say(
            f"{done.cut:,} texts have more than {settings.max_length} tokens and are cut; see --max-length"
        )
    result = {
        "output": str(output),
        "steps": done.steps,
        "seconds": round(done.seconds, 1),
        **decision_rows(done.decision),
    }
    if held is not None:
        from shoestring.match.matcher import Matcher

        result |= measured(Matcher(output, settings.device), held, ui)
    else:
        ui.say(
            f"{done.decision.metric} is of the pairs that chose the threshold; report it on others with --test"
        )
    ui.result(result)


@ui.command("compare")
@training_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for both models."
)
@click.option("--texts", default=100_000, show_default=True, help="Size of the search whose cost is told.")
def compare(
    ui: ui.UI, base: str, data: str, dev: str | None, test: str | None, output: Path, texts: int, overwrite: bool,
    first: str | None, second: str | None, label: str | None, skip_bad: bool, **options: Any,
) -> None:  # fmt: skip
    """Bi-encoder or cross-encoder? Trains both on the same pairs and tells what each is worth and costs."""
    from shoestring import plot
    from shoestring.match.compare import compare as run
    from shoestring.match.training import Training

    settings = Training(**options)
    pairs, chosen, held = _three(ui, data, dev, test, settings.seed, (first, second, label, skip_bad))
    if held is None:
        raise OptionError("compare needs --test: pairs that neither train nor choose the threshold")
    found = run(base, pairs, chosen, held, output, settings, overwrite=overwrite, ui=ui)
    costs = found.search_seconds(texts)
    rows = [
        (
            name,
            *(f"{getattr(side, name):.4f}" for side in (found.bi, found.cross)),
            "{:+.4f} ({:+.4f} to {:+.4f})".format(*found.ahead[name]),
        )
        for name in ("spearman", "accuracy", "f1")
    ]
    rows += [
        (
            "pairs per CPU second",
            f"{found.bi.pairs_per_second:.0f}",
            f"{found.cross.pairs_per_second:.0f}",
            "",
        ),
        (f"seconds to search {texts:,} texts", f"{costs[0]:.3g}", f"{costs[1]:.3g}", ""),
        ("seconds of training", f"{found.bi.train_seconds:.0f}", f"{found.cross.train_seconds:.0f}", ""),
    ]
    figure = output / "compare.png"
    truth = held.binary(chosen.middle if settings.above is None else settings.above)
    both = (found.bi, found.cross)
    drawn = {f"{side.mode}-encoder": (side.scores.tolist(), truth.tolist(), side.threshold) for side in both}
    plot.score_distributions(drawn, figure, title=f"Scores of {len(held):,} test pairs")
    sides = {
        side.mode: {name: value for name, value in vars(side).items() if isinstance(value, str | float)}
        for side in both
    }
    result = {
        **sides,
        "cross ahead": found.ahead,
        "search seconds": costs,
        "pairs": found.pairs,
        "figure": str(figure),
    }
    if ui.as_json:
        ui.result(result)
    else:
        ui.table(("", "bi", "cross", "cross ahead by (95 %)"), rows, title=f"{len(held):,} test pairs")
        ui.say(f"{figure}; models in {output / 'bi'} and {output / 'cross'}")


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
    names, columns = ["score"], [[f"{score:.6f}" for score in found.scores]]
    if found.probabilities is not None and found.verdicts is not None:
        names += ["probability", "match"]
        columns += [[f"{each:.4f}" for each in found.probabilities], [str(each) for each in found.verdicts]]
    rows = [(*pair, *cells) for pair, *cells in zip(pairs, *columns, strict=True)]
    header = ("text1", "text2", *names)
    if output:
        with files.atomic(output) as file:
            file.writelines("\t".join(row) + "\n" for row in (header, *rows))
        ui.result({"output": output, "pairs": len(pairs)})
    elif ui.as_json:
        ui.result({"pairs": [dict(zip(header, row, strict=True)) for row in rows]})
    else:
        ui.table(header, rows)


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

    pairs = _read(ui, data, (first, second, label, skip_bad))
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

    sets = {name: _read(ui, name, (first, second, label, skip_bad)) for name in sources}
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
        result |= decision_rows(own)
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


def decision_rows(decision: Any) -> dict[str, Any]:
    """Returns a threshold and its uncertainty as rows for people or JSON."""
    return {
        "threshold": round(decision.threshold, 6),
        "threshold interval": [round(value, 6) for value in decision.threshold_interval],
        decision.metric: round(decision.value, 4),
        f"{decision.metric} on new pairs": [round(value, 4) for value in decision.value_interval],
        "optimism": round(decision.optimism, 4),
    }


def _three(
    ui: ui.UI, data: str, dev: str | None, test: str | None, seed: int, columns: tuple
) -> tuple[Pairs, Pairs, Pairs | None]:
    """Reads the pairs to train on, those that choose and those to report on; tells of leaks among them."""
    from shoestring.match.leaks import exact_leaks

    pairs = _read(ui, data, columns)
    if dev is None:
        pairs, chosen = pairs.split(0.1, seed)
        ui.say(
            f"no --dev: {len(chosen):,} of the pairs, which share no text with the others, choose the threshold"
        )
    else:
        chosen = _read(ui, dev, columns)
    held = _read(ui, test, columns) if test else None
    for name, part in (("--dev", chosen), ("--test", held)):
        for other, whole in (("--data", pairs), ("--dev", chosen)):
            if part is not None and part is not whole and (found := exact_leaks(part, whole)):
                ui.say(
                    f"LEAK: {len(found):,} of {len(part):,} pairs of {name} are in {other}; see shoestring match leaks"
                )
    return pairs, chosen, held


def _read(ui: ui.UI, source: str, columns: tuple) -> Pairs:
    require("match", "numpy")
    from shoestring.match.pairs import read_pairs

    first, second, label, skip_bad = columns
    pairs = read_pairs(source, first, second, label, skip_bad)
    for why, count in pairs.skipped.items():
        ui.say(f"{source}: {count:,} rows left out: {why}")
    if wrong := pairs.check():
        ui.say(f"not the published file? {wrong}")
    return pairs


def _leak(one: Pairs, two: Pairs, leak: Any) -> dict[str, Any]:
    return {
        "pair": [one.first[leak.row], one.second[leak.row]],
        "other pair": [two.first[leak.other], two.second[leak.other]],
        "in": [one.name, two.name],
        "similarity": leak.similarity,
    }
