"""Language models on small hardware: CPM-LM from its release to an answer, and any GPT-2 or Llama.

    tokenizer            CPM's, id for id
    conversion, sources  released shards -> Hugging Face, int8, int4, GGUF
    engine               load(folder) -> sessions, over torch or llama.cpp
    generation, beam     text as it comes; samples and beams in batches
    choosing, template   few-shot tasks as data, candidates on a shared cache
    evaluate             perplexity, accuracy
    serve                OpenAI's API and a page

Importing any of the names below loads torch:

    from shoestring.lm import load, generate
    generate(load("cpm-int8"), ["今天天气"])[0][0].text
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring._lazy import lazy

if TYPE_CHECKING:
    from shoestring.lm.engines.load import load
    from shoestring.lm.fewshot.choosing import FewShot, choose
    from shoestring.lm.fewshot.evaluate import perplexity
    from shoestring.lm.fewshot.template import Template
    from shoestring.lm.generation.beam import beam_search
    from shoestring.lm.generation.generation import generate, stream
    from shoestring.lm.generation.sampling import Sampling
    from shoestring.lm.tokenizer import CpmTokenizer
    from shoestring.lm.weights.conversion import convert

__all__ = [
    "CpmTokenizer",
    "FewShot",
    "Sampling",
    "Template",
    "beam_search",
    "choose",
    "convert",
    "generate",
    "load",
    "perplexity",
    "stream",
]

__getattr__ = lazy(
    __name__,
    {
        "generation.beam": "beam_search",
        "fewshot.choosing": "FewShot choose",
        "weights.conversion": "convert",
        "engines.load": "load",
        "fewshot.evaluate": "perplexity",
        "generation.generation": "generate stream",
        "generation.sampling": "Sampling",
        "fewshot.template": "Template",
        "tokenizer": "CpmTokenizer",
    },
)
