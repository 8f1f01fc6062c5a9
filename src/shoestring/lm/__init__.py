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

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOME = {
    "CpmTokenizer": "tokenizer",
    "FewShot": "choosing",
    "Sampling": "sampling",
    "Template": "template",
    "beam_search": "beam",
    "choose": "choosing",
    "convert": "conversion",
    "generate": "generation",
    "load": "engine",
    "perplexity": "evaluate",
    "stream": "generation",
}

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


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command line stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
