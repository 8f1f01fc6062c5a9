"""TensorFlow checkpoints in the layout of Google's BERT, which bert4keras reads and writes too.

- BERT, RoBERTa (wwm and such), RoBERTa+ (embedding and key size of their own), NEZHA and RoFormer share one scheme of
  names; translated to Hugging Face's, BERT's table does the rest.
- Key size, value size and embedding size follow from the shapes, so nobody has to know them. Logits are scaled by
  1/sqrt(key_size), as bert4keras does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.transformer.checkpoints.bundle import Bundle
from shoestring.transformer.checkpoints.huggingface import ADAPTERS, Adapter, State, halves

BERT = ADAPTERS["bert"]
KINDS: dict[str, Adapter] = {
    "bert": BERT,
    "nezha": replace(BERT, settings=lambda config: {**BERT.settings(config), "position": "relative"}),
    "roformer": replace(
        BERT, settings=lambda config: {**BERT.settings(config), "position": "rope"}, after=halves
    ),
}
NAMES = (
    ("/", "."),
    (r"layer_(\d+)", r"layer.\1"),
    (r"_embeddings$", "_embeddings.weight"),
    (r"^bert\.encoder\.embedding_hidden_mapping_in", "bert.embeddings_project"),
    (r"^cls\.predictions\.output_bias", "cls.predictions.bias"),
    (r"\.(kernel|gamma)$", ".weight"),
    (r"\.beta$", ".bias"),
)
TRAINING = re.compile(r"adam|lamb|global_step|_power|cls/seq_relationship|_CHECKPOINTABLE", re.IGNORECASE)


def found_in(source: Path) -> Path | None:
    """Returns the prefix of the checkpoint that a path means: a folder, the prefix itself or one of its files.

    A folder that has Hugging Face's weights too is read as theirs.
    """
    if any((source / name).is_file() for name in hub.WEIGHTS):
        return None
    if source.is_dir():
        prefixes = sorted(source.glob("*.index"))
        return prefixes[0].with_suffix("") if prefixes else None
    prefix = Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(source)))
    return prefix if Path(f"{prefix}.index").is_file() else None


def config_of(prefix: Path) -> BertConfig:
    """Reads the `bert_config.json` beside a checkpoint.

    Raises:
        InputError: it is missing or not JSON.
    """
    candidates = [prefix.parent / name for name in ("bert_config.json", "config.json")]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise InputError(f"{prefix.parent}: has a TensorFlow checkpoint but no bert_config.json beside it")
    try:
        settings = json.loads(path.read_text("utf-8"))
        return BertConfig(**{"vocab_size": settings.pop("vocab_size"), **settings})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the configuration of a BERT ({error!r})") from error


def kind_of(config: BertConfig, names: Mapping[str, Any], kind: str | None) -> str:
    """Returns `bert`, `nezha` or `roformer`.

    Raises:
        OptionError: it must be said, or it is unknown, or it cannot be.
    """
    positions = any(name.endswith("position_embeddings") for name in names)
    if kind is None and positions:
        return "bert"
    if kind is None and getattr(config, "use_relative_position", False):
        return "nezha"
    if kind is None:
        raise OptionError(
            "this TensorFlow checkpoint has no learned positions; give --kind nezha or --kind roformer"
        )
    if kind not in KINDS:
        raise OptionError(f"--kind {kind}: unknown; choose one of {', '.join(KINDS)}")
    if positions != (kind == "bert"):
        has = "learned positions, so it is a bert" if positions else "no learned positions, so it is no bert"
        raise OptionError(f"--kind {kind}: the checkpoint has {has}")
    return kind


def tensors_of(bundle: Mapping[str, np.ndarray]) -> State:
    """Returns the tensors under the names that Hugging Face's BERT has; what only training needs is left out."""
    return {
        _named(name): torch.from_numpy(np.array(array.T if name.endswith("/kernel") else array))
        for name, array in bundle.items()
        if not TRAINING.search(name)
    }


def _named(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def opened(prefix: Path) -> Bundle:
    """Opens a checkpoint that must hold a BERT.

    Raises:
        InputError: it holds something else.
    """
    bundle = Bundle(prefix)
    if "bert/embeddings/word_embeddings" not in bundle:
        some = ", ".join(sorted(bundle)[:3])
        raise InputError(
            f"{prefix}: has no bert/embeddings/word_embeddings but {some}, ...; only BERT's layout is read"
        )
    return bundle
