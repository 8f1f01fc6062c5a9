"""`shoestring tokenizer`: a tokenizer from text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from shoestring import files, ui
from shoestring.files.options import reading_options
from shoestring.transformer.commands.options import corpus, say


@ui.command("tokenizer")
@corpus
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the tokenizer."
)
@click.option("--vocab-size", default=8192, show_default=True, help="Ids, with 5 special and 256 bytes.")
@click.option(
    "--model",
    "kind",
    type=click.Choice(["unigram", "bpe"]),
    default="unigram",
    show_default=True,
    help="How pieces are found.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@reading_options
def tokenizer(
    ui: ui.UI,
    corpus: Sequence[str],
    output: Path,
    vocab_size: int,
    kind: str,
    overwrite: bool,
    reading: files.Reading,
) -> None:
    """Train a tokenizer on text: pieces never cross a Chinese word, any byte can be spelt.

    CORPUS: files (.txt, .jsonl, .csv, .parquet; also compressed or in archives), folders, patterns, or -.
    """
    from shoestring.transformer.tokenizer import count_words, train_tokenizer

    report = files.Report()
    counts = count_words(ui.track(files.documents(corpus, reading, report), "counting words", unit="doc"))
    trained = train_tokenizer(counts, vocab_size, kind)
    with files.atomic_folder(output, overwrite) as folder:
        trained.save_pretrained(folder)
    say(ui, report)
    characters = sum(len(word) * count for word, count in counts.items())
    pieces = sum(
        len(ids) * count
        for ids, count in zip(
            trained(list(counts), add_special_tokens=False)["input_ids"], counts.values(), strict=True
        )
    )
    ui.result(
        {
            "tokenizer": str(output),
            "vocabulary": len(trained),
            "documents": report.documents,
            "characters": characters,
            "characters per token": characters / pieces,
        }
    )
