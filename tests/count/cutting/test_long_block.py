"""A block without punctuation is cut as jieba cuts it, however long it is, and its memory does not grow with it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec

import jieba as original
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from count_corpus import jieba, sentences
from shoestring.count.counting.batches import ngrams
from shoestring.count.counting.columns import Columns
from shoestring.count.cutting import dictionary
from shoestring.count.cutting.dictionary import UserWord
from shoestring.count.cutting.tokenizers import repaired_rjieba
from shoestring.count.cutting.whole import SPLIT_AT

needs_kernel = pytest.mark.skipif(
    find_spec("shoestring.count._kernel") is None, reason="the native kernel is not built here"
)
CHUNK = 2048  # characters of the kernel's window


def section(rng: random.Random) -> str:
    """Text without punctuation, or a run of letters, numbers, rare Han or one word over and over."""
    kind, length = rng.randrange(6), rng.choice([1, 9, 90, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
    if kind < 2:
        return SPLIT_AT.sub("", "".join(rng.choices(sentences(), k=1 + length // 40)))
    if kind == 2:
        return "".join(rng.choices("ACGTacgt0123456789", k=length))
    if kind == 3:
        return "".join(rng.choices("01.%+-#&_a", k=length))
    if kind == 4:
        return "".join(chr(rng.randrange(0x9A00, 0x9FD6)) for _ in range(length))
    return rng.choice(["哈", "中国", "人民银行", "的", "魑魅魍魉"]) * (length // 2)


def block(seed: int) -> str:
    """A block of more than two windows, and sometimes ends of lines or of sentences about it."""
    rng, pieces = random.Random(seed), [""]
    while sum(map(len, pieces)) <= 2 * CHUNK:
        pieces.append(section(rng))
    return (
        rng.choice(["", "", "。", "\r", "北京，"])
        + "".join(pieces)
        + rng.choice(["", "", "，好", "\r\n", "\r"])
    )


@needs_kernel
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_kernel_equals_jieba_on_long_blocks(seed, hmm):
    text, table = block(seed), dictionary.compiled()
    assert table.cut(text, hmm) == jieba().lcut(text, HMM=hmm)


@needs_kernel
@pytest.mark.parametrize("length", range(2 * CHUNK - 2, 2 * CHUNK + 3))
def test_a_block_may_end_where_a_chunk_does(length):
    for after in ("", "\r\n", "\r", "，", "\r\n\r\n"):
        text = "哈" * length + after + "好"
        assert dictionary.compiled().cut(text, True) == jieba().lcut(text)


@needs_kernel
@pytest.mark.parametrize("seed", range(4))
def test_counts_and_runs_of_long_blocks_are_those_of_their_tokens(seed):
    from shoestring.count import _kernel

    texts, table = [block(10 * seed + each) for each in range(3)], dictionary.compiled()
    tokens = [table.cut(text, True) for text in texts]
    for documents in (False, True):
        counter, grams = _kernel.Counter(table, documents), _kernel.Grams(table, documents, 1, 3, True, [])
        counter.feed_texts(texts, 1)
        grams.feed_texts(texts, 1)
        for found, wanted in ((counter, tokens), (grams, [list(ngrams(each, (1, 3))) for each in tokens])):
            counts = Counter(token for each in wanted for token in each)
            inside = Counter(token for each in wanted for token in set(each)) if documents else Counter()
            assert list(Columns(*found.columns(False, 1, 0)).rows()) == [
                (word, counts[word], inside[word]) for word in sorted(counts)
            ]


@needs_kernel
@pytest.mark.parametrize("hmm", [True, False])
def test_a_word_that_is_longer_than_a_window_is_found_in_a_long_block(hmm):
    text = SPLIT_AT.sub("", "".join(sentences()))
    words = [
        UserWord(text[500 : 500 + length], frequency)
        for length, frequency in ((3000, 3), (CHUNK, -1), (3, 0))
    ]
    theirs = original.Tokenizer()
    for word in words:
        theirs.add_word(word.word, None if word.frequency < 0 else word.frequency)
    text = text[:9000] + words[1].word
    assert dictionary.compiled(words).cut(text, hmm) == theirs.lcut(text, HMM=hmm)


@pytest.mark.parametrize("hmm", [True, False])
def test_rjieba_repaired_equals_jieba_on_long_blocks(hmm):
    pytest.importorskip("rjieba")
    repaired = repaired_rjieba(hmm)
    for seed in range(4):
        text = block(seed)
        assert list(repaired(text)) == jieba().lcut(text, HMM=hmm)


COUNTED = """
import resource, sys
from shoestring.count import _kernel
from shoestring.count.cutting import dictionary
counter, text = _kernel.Counter(dictionary.compiled(), False), open(sys.argv[1], "rb").read()
counter.feed(text[:30000], 1, True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counter.feed(text, 1, True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(text))
"""


@needs_kernel
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_the_memory_of_a_long_block_is_less_than_that_of_its_text(tmp_path):
    rng, words = random.Random(0), SPLIT_AT.sub("", "".join(sentences()))
    rare = "".join(chr(rng.randrange(0x9A00, 0x9FD6)) for _ in range(1 << 20))
    (tmp_path / "a.txt").write_text("。".join([words * 10, rare, rare + words * 10]), encoding="utf-8")
    command = [sys.executable, "-c", COUNTED, str(tmp_path / "a.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.8  # it was 18
