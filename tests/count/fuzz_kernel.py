"""Fuzzes the native kernel against jieba: `python tests/count/fuzz_kernel.py SECONDS [SEED]`; prints what differs.

Strings made to be cut wrongly, dictionaries with words that override, forced splits, broken UTF-8, broken tables.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import jieba as original
from jieba import finalseg

from count_corpus import jieba, jieba_words, odd_text
from shoestring.count import _kernel
from shoestring.count.cutting import dictionary
from shoestring.count.cutting.whole import keeping, unmatched


def main(seconds: float, seed: int) -> int:
    """Fuzzes for so many seconds; returns how many differences there were."""
    rng, end, rounds, strings, different = random.Random(seed), time.monotonic() + seconds, 0, 0, 0
    plain = dictionary.compiled()
    while time.monotonic() < end:
        texts = [odd_text(rng) for _ in range(200)]
        different += (
            cuts(plain, jieba(), texts)
            + counts(plain, texts[:50])
            + runs(plain, texts[:50])
            + bytes_of(plain, texts[:50], rng)
        )
        if rounds % 5 == 0:
            different += user_words(rng)
        rounds, strings = rounds + 1, strings + len(texts)
    print(f"seed {seed}: {strings:,} strings in {rounds:,} rounds, {different} differences")
    return different


def cuts(table, tokenizer, texts) -> int:
    """Differences between the kernel's tokens and jieba's."""
    different = 0
    for text in texts:
        for hmm in (True, False):
            if table.cut(text, hmm) != tokenizer.lcut(text, HMM=hmm):
                print("cut", hmm, repr(text))
                different += 1
    return different


def counts(table, texts) -> int:
    """Differences between the kernel's counts and jieba's, with document frequencies."""
    counter, wanted, inside = _kernel.Counter(table, True), Counter(), Counter()
    counter.feed_texts(texts, 1)
    for text in texts:
        tokens = jieba().lcut(text)
        wanted.update(tokens)
        inside.update(set(tokens))
    from shoestring.count.counting.columns import Columns

    found = {
        word: (count, documents) for word, count, documents in Columns(*counter.columns(False, 1, 0)).rows()
    }
    same = found == {word: (count, inside[word]) for word, count in wanted.items()}
    if not same:
        print("counts", texts)
    return not same


def runs(table, texts) -> int:
    """Differences between the kernel's runs of two and three words and those of jieba's tokens."""
    from shoestring.count.counting.batches import ngrams
    from shoestring.count.counting.columns import Columns

    grams, wanted = _kernel.Grams(table, False, 2, 3, True, ["的"]), Counter()
    grams.feed_texts(texts, 1)
    for text in texts:
        wanted.update(ngrams(jieba().lcut(text), (2, 3), frozenset({"的"})))
    found = [(word, count) for word, count, _ in Columns(*grams.columns(False, 1, 0)).rows()]
    if found != sorted(wanted.items()):
        print("runs", texts)
    return found != sorted(wanted.items())


def bytes_of(table, texts, rng) -> int:
    """Differences between the kernel's and Python's opinion on where UTF-8 breaks."""
    different = 0
    for text in texts:
        data = bytearray(text.encode())
        for _ in range(rng.randrange(3)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            bytes(data).decode("utf-8")
            wanted = -1
        except UnicodeDecodeError as error:
            wanted = error.start
        for mode in range(4):
            if (
                _kernel.Counter(table, rng.random() < 0.5).feed(bytes(data), mode, rng.random() < 0.5)
                != wanted
            ):
                print("bytes", mode, bytes(data))
                different += 1
    return different


def user_words(rng) -> int:
    """Differences with a random user dictionary."""
    finalseg.Force_Split_Words.clear()
    tokenizer, words = original.Tokenizer(), []
    for _ in range(rng.randrange(1, 300)):
        word = rng.choice(jieba_words()) if rng.random() < 0.5 else odd_text(rng)[:10].strip() or "好"
        words.append(dictionary.UserWord(word, rng.choice([-1, 0, 1, 7, 1000, 10**6, 2**53 + 1])))
        tokenizer.add_word(word, None if words[-1].frequency < 0 else words[-1].frequency)
    image = _kernel.build(
        dictionary.dict_path().read_bytes(),
        [(each.word, each.frequency) for each in words],
        dictionary._hmm(),
    )
    vocabulary = jieba_words()[:1000] + [each.word for each in words] * 10
    texts = [odd_text(rng, vocabulary) for _ in range(60)]
    different = cuts(_kernel.Table(image), tokenizer, texts)
    forced = sorted(finalseg.Force_Split_Words)
    again = _kernel.build_from(tokenizer.FREQ, tokenizer.total, forced, dictionary._hmm())
    different += cuts(_kernel.Table(again), tokenizer, texts) + whole(again, tokenizer, words, texts)
    finalseg.Force_Split_Words.clear()
    return different


def whole(image, tokenizer, words, texts) -> int:
    """Differences where words that jieba can never match are kept whole."""
    kept = unmatched(words)
    table, different = _kernel.Table(image, kept), 0
    wanted = keeping(tokenizer.lcut, kept)
    for text in texts:
        if table.cut(text, True) != wanted(text):
            print("whole", kept, repr(text))
            different += 1
    return different


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) > 0)
