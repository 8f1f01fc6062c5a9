"""The rules, family by family: what each tensor reads and writes. `FAMILIES` is the one list of them."""

from __future__ import annotations

from shoestring.grow.plan.family import Family
from shoestring.grow.plan.rules import bert, gemma, gpt2, llama, mixture, shoestring, t5

FAMILIES: dict[str, Family] = {
    "bert": bert.describe,
    "roberta": bert.describe,
    "gpt2": gpt2.describe,
    "llama": llama.describe,
    "mistral": llama.describe,
    "qwen2": llama.describe,
    "qwen3": llama.describe,
    "gemma": gemma.describe,
    "gemma2": gemma.describe,
    "gemma3_text": gemma.describe,
    "t5": t5.describe,
    "mixtral": mixture.describe,
    "qwen3_moe": mixture.describe,
    "shoestring": shoestring.describe,
}
