"""Special tokens are decided once: the layouts by which servers of others begin a text twice or never end it.

Llama 3's tokenizer puts its begin before every text, and its chat template writes it too; BERT's, with which the common
Chinese GPT-2 are read, puts [SEP] behind a text that is to be continued; generation_config.json may name several ends.
"""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from shoestring.lm.engines.load import load
from shoestring.lm.engines.texts import Texts
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve import conversation
from shoestring.lm.serve.schema.bodies import ChatBody

LLAMA3 = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m.role + '<|end_header_id|>"
    "\n\n' + m.content + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我们去北京吧", "cat", "##s"]


def llama3():
    special = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: id for id, token in enumerate([*letters, *special])}
    backend = Tokenizer(models.BPE(words, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", words["<|begin_of_text|>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>",
        extra_special_tokens=special[1:4], chat_template=LLAMA3,
    )  # fmt: skip


def saved(folder, tokenizer, **settings):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=64,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    return load(folder, device="cpu")


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "vocab.txt").write_text("\n".join(BERT), "utf-8")
    return saved(folder, BertTokenizer(str(folder / "vocab.txt")), eos_token_id=[6, 9])


def test_a_conversation_of_llama_3_begins_once(tmp_path):
    engine = saved(tmp_path, llama3(), eos_token_id=5)
    begin = engine.tokenizer.bos_token_id
    body = ChatBody.model_validate({"messages": [{"role": "user", "content": "hi"}]})
    prompt, _ = conversation.opened(engine, body)
    wanted = engine.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=False
    )
    assert prompt == wanted
    assert (prompt.count(begin), engine.texts.encode("hi").count(begin)) == (1, 1)


def test_a_text_of_berts_tokenizer_is_not_ended_before_it_goes_on(chinese):
    ids = chinese.texts.encode("今天天气")
    assert [chinese.tokenizer.convert_ids_to_tokens(id) for id in ids] == ["[CLS]", *"今天天气"]
    assert chinese.texts.decode(ids) == "今天天气"
    assert BERT.index("[SEP]") in chinese.texts.ends


@pytest.mark.parametrize("end", [6, 9, BERT.index("[SEP]")])
def test_each_of_several_ends_ends_a_text(chinese, end):
    settings = Sampling(temperature=0, max_tokens=5, logit_bias=((end, 100.0),))
    (sample,) = generate(chinese, ["今天"], settings)[0]
    assert (sample.text, sample.finish) == ("", "stop")


def test_no_end_that_nobody_named(chinese):
    settings = Sampling(temperature=0, max_tokens=5, logit_bias=((7, 100.0),))
    (sample,) = generate(chinese, ["今天"], settings)[0]
    assert (sample.text, sample.finish) == (BERT[7] * 5, "length")


def test_texts_know_the_begin_and_the_end_that_a_tokenizer_adds():
    texts = Texts(llama3(), [3])
    assert (texts.before, texts.after) == ([texts.tokenizer.bos_token_id], [])
    assert texts.ends == {3, texts.tokenizer.eos_token_id}
