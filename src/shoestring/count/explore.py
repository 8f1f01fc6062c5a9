"""`shoestring count words`, `plot`, `compare` and `bench`: what the counts say, and how fast they come."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.files import Reading, atomic
from shoestring.files.options import reading_options

SHOWN = 20


@ui.command("words")
@click.argument("corpus", nargs=-1, required=True)
@click.option(
    "-o", "--output", "target", help=".txt: a jieba user dictionary; .tsv: with count, PMI and entropies."
)
@click.option("--min-count", default=32, show_default=True, help="Occurrences at least.")
@click.option(
    "--min-pmi", default="2,4,6", show_default=True, help="Of runs of 2, 3 and 4 characters, in nats."
)
@click.option(
    "--min-entropy", default=1.0, show_default=True, help="Of left and of right neighbours, in nats."
)
@click.option("--known", is_flag=True, help="Also words that jieba's dictionary has.")
@click.option("--workers", default=0, help="Threads.  [default: every core]")
@click.option("--memory", default="2GB", show_default=True, help="What the tables may take.")
@reading_options(errors="strict")
def words(
    ui: ui.UI,
    corpus: tuple[str, ...],
    target: str | None,
    min_count: int,
    min_pmi: str,
    min_entropy: float,
    known: bool,
    workers: int,
    memory: str,
    reading: Reading,
) -> None:
    """Finds new words: runs that hang together (PMI) in varying surroundings (entropy), checked by cutting again."""
    from shoestring.count import words as discovery
    from shoestring.count.amounts import any_length, size
    from shoestring.count.job import Job

    if target and Path(target).suffix not in (".txt", ".tsv"):
        raise OptionError(f"{target}: give it a name that ends in .txt (a jieba user dictionary) or .tsv")
    try:
        two, three, four = map(float, min_pmi.split(","))
    except ValueError:
        raise OptionError(f"--min-pmi {min_pmi!r}: write three numbers, such as 2,4,6") from None
    thresholds = discovery.Thresholds(min_count, (two, three, four), min_entropy)
    job = Job("ngram", ngrams=(1, 4), workers=workers, memory=size(memory), reading=any_length(reading))
    ui.say("counting runs of characters, then cutting the corpus again ...")
    found = discovery.discover(corpus, thresholds, job, known)
    if target:
        with atomic(target) as file:
            file.writelines(_line(word, Path(target).suffix) for word in found)
        ui.result({"output": target, "words": len(found)}, f"{target}: {len(found):,} words")
    elif ui.as_json:
        ui.result({"words": [asdict(word) for word in found]})
    else:
        rows = [(w.word, w.count, f"{w.pmi:.2f}", f"{w.left:.2f}", f"{w.right:.2f}") for w in found[:SHOWN]]
        ui.table(["word", "count", "PMI", "left entropy", "right entropy"], rows)
        ui.say(f"{len(found):,} words; -o NEW.txt writes them as a jieba user dictionary")


def _line(word, suffix: str) -> str:
    if suffix == ".txt":  # without a frequency, so that jieba takes the one that cuts the word out whole
        return f"{word.word}\n"
    return f"{word.word}\t{word.count}\t{word.pmi:.3f}\t{word.left:.3f}\t{word.right:.3f}\n"


@ui.command("plot")
@click.argument("tables", nargs=-1, required=True, metavar="OUT.tsv...")
@click.option(
    "-o", "--output", "folder", default=".", show_default=True, help="Folder for zipf.png and heaps.png."
)
def plot(ui: ui.UI, tables: tuple[str, ...], folder: str) -> None:
    """Draws Zipf's law (counts over ranks) and Heaps' law (distinct words over tokens) of counted tables."""
    from shoestring import plot as figures
    from shoestring.count import laws
    from shoestring.count.table import FrequencyTable

    ranks, growth, exponents = {}, {}, {}
    for path in tables:
        table = FrequencyTable.read(path)
        if not len(table):
            raise OptionError(f"{path}: the table is empty, there is nothing to draw")
        zipf, heaps = laws.zipf(table), laws.heaps(table)
        middle = [point for point in zipf if 10 <= point[0] <= table.distinct / 10] or zipf
        upper = [point for point in heaps if point[0] >= table.total / 100] or heaps
        exponents[path] = {"zipf": -laws.slope(middle), "heaps": laws.slope(upper)}
        ranks[f"{path} (exponent {exponents[path]['zipf']:.2f})"] = zipf
        growth[f"{path} (exponent {exponents[path]['heaps']:.2f})"] = heaps
    Path(folder).mkdir(parents=True, exist_ok=True)
    figures.zipf(ranks, Path(folder) / "zipf.png")
    figures.heaps(growth, Path(folder) / "heaps.png")
    files = {"zipf": str(Path(folder) / "zipf.png"), "heaps": str(Path(folder) / "heaps.png")}
    ui.result({"figures": files, "exponents": exponents}, "\n".join(files.values()))


@ui.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("-o", "--output", "target", help="A .tsv for all of them; without it the first 20 are shown.")
@click.option(
    "--min-count", default=5, show_default=True, help="Leave out words that are rarer in both together."
)
def compare(ui: ui.UI, first: str, second: str, target: str | None, min_count: int) -> None:
    """Shows which words two corpora (or tables counted before) differ in, by log-likelihood."""
    from shoestring.count import keyness

    tables = keyness.table_or_corpus(first), keyness.table_or_corpus(second)
    keys = keyness.compare(*tables, min_count)
    if target:
        with atomic(target) as file:
            file.writelines(keyness.lines(keys))
        ui.result({"output": target, "words": len(keys)}, f"{target}: {len(keys):,} words")
    elif ui.as_json:
        ui.result({"words": [asdict(key) for key in keys]})
    else:
        rows = [
            (repr(k.word)[1:-1], k.first, k.second, f"{k.likelihood:.1f}", f"{k.ratio:+.2f}")
            for k in keys[:SHOWN]
        ]
        ui.table(["word", "first", "second", "log-likelihood", "log2 ratio"], rows)


@ui.command("bench")
@click.argument("corpus", nargs=-1, required=True)
@click.option("-o", "--output", "figure", help="A .png of the speed-ups.")
@click.option("--workers", default=0, help="Processes.  [default: every core]")
@click.option("--megabytes", default=5.0, show_default=True, help="How much of the corpus to use.")
def bench(ui: ui.UI, corpus: tuple[str, ...], figure: str | None, workers: int, megabytes: float) -> None:
    """Times the naive loop, batch tables, per-text results, N processes and our engines on your own text."""
    from shoestring import plot as figures
    from shoestring.count import bench as experiment
    from shoestring.count.job import usable_cores
    from shoestring.count.tokenizers import without_kernel

    if figure and Path(figure).suffix != ".png":
        raise OptionError(f"{figure}: give the figure a name that ends in .png")
    ways = [way for way in experiment.WAYS if not (way.startswith("kernel") and without_kernel())]
    ui.say(f"{len(ways)} ways to count the first {megabytes:g} MB, one after another ...")
    values = experiment.report(corpus, workers or usable_cores(), megabytes, ways)
    if figure:
        bars = [(each["way"], each["speedup"], each["processes"]) for each in values["ways"]]
        figures.speedup(bars, figure, title=f"{values['bytes'] / 1e6:.1f} MB of text")
    if ui.as_json:
        ui.result(values)
        return
    rows = [
        (e["way"], f"{e['seconds']:.2f}", f"{e['cpu']:.2f}", f"{e['speedup']:.2f}", f"{e['per_process']:.2f}")
        for e in values["ways"]
    ]
    ui.table(["way", "seconds", "CPU seconds", "speed-up", "per process"], rows)
    total = sum(values["seconds"].values())
    rows = [(name, f"{part:.3f}", f"{100 * part / total:.1f}%") for name, part in values["seconds"].items()]
    ui.table(["where the time goes", "seconds", "share"], rows)
