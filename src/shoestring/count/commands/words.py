"""`shoestring count words`: new words of a corpus."""

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
@click.option("--memory", default="128MB", show_default=True, help="What counting may take.")
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
    from shoestring.count.analysis import words as discovery
    from shoestring.count.commands.amounts import any_length, size
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
