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
    from shoestring.lm.beam import beam_search
    from shoestring.lm.choosing import FewShot, choose
    from shoestring.lm.conversion import convert
    from shoestring.lm.engine import load
    from shoestring.lm.evaluate import perplexity
    from shoestring.lm.generation import generate, stream
    from shoestring.lm.sampling import Sampling
    from shoestring.lm.template import Template
    from shoestring.lm.tokenizer import CpmTokenizer

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
        "beam": "beam_search",
        "choosing": "FewShot choose",
        "conversion": "convert",
        "engine": "load",
        "evaluate": "perplexity",
        "generation": "generate stream",
        "sampling": "Sampling",
        "template": "Template",
        "tokenizer": "CpmTokenizer",
    },
)
