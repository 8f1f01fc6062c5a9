"""`shoestring lm convert`: CPM-LM's shards, or a Hugging Face folder, into one that runs here."""

from __future__ import annotations

import time

import click

from shoestring import hub, ui
from shoestring._extras import require


@ui.command("convert")
@click.argument("source")
@click.argument("output")
@click.option(
    "--to",
    default="hf",
    show_default=True,
    type=click.Choice(["hf", "int8", "int4", "gguf-f16", "gguf-q8_0", "gguf-q4_k_m"]),
)
@click.option("--vocab", help="CPM's chinese_vocab.model, if it does not lie with the weights.")
@click.option("--heads", type=int, help="Attention heads, for shards of a size other than CPM-LM's.")
@click.option("--unpublished", is_flag=True, help="Do not insist on CPM-LM's published SHA-1 and MD5.")
@click.option("--overwrite", is_flag=True, help="Replace a folder.")
def convert(
    ui: ui.UI, source: str, output: str, to: str, vocab: str | None, heads: int | None, unpublished: bool,
    overwrite: bool,
) -> None:  # fmt: skip
    """Turns CPM-LM's released shards, a Hugging Face folder or a .gguf file into a folder that runs here.

    SOURCE has mp_rank_00_model_states.pt and its like, or config.json and weights, or is a .gguf file.
    """
    hub.located(source)  # a wrong path is told before anything heavy is loaded
    require("lm", "torch", "sentencepiece", "jieba", "transformers")
    from shoestring.lm.weights.conversion import convert

    started = time.perf_counter()
    done = convert(
        source,
        output,
        to=to,
        vocabulary=vocab,
        heads=heads,
        published=not unpublished,
        overwrite=overwrite,
        ui=ui,
    )
    seconds = time.perf_counter() - started
    ui.result(
        {"output": output, "parameters": done.parameters, "bytes": done.bytes, "seconds": seconds},
        f"{output}: {done.parameters:,} weights, {done.bytes / 1e9:.2f} GB, {seconds:.1f} s",
    )
