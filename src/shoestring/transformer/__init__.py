"""Transformers whose key size is free, as Hugging Face models, with their tokenizer and pre-training.

Importing any of the names below loads torch and registers the family with transformers' Auto classes:

    from shoestring.transformer import ShoestringForMaskedLM
    model = AutoModelForMaskedLM.from_pretrained(folder)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoestring.transformer.checkpoints.convert import convert, from_checkpoint
    from shoestring.transformer.configuration import PRESETS, ShoestringConfig, preset
    from shoestring.transformer.heads import (
        ShoestringForCausalLM,
        ShoestringForMaskedLM,
        ShoestringForSequenceClassification,
        ShoestringForTokenClassification,
    )
    from shoestring.transformer.modeling import ShoestringModel
    from shoestring.transformer.pretraining import pretrain
    from shoestring.transformer.rank import effective_rank, measure_ranks
    from shoestring.transformer.talking_heads.function import talking_heads_attention
    from shoestring.transformer.talking_heads.module import TalkingHeadsAttention
    from shoestring.transformer.tokenizer import train_tokenizer

_HOME = {
    "PRESETS": "configuration",
    "ShoestringConfig": "heads",
    "ShoestringForCausalLM": "heads",
    "ShoestringForMaskedLM": "heads",
    "ShoestringForSequenceClassification": "heads",
    "ShoestringForTokenClassification": "heads",
    "ShoestringModel": "heads",
    "TalkingHeadsAttention": "talking_heads.module",
    "convert": "checkpoints.convert",
    "effective_rank": "rank",
    "from_checkpoint": "checkpoints.convert",
    "measure_ranks": "rank",
    "preset": "configuration",
    "pretrain": "pretraining",
    "talking_heads_attention": "talking_heads.function",
    "train_tokenizer": "tokenizer",
}

__all__ = [
    "PRESETS",
    "ShoestringConfig",
    "ShoestringForCausalLM",
    "ShoestringForMaskedLM",
    "ShoestringForSequenceClassification",
    "ShoestringForTokenClassification",
    "ShoestringModel",
    "TalkingHeadsAttention",
    "convert",
    "effective_rank",
    "from_checkpoint",
    "measure_ranks",
    "preset",
    "pretrain",
    "talking_heads_attention",
    "train_tokenizer",
]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command line stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
