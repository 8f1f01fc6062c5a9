"""GGUF files as models: weights and tokenizers as llama.cpp and SentencePiece have them; what a real model loses."""

import io
import json
import struct

import pytest
import torch

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.evaluate import perplexity
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.gguf_source import GgufSource
from shoestring.lm.weights.gguf_tokenizer import tokenizer_of_gguf

from ..families import saved
from ..real import TEXTS, smollm2

pytest.importorskip("gguf")
HOSTILE = [
    "Hello world 12345 it's don't WE'LL", "  two  spaces\n\n\tTabs\r\n end ", "你好，世界！１２ 😀🤦🏽‍♂️ naïve café ½²",
    "a", " ", "<|im_start|>user\nhi<|im_end|>\n", "x" * 300, "\u200b\ufffd\x00 ok",
]  # fmt: skip


@pytest.fixture(scope="module")
def real():
    return load(smollm2(), backend="torch", precision="fp32")


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("to", ["gguf-f16", "gguf-q8_0"])
def test_what_was_written_is_read_back(tmp_path, kind, to):
    model = saved(kind, tmp_path / "model", use_sliding_window=False)
    convert(tmp_path / "model", tmp_path / "gguf", to=to)
    source = GgufSource(tmp_path / "gguf" / "model.gguf")
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    assert set(source.shapes) == set(weights) - (
        {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    )
    for name in source.shapes:
        near = 2e-3 if to == "gguf-f16" else 2e-2
        assert torch.allclose(source.read(name), weights[name], atol=near * float(weights[name].abs().max()))
    for name in ("hidden_size", "num_attention_heads", "max_position_embeddings", "tie_word_embeddings"):
        assert getattr(type(model.config)(**source.config), name) == getattr(model.config, name)


def test_the_vocabulary_of_a_file_cuts_as_llama_cpp_does():
    llama_cpp = pytest.importorskip("llama_cpp")
    path = smollm2()
    tokenizer = GgufSource(path).tokenizer
    peer = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    try:
        for text in (*HOSTILE, *TEXTS):
            assert tokenizer.encode(text) == peer.tokenize(text.encode(), add_bos=False, special=True)
    finally:
        peer.close()


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_with_scores_cut_as_sentencepiece_does(prefix):
    import sentencepiece

    model = io.BytesIO()
    lines = [f"the quick brown fox {number} jumps over 懒狗 and naïve cafés again" for number in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix, minloglevel=2,
    )  # fmt: skip
    peer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(len(peer))
    kinds = [
        2 if peer.is_unknown(i) else 3 if peer.is_control(i) else 6 if peer.is_byte(i) else 1 for i in ids
    ]
    tokenizer = tokenizer_of_gguf({
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [peer.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": [peer.get_score(i) for i in ids], "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_space_prefix": prefix,
    }, "here")  # fmt: skip
    for text in (*(text for text in HOSTILE if "<|" not in text and "\x00" not in text), *TEXTS, *lines[:3]):
        assert tokenizer.encode(text) == [1, *peer.encode(text)]
        assert tokenizer.decode(peer.encode(text)) == text


def test_a_real_model_answers_and_ends(real):
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = real.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    (sample,) = generate(real, [real.texts.encode_chat(prompt)], Sampling(temperature=0, max_tokens=20))[0]
    assert sample.text == "The capital of France is Paris."
    assert sample.finish == "stop"


def test_few_bits_of_a_real_model_cost_what_they_say(real):
    exact = perplexity(real, TEXTS).per_token
    assert 10 < exact < 40
    for precision, limit in (("int8", 1.01), ("int4", 1.15)):
        assert perplexity(load(smollm2(), precision=precision), TEXTS).per_token < limit * exact


def test_a_file_becomes_a_folder(real, tmp_path):
    convert(smollm2(), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text("utf-8")).keys() >= hub.stamp().keys()
    engine = load(tmp_path / "out", precision="fp32")
    assert engine.texts.ends == real.texts.ends == {2}
    assert engine.tokenizer.chat_template == real.tokenizer.chat_template
    for text in TEXTS[:1]:
        assert engine.texts.encode(text) == real.texts.encode(text)
        assert engine.logprobs(engine.texts.encode(text)) == pytest.approx(
            real.logprobs(real.texts.encode(text))
        )


def test_what_is_not_known_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    for data in (b"", b"GGUF", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), b"PK\x03\x04" * 100):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"model.gguf: (damaged|cannot)"):
            load(path, backend="torch")
    whole = smollm2().read_bytes()
    for cut in (1 << 10, 1 << 20, len(whole) - 100):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"model.gguf: damaged"):
            load(path, backend="torch")
    for wrong in (
        {"tokenizer.ggml.model": "t5"},
        {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "tekken"},
    ):
        with pytest.raises(InputError, match=r"Use (the model's|its) Hugging Face folder"):
            tokenizer_of_gguf({"tokenizer.ggml.tokens": [], "tokenizer.ggml.token_type": [], **wrong}, "here")
    (tmp_path / "other.gguf").write_bytes(b"")
    with pytest.raises(OptionError, match="has 2 GGUF files"):
        load(tmp_path)
