"""jieba's part-of-speech tagger, on the dictionary of `shoestring.count.jieba`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shoestring._extras import require
from shoestring.count.jieba import dt as words

original: Any = require("count", "jieba.posseg")
POSTokenizer, pair = original.POSTokenizer, original.pair

dt = POSTokenizer(words)
initialize = dt.initialize


def cut(sentence, HMM=True, use_paddle=False) -> Iterator[Any]:
    """Yields pairs of word and tag."""
    if use_paddle:
        yield from original.cut(sentence, HMM, use_paddle)
    else:
        yield from dt.cut(sentence, HMM=HMM)


def lcut(sentence, HMM=True, use_paddle=False) -> list[Any]:
    """Returns `cut` as a list."""
    return list(cut(sentence, HMM, use_paddle))


def __getattr__(name: str) -> Any:
    return getattr(original, name)
