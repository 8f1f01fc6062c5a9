"""Kept tokens: a smaller vocabulary reads a text of kept tokens as the whole one did, and the model says the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, PreTrainedTokenizerFast

from shoestring._errors import InputError, OptionError
from shoestring.cli import main
from shoestring.transformer import convert, from_checkpoint, train_tokenizer
from shoestring.transformer.checkpoints.vocabulary import completed, pruned, reachable, used_by
from shoestring.transformer.tokenizer import FIXED, count_words

TEXT = [
    "我们喜欢读书。",
    "北京的春天来了，同学们在北京大学读书，喜欢自然语言处理。",
    "Reading books, reading!",
    "好",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDPIECE = [
    *SPECIAL,
    *"我们喜欢读书北京的春天来了同学在大自然语言处理好。，,!",
    "read",
    "##ing",
    "book",
    "##s",
    "##书",
    "r",
    "##,",
    "b",
]


def wordpiece():
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(WORDPIECE)})


def bytes_bpe():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT * 3,
        trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"]),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


TOKENIZERS = {
    "wordpiece": wordpiece,
    "unigram": lambda: train_tokenizer(count_words(TEXT * 3), FIXED + 30),
    "bpe": lambda: train_tokenizer(count_words(TEXT * 3), FIXED + 45, "bpe"),
    "byte-level bpe": bytes_bpe,
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(chosen=st.lists(st.sampled_from(TEXT), min_size=1, max_size=3), order=st.randoms())
def test_a_text_of_kept_tokens_is_cut_as_before(name, chosen, order):
    whole = TOKENIZERS[name]()
    keep = completed(whole, used_by(whole, chosen))
    order.shuffle(keep)
    small = pruned(whole, keep)
    assert len(small) == len(keep)
    for text in chosen:
        before, after = whole(text)["input_ids"], small(text)["input_ids"]
        assert [keep[index] for index in after] == before
        assert small.decode(after) == whole.decode(before)
    assert small.pad_token == whole.pad_token


def test_what_no_text_can_have_is_dropped_and_nothing_changes():
    whole = wordpiece()
    kept = {WORDPIECE[index] for index in reachable(whole)}
    assert set(WORDPIECE) - kept == {"##书", "##,"}
    small = pruned(whole, reachable(whole))
    for text in [*TEXT, "readings 书书 ,, books"]:
        assert small.tokenize(text) == whole.tokenize(text)
    with pytest.raises(InputError, match="a Unigram tokenizer"):
        reachable(TOKENIZERS["unigram"]())


@pytest.fixture
def bert(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=len(WORDPIECE), **sizes))
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(tmp_path / "bert")
    wordpiece().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_logits_of_kept_tokens_are_those_of_the_whole_model(bert):
    whole = from_checkpoint(bert)
    keep = completed(whole.tokenizer, used_by(whole.tokenizer, TEXT[:1]))
    small = from_checkpoint(bert, keep_tokens=keep)
    assert small.model.config.vocab_size == len(small.tokenizer) == len(keep)
    inputs = [done.tokenizer(TEXT[0], return_tensors="pt") for done in (whole, small)]
    with torch.no_grad():
        before, after = whole.model(**inputs[0]).logits[..., keep], small.model(**inputs[1]).logits
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)


def test_the_command_keeps_what_a_corpus_uses(bert, tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text(TEXT[0], "utf-8")
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "convert",
                str(bert),
                "-o",
                str(tmp_path / "small"),
                "--keep",
                str(tmp_path / "corpus.txt"),
                "-q",
            ]
        )
    assert stop.value.code == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["largest", "difference", "-"] in shown
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert tokenizer.tokenize(TEXT[0]) == wordpiece().tokenize(TEXT[0])
    assert len(tokenizer) == AutoModelForMaskedLM.from_pretrained(tmp_path / "small").config.vocab_size == 12


def test_special_tokens_must_be_kept(bert):
    with pytest.raises(OptionError, match=r"the special token \[MASK\] \(id 4\) must be kept"):
        from_checkpoint(bert, keep_tokens=[0, 1, 2, 3, 7])


def test_no_tokenizer_no_kept_tokens(bert, tmp_path, capsys):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).unlink()
    (tmp_path / "corpus.txt").write_text(TEXT[0], "utf-8")
    with pytest.raises(SystemExit):
        main(["convert", str(bert), "-o", str(tmp_path / "small"), "--keep", str(tmp_path / "corpus.txt")])
    assert "has no tokenizer, so no tokens can be kept" in capsys.readouterr().err
    assert convert(bert, tmp_path / "whole").tokenizer is None
