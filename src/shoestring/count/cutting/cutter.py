"""jieba's cut, exactly, as fast as this machine can: `from shoestring.count import cut`.

- With the native kernel: the same tokens as jieba 0.42.1, about fifty times as fast, and threads run in parallel.
- Without it: jieba itself. The tokens never depend on which of the two it is.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from shoestring._extras import require
from shoestring.count.cutting import dictionary
from shoestring.count.cutting.dictionary import SUGGEST, UserWord
from shoestring.count.cutting.whole import keeping, unmatched, warning


class Cutter:
    """A jieba tokenizer of its own, with words of its own.

    Args:
        user_dict: a jieba user dictionary, `word [frequency] [tag]` per line.
        words: more words: `"word"`, or `("word", frequency)`; frequency 0 splits it.
        whole: keep words whole that jieba can never match because it splits at one of their characters, such as
            `马克·吐温` or `New York`, see `shoestring.count.cutting.whole`. Without it there is a warning.

    >>> Cutter(words=["马克·吐温"], whole=True).cut("他叫马克·吐温")
    ['他', '叫', '马克·吐温']
    >>> Cutter(words=["云计算平台"]).cut("云计算平台很好")
    ['云计算平台', '很', '好']
    """

    def __init__(
        self,
        user_dict: str | os.PathLike[str] | None = None,
        words: Sequence[str | tuple[str, int]] = (),
        whole: bool = False,
    ) -> None:
        entries = dictionary.read_user_dict(user_dict) if user_dict else []
        entries += [UserWord(word, SUGGEST) if isinstance(word, str) else UserWord(*word) for word in words]
        lost = unmatched(entries) if entries else []
        if lost and not whole:
            warnings.warn(warning(entries).replace("--whole-words", "whole=True"), stacklevel=2)
        table = dictionary.kernel_table(entries, lost if whole else ())
        self._cut = table.cut if table else slow_cut(entries, lost if whole else ())

    def cut(self, sentence: str, HMM: bool = True) -> list[str]:
        """Returns the tokens; joined, they are the sentence."""
        return self._cut(sentence, HMM)


def cut(sentence: str, cut_all: bool = False, HMM: bool = True, use_paddle: bool = False) -> list[str]:
    """Cuts a sentence into words as `jieba.lcut` of jieba 0.42.1 does, token for token.

    Args:
        sentence: any text.
        cut_all: every word that can be found, overlapping; jieba itself does this.
        HMM: whether runs of single characters are searched for words that are not in the dictionary.
        use_paddle: as in jieba; needs jieba's paddle mode.

    >>> cut("我来到北京清华大学")
    ['我', '来到', '北京', '清华大学']
    """
    if cut_all or use_paddle:
        return require("count", "jieba").lcut(sentence, cut_all, HMM, use_paddle)
    return _default().cut(sentence, HMM)


@cache
def _default() -> Cutter:
    return Cutter()


def _with(cut: Callable[[str, bool], list[str]], hmm: bool, text: str) -> list[str]:
    return cut(text, hmm)


def slow_cut(words: Sequence[UserWord], whole: Sequence[str] = ()) -> Callable[[str, bool], list[str]]:
    """Returns jieba's own cut with a dictionary of its own, its log silenced, and some words kept whole."""
    if whole:
        cut = slow_cut(words)
        with_hmm, without = (keeping(partial(_with, cut, hmm), whole) for hmm in (True, False))
        return lambda text, hmm: with_hmm(text) if hmm else without(text)
    jieba = require("count", "jieba")
    finalseg: Any = require("count", "jieba.finalseg")
    jieba.setLogLevel(60)
    tokenizer = jieba.Tokenizer()
    forced: set[str] = set()
    before = finalseg.Force_Split_Words
    finalseg.Force_Split_Words = forced  # jieba has one set for all tokenizers; this one's stays its own
    try:
        for word in words:
            tokenizer.add_word(word.word, None if word.frequency == SUGGEST else word.frequency)
    finally:
        finalseg.Force_Split_Words = before
    if not forced:
        return lambda text, hmm: tokenizer.lcut(text, HMM=hmm)

    def cut_with_own(text: str, hmm: bool) -> list[str]:
        outer, finalseg.Force_Split_Words = finalseg.Force_Split_Words, forced
        try:
            return tokenizer.lcut(text, HMM=hmm)
        finally:
            finalseg.Force_Split_Words = outer

    return cut_with_own
