"""`shoestring pretrain`: an encoder or a decoder from text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shoestring import files, ui
from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.files.options import reading_options
from shoestring.transformer.commands.options import changed, corpus, say


@ui.command("pretrain")
@corpus
@click.option("--tokenizer", "tokenizer_folder", required=True, help="Folder from `shoestring tokenizer`.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
@click.option(
    "--objective",
    type=click.Choice(["mlm", "clm", "unilm"]),
    default="mlm",
    show_default=True,
    help="mlm (encoder), clm (decoder) or unilm (both ways, then on).",
)
@click.option(
    "--size",
    type=click.Choice(["nano", "tiny", "small", "base"]),
    default="nano",
    show_default=True,
    help="Of the model.",
)
@click.option("--key-size", type=int, help="Width of a head's queries and keys, free of hidden / heads.")
@click.option("--value-size", type=int, help="Width of a head's values.")
@click.option(
    "--talking-heads",
    type=click.Choice(["none", "pre", "post", "both"]),
    help="Mix the heads: none, pre (before the softmax), post (after it) or both.",
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any other setting of the model.")
@click.option("--epochs", type=float, help="Passes over the corpus. [default: 1]")
@click.option("--steps", type=int, help="Train for so many optimiser steps instead.")
@click.option("--minutes", type=float, help="Train for about so long instead.")
@click.option("--length", default=128, show_default=True, help="Tokens in a block.")
@click.option("--batch-size", default=32, show_default=True, help="Blocks per step, over all processes.")
@click.option("--micro-batch", type=int, help="Blocks per forward pass, if memory is short.")
@click.option("--learning-rate", type=float, help="Its peak. [default: the size's own]")
@click.option("--seed", default=0, show_default=True, help="Of weights, order, masks and dropout.")
@ui.device_option()
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of the computation.",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished model, start an interrupted one again.")
@reading_options
def pretrain(
    ui: ui.UI,
    corpus: Sequence[str],
    tokenizer_folder: str,
    output: Path,
    changes: Sequence[str],
    reading: files.Reading,
    **options: Any,
) -> None:
    """Pre-train an encoder (mlm) or a decoder (clm, unilm) on text; interrupted, the same command goes on.

    CORPUS: files (.txt, .jsonl, .csv, .parquet; also compressed or in archives), folders, patterns, or -.
    """
    given = [name for name in ("epochs", "steps", "minutes") if options[name] is not None]
    if len(given) > 1:
        raise OptionError(f"--{given[0]} and --{given[1]} both say how long to train; give one of them")
    if not given:
        options["epochs"] = 1.0
    sizes = {
        "key_size": options.pop("key_size"),
        "value_size": options.pop("value_size"),
        "talking_heads": options.pop("talking_heads") or "none",
        **changed(changes),
    }
    require("transformer", "torch", "transformers", "tokenizers", "rjieba")
    from shoestring import hub
    from shoestring.train import TrainSettings
    from shoestring.transformer.model.configuration import LEARNING_RATES, preset
    from shoestring.transformer.pretraining.pretrain import pretrain as run

    size = options.pop("size")
    config = preset(size, **sizes)
    settings = TrainSettings(
        steps=options.pop("steps") or 1,
        learning_rate=options.pop("learning_rate") or LEARNING_RATES[size],
        **{name: options.pop(name) for name in ("batch_size", "micro_batch", "seed", "device", "precision")},
    )
    report, tokenizer = files.Report(), hub.load_tokenizer(tokenizer_folder)
    done = run(
        files.documents(corpus, reading, report), tokenizer, output,
        config=config, settings=settings, ui=ui, **options,
    )  # fmt: skip
    if not hub.is_main_process():
        return
    say(ui, report)
    ui.result(
        {
            "model": str(done.folder),
            "parameters": done.parameters,
            "tokens": done.tokens,
            "epochs": done.epochs,
            "seconds": done.history.seconds,
            "held-out loss (nats)": done.loss,
            "uniform guessing (nats)": done.untrained_loss,
            "loss curve": str(done.folder / "loss.png"),
        }
    )
