"""Blocks in one call: what the model gives up to rounding, the same bits alone, in company and on every processor.

Rounding can put an activation on the next of its 255 steps, which shows; so many rows must agree to 1e-5, and all as
far as such a step goes.
"""

import copy
import json

import pytest
import torch

from shoestring.lm.engines import fused
from shoestring.lm.engines.load import load
from shoestring.lm.weights import few_bits

from ..families import VOCABULARY, saved
from ..real import TEXTS, smollm2

ODD = {
    "hidden_size": 72, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 48, "intermediate_size": 100,
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
    "gpt2 of odd sizes": {"hidden_size": 80, "num_attention_heads": 1},
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


def read(session, reader, rows):
    """Returns the logits, and the last layer's new keys and values, after a copy of a session has read more."""
    twin = copy.copy(session)
    twin.engine = copy.copy(session.engine)
    twin.engine.fused = reader
    twin.select(range(len(session.ids)))
    logits = twin._forward(rows, last=False, keep=0)
    layer, count = twin.cache.layers[-1], len(rows[0])
    return logits, layer.keys[:, :, -count:], layer.values[:, :, -count:]


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 6])
def test_it_reads_as_the_model_does_up_to_rounding(engine, prompts, count):
    session = engine.open(prompts)
    rows = [drawn(count, 50 + row) for row in range(len(prompts))]
    for found, wanted in zip(read(session, engine.fused, rows), read(session, None, rows), strict=True):
        assert found.shape == wanted.shape
        differences = (found - wanted).flatten(1).abs().amax(1) / wanted.std()
        assert differences.quantile(0.4) < 1e-5
        assert differences.max() < 0.3


def test_prompts_are_read_as_the_model_does_up_to_rounding(engine, prompts):
    found = [engine.open([row]).logits[0] for row in prompts]
    twin = copy.copy(engine)
    twin.fused = None
    wanted = [twin.open([row]).logits[0] for row in prompts]
    differences = torch.stack([(a - b).abs().max() / b.std() for a, b in zip(found, wanted, strict=True)])
    assert differences.quantile(0.2) < 1e-5
    assert differences.max() < 0.3


def test_a_row_has_the_same_bits_alone_in_company_and_in_pieces(engine, prompts):
    alone = [engine.open([row]) for row in prompts]
    company = engine.open(prompts)
    for piece, row in zip(alone, prompts, strict=True):
        for size in (1, 3, 5):
            pieces = engine.open([row[:size]])
            if row[size:]:
                pieces.extend(row[size:])
            assert torch.equal(pieces.logits, piece.logits)
    for token in (5, 9):
        company.step([token] * len(prompts))
        for session, logits in zip(alone, company.logits, strict=True):
            session.step([token])
            assert torch.equal(session.logits[0], logits)
    joined = alone[0].fork(len(prompts[0]))
    joined.join([session.fork(len(row)) for session, row in zip(alone[1:], prompts[1:], strict=True)])
    joined.step([5] * len(prompts))
    joined.step([9] * len(prompts))
    assert torch.equal(joined.logits, company.logits)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"head_dim": 48}),
        ("mistral", {"sliding_window": 300}),
        ("gpt2", {}),
        ("qwen3", {"head_dim": 80}),
    ],
)
def test_a_long_text_has_the_same_bits_whole_and_in_pieces(kind, changes, tmp_path):
    saved(kind, tmp_path, max_position_embeddings=700, num_hidden_layers=3, **changes)
    engine, ids = load(tmp_path, precision="int8"), drawn(600)
    whole, pieces = engine.open([ids[:590]]), engine.open([ids[:333]])
    for begin in range(333, 590, 37):
        pieces.extend(ids[begin : min(begin + 37, 590)])
    company = engine.open([ids[:7], ids[:590], ids[100:240]])
    for token in ids[590:]:
        assert torch.equal(whole.logits, pieces.logits)
        assert torch.equal(whole.logits[0], company.logits[1])
        whole.step([token])
        pieces.extend([token])
        company.step([token] * 3)
    alone = copy.copy(engine)
    alone.fused = None
    wanted = alone.open([ids]).logits
    assert (wanted - whole.logits).abs().max() < 0.3 * wanted.std()


def test_every_processor_and_any_number_of_threads_give_the_same_bits(engine, prompts, monkeypatch):
    session, rows = engine.open(prompts[:5]), [drawn(7, row) for row in range(5)]
    wanted = read(session, engine.fused, rows)
    monkeypatch.setattr(fused, "SMALL", 0)
    usual = torch.get_num_threads()
    for level in range(few_bits.LEVEL + 1):
        for threads in (1, 2, 5):
            monkeypatch.setattr(fused, "LEVEL", level)
            torch.set_num_threads(threads)
            assert all(map(torch.equal, read(session, engine.fused, rows), wanted))
    torch.set_num_threads(usual)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_count_tokens_and_no_padding(kind, tmp_path):
    """Angles of a text that is longer than the model's positions would be scaled, those of all later texts too."""
    factors = [1 + place / 8 for place in range(8)]
    rope = {
        "rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 40,
        "short_factor": factors, "long_factor": [2 * each for each in factors],
    }  # fmt: skip
    saved("llama", tmp_path, max_position_embeddings=40, rope_parameters=rope)
    engine, ids = load(tmp_path, precision="int8"), drawn(40)
    alone, company = engine.open([ids[:3]]), engine.open([drawn(39, 1), ids[:3]])
    company.select([1])
    for token in ids[3:]:
        alone.step([token])
        company.step([token])
    assert torch.equal(company.logits, alone.logits)
    assert torch.equal(engine.open([ids]).logits, alone.logits)


def test_other_numbers_by_default_change_nothing(engine):
    wanted = engine.open([drawn(9), drawn(4)])
    wanted.step([5, 6])
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            found = engine.open([drawn(9), drawn(4)])
            found.step([5, 6])
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(found.logits, wanted.logits)


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 6])
def test_it_writes_to_its_memory_and_the_new_tokens_alone(engine, prompts, count, monkeypatch):
    session = engine.open(prompts[:3])
    session.read([drawn(count, row) for row in range(3)])
    buffers = [part for layer in session.cache.layers for part in layer.lengthen(0)]
    seen = session.cache.get_seq_length()
    for buffer in buffers:
        buffer[:, :, seen:] = 7.0
    before = [buffer.clone() for buffer in buffers]
    needed = engine.fused._kernel.blocks_bytes(engine.fused._packed, 3 * count, buffers[0].shape[2], 1)
    memory = torch.full((needed + 4096,), 77, dtype=torch.uint8)
    monkeypatch.setattr(fused, "SMALL", 1 << 40)
    monkeypatch.setattr(engine.fused, "_memory", lambda *_: memory[:needed])
    session.read([drawn(count, row) for row in range(3)])
    assert (memory[needed:] == 77).all()
    new = slice(seen, seen + count)
    for old, buffer in zip(before, buffers, strict=True):
        assert (old[:, :, new] != buffer[:, :, new]).any(-1).all()
        old[:, :, new] = buffer[:, :, new]
        assert torch.equal(old, buffer)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"hidden_act": "gelu"}),
        ("gpt2", {"activation_function": "relu"}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("llama", {"head_dim": 20}),
        ("llama", {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 4}),
        ("llama", {"rope_parameters": {**LLAMA3, "partial_rotary_factor": 0.5}}),
        ("mistral", {"sliding_window": 0}),
        ("qwen2", {"sliding_window": 0}),
        ("llama", {"head_dim": 1024}),
        ("gemma", {}),
        ("phi", {}),
    ],
)
def test_what_is_not_known_has_no_form(kind, changes, tmp_path):
    saved(kind, tmp_path, **changes)
    assert load(tmp_path, precision="int8").fused is None


def test_what_a_family_does_not_read_in_its_settings_changes_nothing(tmp_path):
    saved("llama", tmp_path)
    wanted = load(tmp_path, precision="int8").open([drawn(20)]).logits
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "layer_types": ["sliding_attention"] * 6, "sliding_window": 4}))
    assert torch.equal(load(tmp_path, precision="int8").open([drawn(20)]).logits, wanted)


def test_other_precisions_have_no_form(folder):
    assert load(folder, precision="fp32").fused is None


def test_a_real_model_differs_as_it_does_from_itself_where_rounding_differs(monkeypatch):
    """Layers carry on what falls on the next step, as they do when the embeddings are a millionth more."""
    engine = load(smollm2(), backend="torch", precision="int8")
    ids = [engine.texts.encode(text) for text in TEXTS]
    embedding, blocks = engine.model.get_input_embeddings(), engine.fused

    def logprobs(reader, factor):
        monkeypatch.setattr(engine, "fused", reader)
        monkeypatch.setattr(embedding, "factor", factor)
        return torch.cat([torch.tensor(engine.logprobs(row)) for row in ids])

    wanted, moved, found = logprobs(None, 1.0), logprobs(None, 1 + 1e-6), logprobs(blocks, 1.0)
    usual, ours = (moved - wanted).std(), (found - wanted).std()
    print(f"moved {usual:.4f}, fused {ours:.4f}, mean {(found - wanted).mean():.4f}")
    assert ours < 1.3 * usual
    assert (found - wanted).mean().abs() < 4 * ours / len(wanted) ** 0.5
