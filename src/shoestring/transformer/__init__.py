"""Transformers whose key size is free, as Hugging Face models, with their tokenizer and pre-training.

Importing any of the names below loads torch and registers the family with transformers' Auto classes:

    from shoestring.transformer import ShoestringForMaskedLM
    model = AutoModelForMaskedLM.from_pretrained(folder)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring._lazy import lazy

if TYPE_CHECKING:
    from shoestring.transformer.checkpoints.convert import convert, from_checkpoint
    from shoestring.transformer.model.configuration import PRESETS, ShoestringConfig, preset
    from shoestring.transformer.model.heads import (
        ShoestringForCausalLM,
        ShoestringForMaskedLM,
        ShoestringForQuestionAnswering,
        ShoestringForSequenceClassification,
        ShoestringForTokenClassification,
    )
    from shoestring.transformer.model.modeling import ShoestringModel
    from shoestring.transformer.pretraining.pretrain import pretrain
    from shoestring.transformer.rank.measure import effective_rank, measure_ranks
    from shoestring.transformer.talking_heads.function import talking_heads_attention
    from shoestring.transformer.talking_heads.module import TalkingHeadsAttention
    from shoestring.transformer.tokenizer import train_tokenizer

__all__ = [
    "PRESETS",
    "ShoestringConfig",
    "ShoestringForCausalLM",
    "ShoestringForMaskedLM",
    "ShoestringForQuestionAnswering",
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

__getattr__ = lazy(
    __name__,
    {
        "checkpoints.convert": "convert from_checkpoint",
        "model.configuration": "PRESETS preset",
        "model.heads": "ShoestringConfig ShoestringForCausalLM ShoestringForMaskedLM "
        "ShoestringForQuestionAnswering ShoestringForSequenceClassification ShoestringForTokenClassification "
        "ShoestringModel",
        "pretraining.pretrain": "pretrain",
        "rank.measure": "effective_rank measure_ranks",
        "talking_heads.function": "talking_heads_attention",
        "talking_heads.module": "TalkingHeadsAttention",
        "tokenizer": "train_tokenizer",
    },
)
