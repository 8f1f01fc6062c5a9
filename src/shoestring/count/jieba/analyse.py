"""jieba's keywords (TF-IDF, TextRank) and its analyzer for Whoosh, on the dictionary of `shoestring.count.jieba`."""

from __future__ import annotations

from typing import Any

from shoestring._extras import require
from shoestring.count.jieba import dt, posseg

original: Any = require("count", "jieba.analyse")


class TFIDF(original.TFIDF):
    """Keywords by TF-IDF."""

    def __init__(self, idf_path: str | None = None) -> None:
        super().__init__(idf_path)
        self.tokenizer, self.postokenizer = dt, posseg.dt


class TextRank(original.TextRank):
    """Keywords by TextRank."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = self.postokenizer = posseg.dt


default_tfidf, default_textrank = TFIDF(), TextRank()
extract_tags = tfidf = default_tfidf.extract_tags
set_idf_path = default_tfidf.set_idf_path
textrank = default_textrank.extract_tags


def set_stop_words(stop_words_path: str) -> None:
    """Adds the words of a file, one per line, to those that are no keywords."""
    default_tfidf.set_stop_words(stop_words_path)
    default_textrank.set_stop_words(stop_words_path)


def __getattr__(name: str) -> Any:
    if name == "ChineseAnalyzer":
        require("count", "whoosh.analysis")
        original.analyzer.jieba = __import__("shoestring.count.jieba", fromlist=["tokenize"])
    return getattr(original, name)
