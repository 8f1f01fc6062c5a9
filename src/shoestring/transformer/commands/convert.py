"""`shoestring convert`: a checkpoint of the field becomes a folder of our family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from shoestring import files, ui
from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.files.options import reading_options
from shoestring.transformer.commands.pretrain import changed, say

HEADS = (
    "none", "embedding", "masked-lm", "causal-lm", "unilm", "sequence-classification", "token-classification",
    "question-answering",
)  # fmt: skip


@ui.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
@click.option(
    "--head",
    type=click.Choice(HEADS),
    help="[default: as it was saved]",
)
@click.option(
    "--to",
    type=click.Choice(["llama", "gpt2", "bert"]),
    help="A model of our family that is exactly one leaves as that.",
)
@click.option(
    "--kind",
    type=click.Choice(["bert", "nezha", "roformer"]),
    help="Where a TensorFlow checkpoint does not tell.",
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "cls", "max"]),
    help="For --head embedding. [default: as the source, or mean]",
)
@click.option(
    "--keep", "corpus", multiple=True, metavar="CORPUS", help="Keep only the tokens that this text uses."
)
@click.option("--min-count", default=1, show_default=True, help="Occurrences in --keep that a token needs.")
@click.option(
    "--reachable", is_flag=True, help="Drop the tokens of a WordPiece vocabulary that no text can have."
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any other setting of the model.")
@click.option("--check/--no-check", default=True, show_default=True, help="Run both models and compare.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@reading_options
def convert(
    ui: ui.UI,
    source: Path,
    output: Path,
    head: str | None,
    to: str | None,
    kind: str | None,
    pooling: str | None,
    corpus: Sequence[str],
    min_count: int,
    reachable: bool,
    changes: Sequence[str],
    check: bool,
    overwrite: bool,
    reading: files.Reading,
) -> None:
    """Turn a checkpoint into a model of our family, with the same outputs; or, with --to, one of ours into theirs.

    SOURCE: a Hugging Face folder (bert, roberta, xlm-roberta, roformer, gpt2, llama) or a TensorFlow checkpoint in the
    layout of Google's BERT (BERT, RoBERTa, RoBERTa+, NEZHA, RoFormer): its folder, or its path without .index.
    """
    if corpus and reachable:
        raise OptionError("--keep and --reachable both say what to keep; give one of them")
    require("transformer", "torch", "transformers", "tokenizers")
    if to is not None:
        given = {"--head": head, "--kind": kind, "--pooling": pooling, "--keep": corpus, "--set": changes}
        _leave(ui, source, output, to, [name for name, value in given.items() if value], overwrite)
        return
    from shoestring.transformer.checkpoints.convert import convert as run
    from shoestring.transformer.checkpoints.convert import largest_difference

    keep = None
    if corpus or reachable:
        keep = _kept(ui, source, corpus, min_count, reading)
    done = run(
        source,
        output,
        head,
        kind=kind,
        pooling=pooling,
        keep_tokens=keep,
        settings=changed(changes),
        overwrite=overwrite,
    )
    difference = largest_difference(source, done) if check else None
    if done.new:
        ui.say(f"not in the source, starts anew: {', '.join(done.new[:4])}{', ...' if done.new[4:] else ''}")
    if done.unknown:
        ui.say(
            f"not understood, left out: {', '.join(done.unknown[:4])}{', ...' if done.unknown[4:] else ''}"
        )
    if done.tokenizer is None:
        ui.say("the source has no tokenizer")
    config = done.model.config
    ui.result(
        {
            "model": str(output),
            "was": done.kind,
            "head": done.head,
            "parameters": done.model.num_parameters(),
            "vocabulary": config.vocab_size,
            "key size, value size": f"{config.key_size}, {config.value_size}",
            "largest difference": difference,
        }
    )


def _leave(ui: ui.UI, source: Path, output: Path, to: str, others: Sequence[str], overwrite: bool) -> None:
    from shoestring.transformer.checkpoints.export import export

    if others:
        raise OptionError(f"--to {to} changes nothing of a model, so {others[0]} does not go with it")
    difference = export(source, output, to, overwrite)
    ui.result({"model": str(output), "is": to, "largest difference": difference})


def _kept(
    ui: ui.UI, source: Path, corpus: Sequence[str], min_count: int, reading: files.Reading
) -> list[int]:
    from shoestring.transformer.checkpoints import vocabulary
    from shoestring.transformer.checkpoints.convert import tokenizer_of

    tokenizer = tokenizer_of(source)
    if not corpus:
        return vocabulary.reachable(tokenizer)
    report = files.Report()
    documents = ui.track(files.documents(corpus, reading, report), "tokenizing", unit="doc")
    used = vocabulary.used_by(tokenizer, documents, min_count)
    say(ui, report)
    return vocabulary.completed(tokenizer, used)
