"""The tokenizer: any text comes back, pieces keep to words, sizes are what was asked for."""

import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from shoestring._errors import InputError, OptionError
from shoestring.transformer.tokenizer import FIXED, KINDS, SPECIAL, count_words, train_tokenizer

TEXT = [
    "我们在北京大学读书，喜欢自然语言处理。",
    "我们喜欢读书，也喜欢北京的春天。",
    "北京大学的同学们喜欢2024年的春天！ Hello world, hello Beijing.",
] * 3


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return train_tokenizer(count_words(TEXT), FIXED + 45, request.param)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_every_text_comes_back(tokenizer, text):
    if any(token in text for token in SPECIAL):
        return
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_size_and_special_ids(tokenizer):
    assert len(tokenizer) == FIXED + 45
    assert tokenizer.convert_ids_to_tokens(range(5)) == SPECIAL
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.mask_token_id == 4


def test_pieces_never_cross_a_word(tokenizer):
    words = set(count_words(TEXT))
    for piece in tokenizer.get_vocab():
        if len(piece) > 1 and not piece.startswith("<"):
            assert any(piece in word for word in words), piece


def test_digits_stand_alone(tokenizer):
    assert tokenizer.tokenize("2024") == list("2024")


def test_frequent_words_are_whole(tokenizer):
    assert {"我们", "喜欢", "北京"} <= set(tokenizer.tokenize("我们喜欢北京"))


def test_frames_and_pairs(tokenizer):
    single = tokenizer("我们")["input_ids"]
    pair = tokenizer("我们", "北京")["input_ids"]
    assert (single[0], single[-1]) == (1, 2)
    assert pair.count(2) == 2


def test_unigram_probabilities_are_relative_frequencies():
    counts = Counter({"甲乙": 6, "丙": 3, "丁戊": 1})
    core = train_tokenizer(counts, FIXED + 7).backend_tokenizer
    vocab = dict(json.loads(core.to_str())["model"]["vocab"])
    assert vocab["甲乙"] == pytest.approx(math.log(6 / 10))
    assert vocab["丙"] == pytest.approx(math.log(3 / 10))
    assert vocab["甲"] == pytest.approx(math.log(0.5 / 10))  # never alone


def test_saved_folder_loads_by_auto_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXT, "𠮷野家😀\x00\n\t ok"):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert loaded.decode(loaded(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_do_not_fit(kind):
    counts = count_words(TEXT)
    with pytest.raises(OptionError, match="--vocab-size 5000: this corpus supports only"):
        train_tokenizer(counts, 5000, kind)
    with pytest.raises(OptionError, match="261 ids are special tokens and bytes"):
        train_tokenizer(counts, 200, kind)
    with pytest.raises(InputError, match="no text"):
        train_tokenizer({}, 1000, kind)
    with pytest.raises(OptionError, match="--model sentencepiece: unknown"):
        train_tokenizer(counts, 1000, "sentencepiece")


def test_the_size_that_the_message_names_works():
    counts = count_words(TEXT)
    with pytest.raises(OptionError) as error:
        train_tokenizer(counts, 5000)
    supported = int(str(error.value).split("only ")[1].split(";")[0])
    assert len(train_tokenizer(counts, supported)) == supported
