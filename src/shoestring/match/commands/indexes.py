"""What the commands on an index share: their options, and how an index is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring._errors import InputError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.match.matcher import Matcher

model = click.option("--model", required=True, help="The bi-encoder of the index.")
rerank = click.option("--rerank", help="A cross-encoder that sorts what was found.")
kind = click.option(
    "--kind", default="auto", show_default=True, type=click.Choice(("auto", "exact", "hnsw", "int4")),
    help="int4 is hnsw with vectors of half bytes; auto is what is there, or hnsw from 100,000 texts on with faiss.",
)  # fmt: skip
precision = click.option(
    "--precision", default="fp32", show_default=True, type=click.Choice(("fp32", "bf16", "auto")),
    help="In which --model computes; auto is bf16 where the processor multiplies it. Scores differ by up to 2e-3.",
)  # fmt: skip


def open_index(target: str, matcher: Matcher, kind: str = "auto", anew: bool = False) -> Any:
    """Opens an index in a folder or on a Qdrant server; one that is built anew may be of another model."""
    if target.startswith("qdrant:"):
        from shoestring.match.search.qdrant import connect

        return connect(target, matcher)
    from shoestring.match.search.index import Index

    return Index(target, matcher, kind, anew)


def existing(target: str, matcher: Matcher, kind: str) -> Any:
    """Opens an index that must be there."""
    if not target.startswith("qdrant:") and not (Path(target) / "index.json").is_file():
        raise InputError(f"{target}: no index; make one with shoestring match index TEXTS -o {target}")
    return open_index(target, matcher, kind)


def loaded(folder: str, device: str, precision: str = "fp32") -> Matcher:
    """Loads a model."""
    require("match", "sentence_transformers")
    from shoestring.match.matcher import Matcher

    return Matcher(folder, device, precision=precision)
