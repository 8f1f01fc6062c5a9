"""Texts to index, and what a search of them finds, in a form to compare."""

from __future__ import annotations


def documents(pairs, count=60, seed=5):
    texts = dict.fromkeys([*pairs(count, seed).first, *pairs(count, seed).second])
    return [(text, {"number": at}) for at, text in enumerate(texts)]


def found(index, queries, k=5) -> list:
    return [
        [(hit.text, round(hit.score, 5), dict(hit.metadata)) for hit in hits]
        for hits in index.search(queries, k)
    ]
