"""The llama.cpp back end gives what torch gives, from files that we write; without the package it says so."""

import shutil

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.choosing import choose
from shoestring.lm.generation.beam import beam_search
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.gguf_families import architecture

from ..conftest import gpt2
from ..families import bytes_tokenizer

pytest.importorskip("llama_cpp", reason="the extra gguf is not installed")
pytest.importorskip("gguf", reason="the extra gguf is not installed")
PROMPTS = ["美国的首都是", "今天天气很好，我们去北京"]
GREEDY = Sampling(max_tokens=8, temperature=0)


@pytest.fixture(scope="module")
def source(tmp_path_factory, folder):
    """k-quants need a hidden size of a multiple of 256."""
    target = tmp_path_factory.mktemp("wide") / "wide"
    gpt2(hidden=256).save_pretrained(target)
    for name in ("chinese_vocab.model", "tokenizer_config.json"):
        shutil.copy(folder / name, target)
    return target


@pytest.fixture(scope="module")
def exact(source):
    return load(source, precision="fp32")


@pytest.fixture(scope="module")
def engine(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("gguf") / "f16"
    convert(source, target, to="gguf-f16")
    return load(target)


def test_generation_beams_and_choice_equal_torchs(engine, exact):
    assert engine.kind.startswith("llama.cpp")
    for ours, theirs in zip(generate(engine, PROMPTS, GREEDY), generate(exact, PROMPTS, GREEDY), strict=True):
        assert ours[0].text == theirs[0].text
        assert ours[0].logprob == pytest.approx(theirs[0].logprob, abs=0.05)
    ours, theirs = (beam_search(each, PROMPTS, GREEDY, beams=3) for each in (engine, exact))
    assert [row[0].text for row in ours] == [row[0].text for row in theirs]
    candidates = ["华盛顿", "北京是中国的首都", "巴黎"]
    ours, theirs = (choose(each, PROMPTS[0], candidates) for each in (engine, exact))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=0.05)
    ids = exact.tokenizer.encode(PROMPTS[1])
    assert engine.logprobs(ids) == pytest.approx(exact.logprobs(ids), abs=0.02)


def test_sessions_fork_join_and_select(engine, exact):
    prefix = list(range(20, 50))
    for each in (engine, exact):
        session = each.open([prefix])
        fork = session.fork(12)
        fork.extend([2000])
        other = each.open([[9, 10]])
        fork.join([session, other])
        fork.select([2, 0, 0])
        fork.step([5000, 5001, 5002])
        assert fork.ids == [[9, 10, 5000], [*prefix[:12], 2000, 5001], [*prefix[:12], 2000, 5002]]
        wanted = torch.cat([exact.open([row]).logits for row in fork.ids])
        assert (fork.logits - wanted).abs().max() < 0.05
        fork.close()


@pytest.mark.parametrize(("to", "limit"), [("gguf-f16", 1e-5), ("gguf-q8_0", 1e-3), ("gguf-q4_k_m", 5e-2)])
def test_quantized_files_say_nearly_the_same(source, exact, tmp_path, to, limit):
    convert(source, tmp_path / to, to=to)
    engine = load(tmp_path / to)
    rows = [[token, 5000, 12] for token in range(100, 2500, 100)]
    wanted, found = (each.open(rows).logits.log_softmax(-1) for each in (exact, engine))
    assert (wanted.exp() * (wanted - found)).sum(-1).mean() < limit


THETA = {"rope_type": "default", "rope_theta": 5e5}
FAMILIES = {
    "llama": (LlamaConfig, {"num_key_value_heads": 2, "attention_bias": True, "rope_parameters": THETA}),
    "mistral": (MistralConfig, {"num_key_value_heads": 2, "head_dim": 32, "sliding_window": None}),
    "qwen2": (Qwen2Config, {"num_key_value_heads": 4, "tie_word_embeddings": True}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_say_what_transformers_says(family, folder, tmp_path):
    model = tiny(*FAMILIES[family])
    model.save_pretrained(tmp_path / family)
    bytes_tokenizer().save_pretrained(tmp_path / family)
    convert(tmp_path / family, tmp_path / "gguf", to="gguf-f16")
    engine = load(tmp_path / "gguf")
    ids = engine.tokenizer.encode(PROMPTS[1] * 2)
    assert len(ids) > 60
    with torch.no_grad():
        chances = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    wanted = chances.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    assert engine.logprobs(ids) == pytest.approx(wanted, abs=0.02)
    made = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, pad_token_id=5)
    found = generate(engine, [ids], GREEDY)[0][0]
    assert [token.id for token in found.tokens] == made[0, len(ids) :].tolist()
    assert found.text == engine.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True)


def tiny(kind, settings):
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(kind(**sizes, **settings), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5) if parameter.ndim == 2 else parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model_type": "gpt_neo"}, "written for gpt2, llama, mistral, qwen2, qwen3, this is gpt_neo"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "llama with rope_type llama3 is not written here"),
        ({"rope_scaling": {"type": "linear"}}, "llama with rope_type linear is not written here"),
        ({"hidden_act": "gelu"}, "llama with hidden_act gelu is not written here"),
        ({"model_type": "mistral", "sliding_window": 64}, "mistral with sliding_window 64 is not written here"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_get_wrong_is_refused(settings, says):
    with pytest.raises(OptionError, match=says):
        architecture({"model_type": "llama", "max_position_embeddings": 128, **settings}, "gguf-f16")


def test_damaged_files_and_options(source, engine, tmp_path):
    target = tmp_path / "q8"
    convert(source, target, to="gguf-q8_0")
    path = target / "model.gguf"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"llama.cpp cannot read it; it is damaged"):
        load(target)
    with pytest.raises(OptionError, match="a GGUF file has its own"):
        load(target, precision="int8")
    with pytest.raises(InputError, match="more than the model's 128 positions"):
        engine.open([[9] * 150])
    with pytest.raises(OptionError, match="more than 64 rows at once"):
        engine.open([[9]] * 70)
