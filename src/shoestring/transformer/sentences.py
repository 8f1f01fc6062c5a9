"""The files that make an encoder's folder one of sentence-transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from shoestring._errors import OptionError

POOLINGS = ("mean", "cls", "max")
FILES = (
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling", "2_Normalize",
)  # fmt: skip


def write_pooling(folder: str | Path, size: int, pooling: str = "mean", max_length: int = 512) -> None:
    """Makes a model's folder one that `SentenceTransformer(folder)` loads.

    Args:
        folder: has the encoder and its tokenizer.
        size: width of the sentence embedding, the model's hidden_size.
        pooling: `mean`, `cls` (first token) or `max`.
        max_length: longer texts are cut, in tokens.

    Raises:
        OptionError: unknown pooling.
    """
    if pooling not in POOLINGS:
        raise OptionError(f"pooling {pooling!r}: unknown; choose one of {', '.join(POOLINGS)}")
    kinds = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            **{f"pooling_mode_{kind}": name == pooling for name, kind in kinds.items()},
        },
    }
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1), "utf-8")


def copy_pooling(source: Path, folder: Path) -> None:
    """Takes over how a folder of sentence-transformers pools and normalises."""
    for name in FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, dirs_exist_ok=True)
        elif (source / name).is_file():
            shutil.copy2(source / name, folder / name)
