"""Leaks: pairs that two splits or sets have in common, exactly or nearly.

- Two pairs are the same when their texts are, in either order, after NFKC, lower case and without spaces and
  punctuation: what a model reads there is what it has seen.
- Near duplicates: candidates by MinHash of character bigrams (Broder 1997) from the library `rensa`, each verified:
  both texts must reach the Jaccard similarity, in one of the two orders. LSH may miss a few, and invents none.
- Two rows with the same texts and different labels are counted as contradictions.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.match.data.pairs import Pairs

BANDS, ROWS = 20, 6  # a pair at 0.8 is a candidate with probability 0.998, one at 0.4 with 0.08
Key = tuple[str, str]


@dataclass(frozen=True)
class Leak:
    """A pair of one set that is in another, too.

    Args:
        row: its place in the first set.
        other: the place of its (first) double in the second set.
        similarity: 1 for the same texts, else the smaller Jaccard similarity of the two texts.
        contradicts: the labels differ.
    """

    row: int
    other: int
    similarity: float
    contradicts: bool


@dataclass(frozen=True)
class Shared:
    """What one set has in common with another, or with itself (doubles).

    Args:
        first: name of the set whose rows are counted.
        second: name of the set that they are looked up in.
        exact: leaks with the same texts.
        near: leaks with nearly the same texts.
    """

    first: str
    second: str
    exact: tuple[Leak, ...]
    near: tuple[Leak, ...]


def normalised(text: str) -> str:
    """Returns what is left of a text when width, case, spaces and punctuation do not count.

    >>> normalised("Ｈello, 世界！")
    'hello世界'
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, plain)) or plain.strip()


def find_leaks(sets: Sequence[Pairs], near: float | None = 0.8) -> list[Shared]:
    """Compares every set with itself and with every later one.

    Args:
        sets: of pairs.
        near: the Jaccard similarity from which texts are nearly the same; None looks for exact leaks only.

    Raises:
        OptionError: `near` is no fraction.
    """
    if near is not None and not 0 < near <= 1:
        raise OptionError(f"near {near}: must be above 0 and at most 1")
    keys = [[_key(pair) for pair in each] for each in sets]
    finders = [_Near(each, near) if near is not None else None for each in keys]
    out = []
    for one, two in combinations_with_replacement(range(len(sets)), 2):
        exact = tuple(_exact(sets[one], sets[two], keys[one], keys[two], one == two))
        found = {leak.row for leak in exact}
        finder = finders[two]
        near_ones = finder.leaks(sets[one], sets[two], keys[one], found, one == two) if finder else ()
        out.append(Shared(sets[one].name, sets[two].name, exact, tuple(near_ones)))
    return out


def exact_leaks(first: Pairs, second: Pairs) -> list[Leak]:
    """Returns the pairs of the first set whose texts are a pair of the second."""
    return list(_exact(first, second, [_key(pair) for pair in first], [_key(pair) for pair in second], False))


def _key(pair: tuple[str, str]) -> Key:
    one, two = sorted(map(normalised, pair))
    return one, two


def _exact(
    first: Pairs, second: Pairs, mine: Sequence[Key], theirs: Sequence[Key], same: bool
) -> Iterator[Leak]:
    places: dict[Key, list[int]] = defaultdict(list)
    for place, key in enumerate(theirs):
        places[key].append(place)
    for row, key in enumerate(mine):
        others = [place for place in places.get(key, ()) if not same or place < row]
        if others:
            differ = all(first.labels[row] != second.labels[place] for place in others)
            yield Leak(row, others[0], 1.0, bool(differ))


class _Near:
    """An LSH index over the pairs of one set."""

    def __init__(self, keys: Sequence[Key], least: float) -> None:
        self.rensa: Any = require("match", "rensa")
        self.least, self.keys = least, keys
        self.index = self.rensa.RMinHashLSH(least, BANDS * ROWS, BANDS)
        self.index.insert_many(self._hashes(keys))

    def leaks(
        self, first: Pairs, second: Pairs, keys: Sequence[Key], known: set[int], same: bool
    ) -> Iterator[Leak]:
        rows = [row for row in range(len(keys)) if row not in known]
        candidates = self.index.query_all(self._hashes([keys[row] for row in rows]))
        for row, places in zip(rows, candidates, strict=True):
            scored = [
                (_similarity(keys[row], self.keys[place]), -place)
                for place in places
                if not same or place < row
            ]
            similarity, place = max(scored, default=(0.0, 0))
            if similarity >= self.least:
                yield Leak(row, -place, similarity, bool(first.labels[row] != second.labels[-place]))

    def _hashes(self, keys: Sequence[Key]) -> list:
        shingles = [sorted(_bigrams(one) | _bigrams(two)) for one, two in keys]
        return self.rensa.RMinHash.from_token_sets(shingles, BANDS * ROWS, 1) if shingles else []


def _similarity(one: Key, two: Key) -> float:
    straight = min(_jaccard(one[0], two[0]), _jaccard(one[1], two[1]))
    return max(straight, min(_jaccard(one[0], two[1]), _jaccard(one[1], two[0])))


def _jaccard(one: str, two: str) -> float:
    mine, theirs = _bigrams(one), _bigrams(two)
    return len(mine & theirs) / len(mine | theirs)


def _bigrams(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(max(1, len(text) - 1))}
