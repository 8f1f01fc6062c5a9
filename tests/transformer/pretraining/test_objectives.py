"""Packing, masking and order: what a training run reads is a pure function of (seed, position)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring._errors import InputError, OptionError
from shoestring.transformer.pretraining.objectives import (
    IGNORED,
    Examples,
    Masking,
    held_out,
    mask_words,
    split_documents,
)
from shoestring.transformer.pretraining.packing import DOCUMENT, WORD, Blocks, pack
from shoestring.transformer.tokenizer import FIXED, count_words, train_tokenizer

TEXT = ["我们喜欢读书。", "北京的春天来了，同学们在北京大学读书，喜欢自然语言处理。", "𠮷野家", "好"]
laws = settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(count_words(TEXT * 3), FIXED + 25)


def blocks_of(tokens, length=8):
    tokens = np.array(tokens, np.uint32)
    return Blocks(tokens, (WORD + DOCUMENT * (tokens == 1)).astype(np.uint8), length)


def test_packing_is_the_documents_framed(tokenizer, tmp_path):
    blocks = pack(TEXT * 5, tokenizer, (1, 2), tmp_path, length=8)
    expected = [
        id for text in TEXT * 5 for id in (1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2)
    ]
    assert blocks.tokens.tolist() == expected
    assert len(blocks) == len(expected) // 8
    assert (
        np.concatenate([blocks.tokens_of(i) for i in range(len(blocks))]).tolist()
        == expected[: len(blocks) * 8]
    )


def test_words_begin_where_the_segmenter_says(tokenizer, tmp_path):
    import rjieba

    blocks = pack(TEXT * 2, tokenizer, (1, 2), tmp_path, length=4, words=True)
    tokens, begins = blocks.tokens.tolist(), (blocks.begins & WORD).tolist()
    place = 0
    for text in TEXT * 2:
        row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        starts = np.cumsum([0, *map(len, rjieba.cut(text))]).tolist()
        assert begins[place] == 1  # <s>
        seen = set()
        for offset, (start, _) in enumerate(row["offset_mapping"], start=place + 1):
            assert begins[offset] == (start in starts and start not in seen), (text, offset)
            seen.add(start)
        place += len(row["input_ids"]) + 1
        assert (tokens[place], begins[place]) == (2, 1)  # </s>
        place += 1


def test_documents_are_told_apart():
    blocks = blocks_of([7, 2, 1, 8, 9, 2, 1, 5])
    assert blocks.documents_of(0).tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


def test_too_small_a_corpus(tokenizer, tmp_path):
    with pytest.raises(InputError, match="too small to train on sequences of 512, which need 1024"):
        pack(TEXT, tokenizer, (1, 2), tmp_path, length=512)


@laws
@given(st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_whole_words_are_asked_for(position, seed):
    random = np.random.default_rng((seed, position))
    words = np.cumsum(random.random(64) < 0.5)
    tokens = random.integers(0, 90, 64)
    masking = Masking(4, np.arange(50, 90), np.arange(5), rate=0.3)
    inputs, labels = mask_words(tokens, words, masking, random)
    asked = labels != IGNORED
    assert (labels[asked] == tokens[asked]).all()
    assert (inputs[~asked] == tokens[~asked]).all()
    assert not asked[tokens < 5].any()
    for word in np.unique(words[asked]):  # all of a word or nothing, special tokens apart
        assert asked[(words == word) & (tokens >= 5)].all()
    assert asked.any() == (tokens >= 5).any()


def test_masking_rates():
    random = np.random.default_rng(0)
    tokens = np.full(200_000, 60)
    inputs, labels = mask_words(
        tokens, np.arange(200_000), Masking(4, np.arange(50, 90), np.arange(5)), random
    )
    asked = labels != IGNORED
    assert asked.mean() == pytest.approx(0.15, abs=0.005)
    assert (inputs[asked] == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (inputs[asked] == 60).mean() == pytest.approx(0.1 + 0.1 / 40, abs=0.01)


def test_masking_rate_is_checked():
    with pytest.raises(OptionError, match=r"masking rate 1.5"):
        Masking(4, np.arange(50, 90), np.arange(5), rate=1.5)


@laws
@given(st.integers(2, 20), st.integers(0, 2**31), st.integers(0, 100))
def test_examples_are_a_pure_function_of_seed_and_position(count, seed, position):
    blocks = blocks_of(np.arange(5, 5 + 8 * count) % 80 + 5)
    masking = Masking(4, np.arange(5, 85), np.arange(5))
    one, other = (Examples(blocks, np.arange(count), 1000, seed, masking) for _ in range(2))
    _ = [other[k] for k in (3, 17, 0)]  # what was read before does not matter
    assert all(torch.equal(one[position][name], other[position][name]) for name in one[position])


def test_each_epoch_reads_every_block_once_in_a_new_order():
    blocks = blocks_of(np.arange(5, 5 + 8 * 10))
    examples = Examples(blocks, np.arange(10), 30, seed=1)
    firsts = [[int(examples[epoch * 10 + k]["input_ids"][0]) for k in range(10)] for epoch in range(3)]
    assert all(sorted(order) == list(range(5, 85, 8)) for order in firsts)
    assert firsts[0] != firsts[1] != firsts[2]


def test_next_token_objective_asks_no_document_for_the_next_one():
    blocks = blocks_of([1, 6, 7, 2, 1, 8, 9, 2])
    example = Examples(blocks, np.arange(1), 1, seed=0)[0]
    assert example["labels"].tolist() == [IGNORED, 6, 7, 2, IGNORED, 8, 9, 2]
    assert example["document_ids"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


@laws
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**31))
def test_every_document_is_split_into_source_and_target(lengths, seed):
    documents = np.repeat(np.arange(len(lengths)), lengths)
    types = split_documents(documents, np.random.default_rng(seed))
    for index, length in enumerate(lengths):
        mine = types[documents == index]
        assert mine[0] == 0
        assert (np.diff(mine) >= 0).all()
        assert mine[-1] == (length > 1)


def test_all_splits_are_equally_likely():
    random, documents = np.random.default_rng(0), np.repeat([0, 1], [5, 3])
    sources = [5 - split_documents(documents, random)[:5].sum() for _ in range(4000)]
    assert np.bincount(sources)[1:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_unilm_objective_asks_for_the_target_alone():
    example = Examples(blocks_of([1, 6, 7, 2, 1, 8, 9, 2]), np.arange(1), 1, seed=0, split=True)[0]
    types, labels = example["token_type_ids"], example["labels"]
    assert ((labels != IGNORED) == (types == 1)).all()
    assert (labels == example["input_ids"])[types == 1].all()
    assert types[0] == types[4] == 0


@laws
@given(st.integers(2, 5000))
def test_held_out_blocks_are_apart(total):
    train, out = held_out(total)
    assert sorted([*train, *out]) == list(range(total))
    assert 1 <= len(out) <= 64
