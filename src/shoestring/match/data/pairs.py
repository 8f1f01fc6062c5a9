"""Labelled pairs of texts: read from the files that the Chinese sets are published as, or any table.

- ATEC, BQ, LCQMC, PAWS-X and STS-B in all their forms: `text TAB text TAB label`, with or without an id before it
  or a header above it, commas, `||`, JSON lines. `check` tells whether a file has its published number of lines.
- The sets themselves are never shipped: most are for academic use only.
- Labels are numbers, or words: true/false, yes/no, 是/否, entailment/neutral/contradiction (2, 1, 0).
- Graded labels become yes and no at a cut, by default the middle of the range (2.5 for STS-B, as is usual).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from shoestring._errors import InputError, OptionError
from shoestring.files.tables import Column, is_number, read_table

FIRST = (
    "sentence1", "sentence_1", "sent1", "text1", "text_1", "text_a", "sentence_a", "texta", "question1", "q1", "query",
    "query1", "s1", "#1 string", "anchor", "premise", "句子1", "文本1", "问题1", "句子一", "文本一",
)  # fmt: skip
SECOND = (
    "sentence2", "sentence_2", "sent2", "text2", "text_2", "text_b", "sentence_b", "textb", "question2", "q2",
    "query2", "s2", "#2 string", "title", "passage", "positive", "hypothesis", "句子2", "文本2", "问题2", "句子二",
    "文本二",
)  # fmt: skip
LABEL = (
    "label", "gold_label", "score", "labels", "is_duplicate", "is_match", "similarity", "quality", "标签", "標籤",
    "分数", "相似度", "是否相似", "是否相同",
)  # fmt: skip
WORDS = {  # labels in words: kind -> word -> number; the larger, the more alike
    "yes or no": {
        **dict.fromkeys(["true", "yes", "y", "是", "对", "相似", "相同", "匹配", "同义"], 1),
        **dict.fromkeys(["false", "no", "n", "否", "错", "不相似", "不同", "不匹配", "不同义"], 0),
    },
    "entailment": {"entailment": 2, "neutral": 1, "contradiction": 0, "蕴含": 2, "中立": 1, "矛盾": 0},
}
PUBLISHED = {  # lines of the files as published, and the pairs labelled 1 among them
    "ATEC.valid": (20000, 3688), "ATEC.test": (20000, 3610), "BQ.valid": (10000, 5000), "BQ.test": (10000, 5000),
    "LCQMC.valid": (8802, 4402), "LCQMC.test": (12500, 6250), "PAWSX.valid": (2000, 853),
    "PAWSX.test": (2000, 894), "STS-B.train": (5231, None), "STS-B.valid": (1458, None),
    "STS-B.test": (1361, None),
}  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts and their labels.

    Args:
        first: n texts.
        second: n texts.
        labels: (n,) numbers; the larger, the more alike.
        name: where they are from.
        skipped: rows that were left out, by reason.
    """

    first: Sequence[str]
    second: Sequence[str]
    labels: np.ndarray
    name: str = "pairs"
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if not len(self.first) == len(self.second) == len(self.labels):
            raise InputError(
                f"{self.name}: {len(self.first):,} and {len(self.second):,} texts, {len(self.labels):,} labels: "
                "each pair needs two texts and a label"
            )

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.first, self.second, strict=True)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The different labels, smallest first."""
        return tuple(np.unique(self.labels).tolist())

    @property
    def middle(self) -> float:
        """Half-way between the smallest and the largest label."""
        return (self.levels[0] + self.levels[-1]) / 2

    def binary(self, above: float | None = None) -> np.ndarray:
        """Returns (n,) of 0 and 1: which labels are above a cut.

        Args:
            above: None takes the middle of the labels' range.

        Raises:
            InputError: all pairs are on one side.
        """
        cut = self.middle if above is None else above
        truth = (self.labels > cut).astype(np.int64)
        if truth.min() == truth.max():
            side = "above" if truth[0] else "not above"
            raise InputError(
                f"{self.name}: all {len(self):,} labels are {side} {cut:g}: both kinds are needed"
            )
        return truth

    def require_scale(self, low: float, high: float) -> None:
        """Refuses labels on another scale, where a cut between `low` and `high` would mean something else.

        Raises:
            OptionError: a label is outside.
        """
        if self.levels[0] < low or self.levels[-1] > high:
            raise OptionError(
                f"{self.name}: labels from {self.levels[0]:g} to {self.levels[-1]:g}, but the threshold is chosen on "
                f"labels from {low:g} to {high:g}; say above which label a pair matches: --above {self.middle:g}"
            )

    def take(self, places: Sequence[int] | np.ndarray) -> Pairs:
        """Returns the pairs at these places."""
        rows = [(self.first[place], self.second[place]) for place in places]
        first, second = zip(*rows, strict=True) if rows else ((), ())
        return replace(self, first=first, second=second, labels=self.labels[places], skipped=Counter())

    def split(self, share: float, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Returns the pairs in two parts at random; the second has this share of them.

        Pairs that have a text in common stay together, so that nothing leaks from one part into the other.
        """
        if not 0 < share < 1:
            raise OptionError(f"share {share}: must be above 0 and below 1")
        groups = _groups(self)
        order = np.random.default_rng(seed).permutation(groups.max() + 1)
        sizes = np.bincount(groups)[order].cumsum()
        second = np.isin(groups, order[sizes <= max(sizes[0], share * len(self))])
        return self.take(np.flatnonzero(~second)), self.take(np.flatnonzero(second))

    def parts(self, count: int, seed: int = 0) -> np.ndarray:
        """Returns (n,) numbers from 0 to `count` - 1: parts of about the same size that share no text."""
        groups = _groups(self)
        order = np.random.default_rng(seed).permutation(groups.max() + 1)
        sizes = np.bincount(groups)[order].cumsum()
        part = np.empty(len(order), np.int64)
        part[order] = np.minimum(count - 1, (sizes - 1) * count // len(self))
        return part[groups]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all texts and labels, in order."""
        digest = hashlib.sha256()
        for (first, second), label in zip(self, self.labels.tolist(), strict=True):
            digest.update(f"{first}\t{second}\t{label:g}\n".encode(errors="surrogatepass"))
        return digest.hexdigest()

    def check(self) -> str | None:
        """Returns what is wrong if this is a published file that is not whole, else None.

        >>> Pairs(["甲"], ["乙"], np.ones(1), "LCQMC.valid.data").check()
        'LCQMC.valid.data: 1 pairs, 1 of them labelled 1; as published 8,802 and 4,402'
        """
        stem = Path(self.name).name.removesuffix(".data").removesuffix(".txt")
        lines, positives = PUBLISHED.get(stem, (None, None))
        found = int((self.labels == 1).sum()) if positives is not None else None
        if lines is None or (len(self), found) == (lines, positives):
            return None
        if positives is None:
            return f"{Path(self.name).name}: {len(self):,} pairs; as published {lines:,}"
        return (
            f"{Path(self.name).name}: {len(self):,} pairs, {found:,} of them labelled 1; "
            f"as published {lines:,} and {positives:,}"
        )


def read_pairs(
    source: str | Path,
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    skip_bad: bool = False,
) -> Pairs:
    """Reads labelled pairs.

    Args:
        source: .tsv, .csv, .data, .txt, .jsonl or .parquet (also compressed), a folder saved by `datasets`, or
            `hf:NAME[:SPLIT]`.
        first: column of the first text; None looks for the usual names or places.
        second: of the second.
        label: of the label.
        skip_bad: leave out pairs with an empty text or no number for a label, and count them.

    Raises:
        InputError: nothing to read, or a bad row; the line is named.
    """
    columns = (
        Column(first, FIRST, -3, "--first", alone=True),
        Column(second, SECOND, -2, "--second", alone=True),
        Column(label, LABEL, -1, "--label", _is_label, alone=True),
    )
    firsts, seconds, labels, kinds = [], [], [], {}
    skipped: Counter[str] = Counter()
    for line, (*texts, value) in read_table(
        source,
        columns,
        skipped if skip_bad else None,
        remedy="mend it, or leave such rows out with --skip-bad",
    ):
        (one, two), (kind, number) = map(_cleaned, texts), _label(value)
        if one and two and number is not None:
            firsts.append(one)
            seconds.append(two)
            labels.append(number)
            kinds.setdefault(kind, (line, value))
            _refuse_mixture(source, kinds)
            continue
        why = "empty text" if not (one and two) else "no label"
        if not skip_bad:
            what = (
                why
                if not (one and two)
                else f"label {value!r} is no number and none of {', '.join(_words())}"
            )
            raise InputError(
                f"{source}: line {line:,}: {what}; mend it, or leave such rows out with --skip-bad"
            )
        skipped[why] += 1
    if not labels:
        raise InputError(f"{source}: no pairs; each row needs two texts and a number")
    return Pairs(firsts, seconds, np.array(labels, float), str(source), skipped)


def read_texts(
    source: str | Path, first: str | None = None, second: str | None = None
) -> list[tuple[str, str]]:
    """Reads pairs without labels; a table without a header has them in its first two columns.

    Raises:
        InputError: nothing to read, or an empty text; the line is named.
    """
    columns = (
        Column(first, FIRST, 0, "--first", alone=True),
        Column(second, SECOND, 1, "--second", alone=True),
    )
    out = []
    for line, cells in read_table(source, columns):
        one, two = map(_cleaned, cells)
        if not (one and two):
            raise InputError(f"{source}: line {line:,}: empty text")
        out.append((one, two))
    if not out:
        raise InputError(f"{source}: no pairs; each row needs two texts")
    return out


def _cleaned(text: object) -> str:
    return text.strip("\ufeff \t\r\n\u3000") if isinstance(text, str) else ""


def _label(value: object) -> tuple[str, float | None]:
    """Returns the kind of a label and its number, None if it is none."""
    if isinstance(value, bool):
        return "yes or no", float(value)
    word = value.strip().casefold() if isinstance(value, str) else ""
    for kind, words in WORDS.items():
        if word in words:
            return kind, float(words[word])
    number = float(value) if isinstance(value, str | int | float) and is_number(value) else float("nan")
    return "number", number if np.isfinite(number) else None


def _is_label(cell: str) -> bool:
    return is_number(cell) or any(cell.casefold() in words for words in WORDS.values())


def _words() -> list[str]:
    return [word for words in WORDS.values() for word in words]


def _refuse_mixture(source: str | Path, kinds: dict[str, tuple[int, object]]) -> None:
    if len(kinds) > 1:
        (_, (line, value)), (_, (other, odd)) = kinds.items()
        raise InputError(
            f"{source}: line {other:,}: label {odd!r} beside {value!r} in line {line:,}: two kinds of labels; use one"
        )


def _groups(pairs: Pairs) -> np.ndarray:
    """Numbers the connected components of texts that occur in one pair, by pair."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while (above := parent.setdefault(text, text)) != text:
            parent[text] = parent[above]
            text = above
        return text

    for one, two in pairs:
        parent[root(one)] = root(two)
    return np.unique([root(one) for one, _ in pairs], return_inverse=True)[1]
