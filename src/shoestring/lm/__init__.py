"""Chinese language models on small hardware: CPM-LM from its release to an answer, and any GPT-2 or Llama.

Importing any of the names below loads torch:

    from shoestring.lm import CpmTokenizer
    tokenizer = CpmTokenizer("chinese_vocab.model")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoestring.lm.tokenizer import CpmTokenizer

_HOME = {"CpmTokenizer": "tokenizer"}

__all__ = ["CpmTokenizer"]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command line stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
