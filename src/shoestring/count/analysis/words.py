"""New words of a corpus: what hangs together more than chance and occurs in many surroundings.

1. Runs of 1 to 4 characters are counted exactly. A run is solid if its parts, however it is cut in two, occur
   together more often than apart: PMI = min over cuts of log(c(ab) N / (c(a) c(b))), at least a threshold by length.
2. The corpus is cut again: characters that some solid run covers together stay together (so words may be longer than
   four). What these pieces are, and which characters stand left and right of each, is counted.
3. A piece is a word if its own runs are solid (the back-check), its neighbours vary (left and right entropy) and it
   neither begins nor ends with a function word of one character: 都是 and 到了 are frequent, but no words.
4. The surest come first: PMI per joint, which does not grow with the length as PMI does, times the lesser entropy.
   What is letters and digits only is no find: jieba cuts it whole anyway.

Follows the word discovery of J. Su (2019) for 1 and 2, and Z. Huang et al. (2003) for the entropies. The list of
function words was made while looking at a newspaper; `benchmarks/count_new_words.py` judges it on other texts too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shoestring import files
from shoestring._errors import InputError, OptionError
from shoestring.count.counting import packed
from shoestring.count.counting.pipeline import Count
from shoestring.count.cutting import dictionary
from shoestring.count.job import Job

LONGEST = 12  # characters of a word; longer pieces are phrases
CHUNK = 1 << 18  # characters cut at a time
MEMORY = 128 << 20  # for counting runs; more is hardly faster
# Particles, prepositions, conjunctions, adverbs, pronouns and copulas that stand beside words, not in them.
FUNCTION = frozenset(
    "的了是在和也都就不有为这那与从对将把被及而但还又要到着过地得之其以于由向我你他她它让给很太更最另每各某已等"
)
EDGE = packed.SEPARATOR  # the neighbour at the end of a line


@dataclass(frozen=True)
class Thresholds:
    """When a run of characters is a word.

    Args:
        min_count: how often it occurs at least.
        min_pmi: least PMI, in nats, of runs of 2, 3 and 4 characters.
        min_entropy: least entropy of its left and of its right neighbours, in nats.

    Raises:
        OptionError: a value is out of range.
    """

    min_count: int = 32
    min_pmi: tuple[float, float, float] = (2.0, 4.0, 6.0)
    min_entropy: float = 1.0

    def __post_init__(self) -> None:
        numbers = (*self.min_pmi, self.min_entropy)
        if (
            self.min_count < 2
            or len(numbers) != 4
            or self.min_entropy < 0
            or not all(map(math.isfinite, numbers))
        ):
            raise OptionError(
                f"{self}: min_count is at least 2, min_pmi are three numbers, min_entropy is not negative"
            )


@dataclass(frozen=True)
class Word:
    """A word that was found.

    Args:
        word: it.
        count: how often the re-cut corpus has it.
        pmi: the least PMI of its runs of up to four characters, in nats.
        left: entropy of its left neighbours, in nats; the end of a line is one.
        right: entropy of its right neighbours.
    """

    word: str
    count: int
    pmi: float
    left: float
    right: float

    @property
    def sureness(self) -> float:
        """PMI for each place where two characters meet, times the lesser entropy."""
        return self.pmi / (len(self.word) - 1) * min(self.left, self.right)


def discover(
    sources: Sequence[str | Path] | str | Path, thresholds: Thresholds | None = None, job: Job | None = None,
    known: bool = False,
) -> list[Word]:  # fmt: skip
    """Finds the words of a corpus that jieba's dictionary does not have, the surest first.

    Args:
        sources: files, folders, patterns, addresses.
        thresholds: when a run is a word.
        job: how the corpus is read; its tokenizer is not used.
        known: also words that jieba's dictionary has.
    """
    thresholds = thresholds or Thresholds()
    job = replace(
        job or Job(memory=MEMORY),
        tokenizer="ngram",
        ngrams=(1, 4),
        min_count=thresholds.min_count,
        df=False,
        top=0,
    )
    solid = solid_runs(frequent_runs(sources, job), thresholds)
    if not solid:
        return []
    pieces, left, right = recut(sources, job, solid)
    likely = [word for word, count in pieces.items() if count >= thresholds.min_count and _may_be_new(word)]
    have = set() if known else in_dictionary(likely)
    found = []
    for word in likely:
        pmi = cohesion(word, solid)
        sides = entropy(left[word]), entropy(right[word])
        if word not in have and pmi is not None and min(sides) >= thresholds.min_entropy:
            found.append(Word(word, pieces[word], pmi, *sides))
    return sorted(found, key=lambda each: (-each.sureness, each.word))


def _may_be_new(word: str) -> bool:
    return len(word) > 1 and not word.isascii() and not FUNCTION & {word[0], word[-1]}


def frequent_runs(sources: Sequence[str | Path] | str | Path, job: Job) -> dict[str, int]:
    """Counts runs of 1 to 4 characters of Han, letters and digits that occur `job.min_count` times.

    `""` has how many such characters there are in all: rare ones are part of the total that PMI is relative to.
    """
    counting = Count(job, sources)
    for part in counting.parts:
        if part.path == "-" or ("://" not in part.path and not Path(part.path).is_file()):
            raise InputError(
                f"{part.path}: finding words reads the text twice, a pipe only once; put it into a file"
            )
    counts: dict[str, int] = {"": 0}
    try:
        counting.run()
        for keys, times, alphabet in counting.packed():
            in_words = np.append(False, np.array([_in_words(chr(code)) for code in alphabet], bool))
            ids = keys.view("<u2").reshape(-1, packed.WIDTH)  # the first character is the last of the four
            kept = (in_words[ids] | (ids == 0)).all(1)
            single = kept & ((keys & np.uint64(0xFFFF_FFFF_FFFF)) == 0)
            counts[""] += int(times[single].sum())
            kept &= times >= job.min_count
            for piece in packed.decode(keys[kept], times[kept], alphabet):
                counts.update((run, count) for run, count, _ in piece.rows())
    finally:
        counting.close()
    return counts


def _in_words(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fd5" or (character.isascii() and character.isalnum())


def solid_runs(counts: dict[str, int], thresholds: Thresholds) -> dict[str, float]:
    """Returns the runs of 2 to 4 characters whose parts hang together, with their PMI in nats."""
    total, solid = counts[""], {}
    for run, count in counts.items():
        if len(run) < 2:
            continue
        strongest = max(counts[run[:cut]] * counts[run[cut:]] for cut in range(1, len(run)))
        pmi = math.log(count * total / strongest)
        if pmi >= thresholds.min_pmi[len(run) - 2]:
            solid[run] = pmi
    return solid


def cohesion(word: str, solid: dict[str, float]) -> float | None:
    """The back-check: the least PMI of the word's runs of four (or its own, if shorter); None if one is not solid."""
    size = min(len(word), packed.WIDTH)
    runs = [solid.get(word[start : start + size]) for start in range(len(word) - size + 1)]
    return None if None in runs else min(run for run in runs if run is not None)


def entropy(neighbours: Counter[int]) -> float:
    """Entropy in nats of a count of neighbours.

    >>> round(entropy(Counter({1: 2, 2: 2})), 4)
    0.6931
    """
    total = sum(neighbours.values())
    return -sum(count / total * math.log(count / total) for count in neighbours.values())


Neighbours = dict[str, Counter[int]]


def recut(sources, job: Job, solid: dict[str, float]) -> tuple[Counter[str], Neighbours, Neighbours]:
    """Cuts the corpus where no solid run goes across; returns the pieces of up to LONGEST characters.

    Returns:
        How often each piece occurs, and the code points (EDGE at a line's end) left and right of each.
    """
    alphabet = np.unique(packed.codes_of_texts(["".join(solid)]))[:-1]
    keys = np.sort(np.array([packed.key_of(run, alphabet) for run in solid], np.uint64))
    pieces: Counter[str] = Counter()
    left: Neighbours = defaultdict(Counter)
    right: Neighbours = defaultdict(Counter)
    for codes in _chunks(sources, job):
        starts, ends = spans(codes, alphabet, keys)
        before = codes[starts - 1]
        after = codes[ends]
        width = np.zeros((len(starts), LONGEST), np.uint32)
        for place in range(LONGEST):
            inside = starts + place < ends
            width[inside, place] = codes[starts[inside] + place]
        words, index, counts = np.unique(
            width.view(f"<U{LONGEST}").ravel(), return_inverse=True, return_counts=True
        )
        names = words.tolist()
        pieces.update(dict(zip(names, counts.tolist(), strict=True)))
        for side, codes_beside in ((left, before), (right, after)):
            pairs, times = np.unique(
                index.astype(np.uint64) << np.uint64(21) | codes_beside, return_counts=True
            )
            for pair, count in zip(pairs.tolist(), times.tolist(), strict=True):
                side[names[pair >> 21]][pair & 0x1FFFFF] += count
    return pieces, left, right


def spans(codes: packed.Codes, alphabet: packed.Codes, solid: packed.Keys):
    """Where the pieces of 2 to LONGEST characters begin and end.

    Args:
        codes: code points, with a separator first and last.
        alphabet: of the solid runs.
        solid: their keys, sorted.
    """
    size = len(codes)
    padded = np.concatenate([codes, np.full(packed.WIDTH, EDGE, np.uint32)])
    ids = np.searchsorted(alphabet, padded).astype(np.uint64)
    ids = np.where(
        alphabet[np.minimum(ids, len(alphabet) - 1).astype(np.int64)] == padded, ids + 1, 0
    ).astype(np.uint64)
    joined = np.zeros(size + packed.WIDTH, np.int32)  # +1 where a run begins to join, -1 where it ends
    key = ids[:size] << np.uint64(48)
    alive = ids[:size] != 0
    for length in range(2, packed.WIDTH + 1):
        following = ids[length - 1 : length - 1 + size]
        alive &= following != 0
        key = key | following << np.uint64(64 - 16 * length)
        at = np.minimum(np.searchsorted(solid, key), len(solid) - 1)
        begins = np.flatnonzero(alive & (solid[at] == key))
        joined[begins] += 1
        joined[begins + length - 1] -= 1
    held = np.cumsum(joined)[:size] > 0  # with the following character
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] + 1
    short = ends - starts <= LONGEST
    return starts[short], ends[short]


def _chunks(sources, job: Job) -> Iterator[packed.Codes]:
    held, size = [], 0
    for text in files.documents(sources, job.reading):
        held.append(text)
        size += len(text)
        if size >= CHUNK:
            yield np.concatenate([[np.uint32(EDGE)], packed.codes_of_texts(held)])
            held, size = [], 0
    if held:
        yield np.concatenate([[np.uint32(EDGE)], packed.codes_of_texts(held)])


def in_dictionary(candidates: Iterable[str]) -> set[str]:
    """Returns those that jieba's dictionary has."""
    wanted = set(candidates)
    with open(dictionary.dict_path(), encoding="utf-8") as lines:
        return {word for line in lines if (word := line.split(" ", 1)[0]) in wanted}
