"""User words that jieba can never match, because it splits at one of their characters: `马克·吐温`, `New York`, `{UM}`.

On wish they are kept whole: found first, leftmost and then longest; what lies between them is cut as jieba cuts it,
each piece for itself. A word that begins or ends with an ASCII letter or digit is not found within a run of those.
The kernel does the same in C.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from shoestring.count.cutting.dictionary import UserWord

SPLIT_AT = re.compile("[^\u4e00-\u9fd5a-zA-Z0-9+#&._%-]")  # all but jieba's re_han_default


def unmatched(words: Iterable[UserWord]) -> list[str]:
    """Returns the words of two characters or more that jieba can never cut out, each once.

    >>> unmatched([UserWord("马克·吐温"), UserWord("C++"), UserWord("New York", 3), UserWord("a b", 0)])
    ['马克·吐温', 'New York']
    """
    found = (
        word.word for word in words if word.frequency and len(word.word) > 1 and SPLIT_AT.search(word.word)
    )
    return list(dict.fromkeys(word for word in found if "\n" not in word and "\r" not in word))


def warning(words: Sequence[UserWord]) -> str:
    """Says which words can never be found, "" if all can be.

    >>> warning([UserWord("马克·吐温")])
    "1 user word can never match, for jieba splits at one of its characters: '马克·吐温'; --whole-words keeps it"
    """
    lost = unmatched(words)
    if not lost:
        return ""
    named = ", ".join(map(repr, lost[:3])) + (" ..." if len(lost) > 3 else "")
    what, its, it = ("user word", "its", "it") if len(lost) == 1 else ("user words", "their", "them")
    return (
        f"{len(lost):,} {what} can never match, for jieba splits at one of {its} characters: {named}; "
        f"--whole-words keeps {it}"
    )


def keeping(cut: Callable[[str], Iterable[str]], words: Sequence[str]) -> Callable[[str], list[str]]:
    """Returns a cut that keeps these words whole and cuts what lies between them with `cut`.

    >>> keeping(list, ["a b", "a b c"])("xa b a b c")
    ['x', 'a', ' ', 'b', ' ', 'a b c']
    """
    if not words:
        return lambda text: list(cut(text))
    pattern = re.compile("(" + "|".join(map(_bounded, sorted(words, key=len, reverse=True))) + ")")

    def whole(text: str) -> list[str]:
        tokens: list[str] = []
        for index, piece in enumerate(pattern.split(text)):
            tokens += [piece] if index % 2 else cut(piece) if piece else []
        return tokens

    return whole


def _bounded(word: str) -> str:
    before = "(?<![a-zA-Z0-9])" if _is_alnum(word[0]) else ""
    return before + re.escape(word) + ("(?![a-zA-Z0-9])" if _is_alnum(word[-1]) else "")


def _is_alnum(character: str) -> bool:
    return character.isascii() and character.isalnum()
