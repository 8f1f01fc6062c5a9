"""The two laws of word frequencies, from a table alone: Zipf's and Heaps'."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from shoestring.count.table import FrequencyTable

POINTS = 40


def zipf(table: FrequencyTable) -> list[tuple[int, int]]:
    """Returns (rank, count) at ranks that are evenly spread on a logarithmic axis, first and last among them."""
    counts = sorted(table.counts.values(), reverse=True)
    ranks = sorted(
        {min(len(counts), round(math.exp(step / 200 * math.log(len(counts) or 1)))) for step in range(201)}
    )
    return [(rank, counts[rank - 1]) for rank in ranks if rank]


def heaps(table: FrequencyTable) -> list[tuple[int, float]]:
    """Returns (tokens, expected distinct words) of random samples of the corpus that the table counts.

    A word with f of N tokens is missed by a sample of n with probability C(N - f, n) / C(N, n) (Baayen 2001, 2.6).
    """
    total = table.total
    spectrum = Counter(table.counts.values())
    sizes = sorted({max(1, round(total ** (step / POINTS))) for step in range(POINTS + 1)})
    return [
        (size, sum(many * (1 - _missed(total, count, size)) for count, many in spectrum.items()))
        for size in sizes
    ]


def _missed(total: int, count: int, size: int) -> float:
    if size > total - count:
        return 0.0
    gamma = math.lgamma
    log = (
        gamma(total - count + 1)
        - gamma(total - count - size + 1)
        - gamma(total + 1)
        + gamma(total - size + 1)
    )
    return math.exp(min(0.0, log))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope in log-log coordinates: minus Zipf's exponent, or Heaps' exponent.

    >>> round(slope([(1, 10), (10, 100), (100, 1000)]), 3)
    1.0
    """
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0
