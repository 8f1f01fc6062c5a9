"""Runs of words: ids, sorted rows and ranks in the kernel give what a dict of joined tokens gives."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from count_corpus import jieba, rows, sentences
from shoestring.count import Job
from shoestring.count.counting.batches import ngrams
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.pipeline import Count

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None
ENGINES = ["kernel", "rjieba", "jieba"] if HAS_KERNEL else ["rjieba", "jieba"]
needs_kernel = pytest.mark.skipif(not HAS_KERNEL, reason="no C compiler")


def table(job: Job, *sources) -> list[tuple[str, int, int]]:
    counting = Count(job, sources)
    try:
        counting.run()
        return [row for piece in counting.pieces() for row in piece.rows()]
    finally:
        counting.close()


def by_hand(texts, lengths, stop=frozenset()) -> list[tuple[str, int, int]]:
    """The table of texts that are lists of tokens, by code point."""
    counts, documents = Counter(), Counter()
    for text in texts:
        runs = list(ngrams(text, lengths, stop))
        counts.update(runs)
        documents.update(set(runs))
    return sorted((run, count, documents[run]) for run, count in counts.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_word_ngrams(engine, corpus, tmp_path):
    stop = tmp_path / "stop.txt"
    stop.write_text("的\t\n， \r\n  酒店\n \n", encoding="utf-8")  # blanks around a word are none of it
    some = corpus.with_name("some.txt")
    some.write_text("\n".join(sentences(300)), encoding="utf-8")
    left_out = {"的", "，", "酒店", " "}
    per_text = [
        [" ".join(kept[at : at + length]) for length in (1, 2, 3) for at in range(len(kept) - length + 1)]
        for text in sentences(300)
        for kept in [[token for token in jieba().cut(text) if token not in left_out]]
    ]
    wanted = Counter(run for runs in per_text for run in runs)
    inside = Counter(run for runs in per_text for run in set(runs))
    job = Job(engine=engine, ngrams=(1, 3), workers=2, df=True, stopwords=str(stop), part_bytes=9_000)
    for memory in (1 << 20, 1 << 30):
        found = table(replace(job, memory=memory), some)
        assert found == [(run, count, inside[run]) for run, count in rows(wanted)]


WORDS = ["a", "b", "ab", "a\x01", "a\x01\x02", "a\x1f", "\x00", "b\x00", "字", "字\x01", "𠀀"]


@needs_kernel
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=9), max_size=8),
    st.integers(1, 4),
    st.sets(st.sampled_from(WORDS), max_size=2),
    st.data(),
)
def test_kernel_runs_of_words_equal_a_dict(texts, longest, stop, data):
    from shoestring.count import _kernel

    shortest, joint = data.draw(st.integers(1, longest)), data.draw(st.sampled_from([" ", ""]))
    cut, by_count = data.draw(st.integers(0, len(texts))), data.draw(st.booleans())
    lines = [" ".join(text) if joint else "".join(text) for text in texts]
    halves = [_kernel.Grams(None, True, shortest, longest, joint == " ", sorted(stop)) for _ in range(2)]
    mode = 3 if joint else 2
    halves[0].feed_texts(lines[:cut], mode)
    assert halves[1].feed("\r\n".join(lines[cut:]).encode(), mode, True) == -1
    halves[0].merge(halves[1])
    counts, documents = Counter(), Counter()
    for line in lines:
        kept = [token for token in (line.split() if joint else line) if token not in stop]
        runs = list(ngrams(kept, (shortest, longest), joint=joint))
        counts.update(runs)
        documents.update(set(runs))
    wanted = rows(counts) if by_count else sorted(counts.items())
    assert halves[0].tokens() == counts.total()
    found = Columns(*halves[0].columns(by_count, 1, 0)).rows()
    assert list(found) == [(run, count, documents[run]) for run, count in wanted]


def many(seed: int, tokens: int, longest: int) -> list[list[str]]:
    """Texts of up to 90,000 different words, some frequent; one text is longer than what is sorted at a time."""
    rng, texts = random.Random(seed), []
    while tokens > 0:
        size = min(tokens, longest if len(texts) == 9 else rng.choice([0, 1, 2, 30, 3000]))
        draw = [rng.randrange(90_000 if rng.random() < 0.25 else 500) for _ in range(size)]
        texts.append([f"w{each}" for each in draw])
        tokens -= size or 1
    return texts


@needs_kernel
@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize(("lengths", "tokens"), [((2, 2), 900_000), ((3, 4), 250_000)])
def test_kernel_runs_are_exact_when_they_are_sorted_and_merged_many_times(lengths, tokens, documents):
    from shoestring.count import _kernel

    texts = many(tokens, tokens, tokens * 2 // 3)
    workers = [_kernel.Grams(None, documents, *lengths, True, []) for _ in range(3)]
    for index, text in enumerate(texts):
        workers[index % 3].feed_texts([" ".join(text)], 3)
    for worker in workers[1:]:
        workers[0].merge(worker)
    wanted = by_hand(texts, lengths)
    assert workers[0].tokens() == sum(count for _, count, _ in wanted)
    found = list(Columns(*workers[0].columns(False, 1, 0)).rows())
    assert found == (wanted if documents else [(run, count, 0) for run, count, _ in wanted])


def test_ngrams_of_tokens():
    assert list(ngrams(["a", "the", "b"], (1, 2), frozenset({"the"}))) == ["a", "b", "a b"]
