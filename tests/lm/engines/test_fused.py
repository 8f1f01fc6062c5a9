"""The fused decoding step: the model's own up to rounding, and the same bits alone, in company and on every processor.

Rounding can put an activation on the next of its 255 steps, which shows; so most steps must agree to 1e-5 and all as far as
such a step goes.
"""

import copy

import pytest
import torch

from shoestring.lm.engines import fused
from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.weights import few_bits

from ..families import VOCABULARY, saved
from ..real import TEXTS, smollm2

ODD = {
    "hidden_size": 72, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 20, "intermediate_size": 100,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
CASES = {
    "llama": {},
    "llama of odd sizes": ODD,
    "llama with a key head for each head": {"num_key_value_heads": 4},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with tied weights": {"tie_word_embeddings": True},
    "llama with scaled positions": {"rope_parameters": LLAMA3},
    "mistral with windows": {},
    "qwen2 with windows in some layers": {},
    "qwen3": {},
    "gpt2": {},
    "gpt2 of odd sizes": {"hidden_size": 72, "num_attention_heads": 3},
}
pytestmark = pytest.mark.skipif(few_bits.LEVEL is None, reason="the kernel was not compiled")


def drawn(count, seed=0):
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    saved(request.param.split()[0], path, **CASES[request.param])
    return path


@pytest.fixture(scope="module", params=["int8", "int4"])
def engine(request, folder):
    found = load(folder, precision=request.param)
    assert found.fused is not None
    return found


@pytest.fixture
def prompts():
    """Rows of 1 to 30 tokens: shorter and longer than the windows, and padded on the left."""
    return [drawn(1 + 7 * seed % 30, seed) for seed in range(24)]


def stepped(session, step, tokens):
    """Returns the logits, and the last layer's new keys and values, after a step of a copy of a session."""
    twin = copy.copy(session)
    twin.engine = copy.copy(session.engine)
    twin.engine.fused = step
    twin.select(range(len(session.ids)))
    twin.step(tokens)
    layer = twin.cache.layers[-1]
    return twin.logits, torch.cat([layer.keys[:, :, -1], layer.values[:, :, -1]], dim=-1)


def test_it_is_the_models_own_step_up_to_rounding(engine, prompts):
    session = engine.open(prompts)
    for more in (drawn(24, 50), drawn(24, 51)):
        for found, wanted in zip(
            stepped(session, engine.fused, more), stepped(session, None, more), strict=True
        ):
            assert found.shape == wanted.shape
            rows = (found - wanted).flatten(1).abs().amax(1) / wanted.std()
            assert rows.median() < 1e-5
            assert rows.max() < 0.25
        session.step(more)
    assert session.ids == [
        [*row, first, second] for row, first, second in zip(prompts, drawn(24, 50), more, strict=True)
    ]


def test_a_row_has_the_same_bits_alone_and_in_company(engine, prompts):
    alone = [engine.open([row]) for row in prompts]
    joined = engine.open([prompts[0]])
    joined.join([engine.open([row]) for row in prompts[1:]])
    for token in (5, 9):
        joined.step([token] * len(prompts))
        for session, logits in zip(alone, joined.logits, strict=True):
            session.step([token])
            assert torch.equal(session.logits[0], logits)


def test_every_processor_and_any_number_of_threads_give_the_same_bits(engine, prompts, monkeypatch):
    session = engine.open(prompts[:5])
    wanted = stepped(session, engine.fused, drawn(5))
    monkeypatch.setattr(fused, "SMALL", 0)
    usual = torch.get_num_threads()
    for level in range(few_bits.LEVEL + 1):
        for threads in (1, 2, 5):
            monkeypatch.setattr(fused, "LEVEL", level)
            torch.set_num_threads(threads)
            found = stepped(session, engine.fused, drawn(5))
            assert all(map(torch.equal, found, wanted))
    torch.set_num_threads(usual)


@torch.inference_mode()
def test_it_writes_to_its_memory_and_the_new_tokens_alone(engine, prompts, monkeypatch):
    session = engine.open(prompts[:3])
    session.step(drawn(3))
    buffers = [part for layer in session.cache.layers for part in layer.lengthen(0)]
    seen = session.cache.get_seq_length()
    for buffer in buffers:
        buffer[:, :, seen:] = 7.0
    before = [buffer.clone() for buffer in buffers]
    needed = fused._kernel.step_bytes(engine.fused._packed, 3, buffers[0].shape[2], torch.get_num_threads())
    memory = torch.full((needed + 4096,), 77, dtype=torch.uint8)
    monkeypatch.setattr(engine.fused, "_room_for", lambda *_: memory[:needed])
    session.step(drawn(3))
    assert (memory[needed:] == 77).all()
    for old, buffer in zip(before, buffers, strict=True):
        assert not torch.equal(old[:, :, seen], buffer[:, :, seen])
        old[:, :, seen] = buffer[:, :, seen]
        assert torch.equal(old, buffer)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"hidden_act": "gelu"}),
        ("gpt2", {"activation_function": "relu"}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gemma", {}),
        ("phi", {}),
    ],
)
def test_what_is_not_known_has_no_form(kind, changes, tmp_path):
    saved(kind, tmp_path, **changes)
    assert load(tmp_path, precision="int8").fused is None


def test_other_precisions_have_no_form(folder):
    assert load(folder, precision="fp32").fused is None


def test_a_real_model_writes_the_same(monkeypatch):
    """Greedy texts of the model's own step differ where two tokens are nearly alike; the log-probabilities are alike."""
    engine = load(smollm2(), backend="torch", precision="int8")
    session = engine.open([engine.texts.encode(text) for text in TEXTS])
    ids = engine.texts.encode(TEXTS[0])[:4]
    found, wanted = (stepped(session, step, ids)[0].log_softmax(-1) for step in (engine.fused, None))
    assert (wanted.exp() * (wanted - found)).sum(-1).max() < 1e-4
    sampling = Sampling(temperature=0, max_tokens=24)
    ours = [row[0].text for row in generate(engine, TEXTS, sampling)]
    monkeypatch.setattr(engine, "fused", None)
    theirs = [row[0].text for row in generate(engine, TEXTS, sampling)]
    assert ours == theirs
