"""The engines: cached == uncached, batch == single, forks and joins == fresh, few bits == nearly the same."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines import torch as torch_engine
from shoestring.lm.engines.load import load
from shoestring.lm.weights.conversion import convert

from ..conftest import changed, gpt2

IDS = st.lists(st.integers(8, 29_999), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def engine(folder):
    return load(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory, folder):
    """Another family, with rope and fewer key heads, behind the same tokenizer."""
    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("llama") / "llama"
    LlamaForCausalLM(
        LlamaConfig(vocab_size=30_000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
    ).save_pretrained(target)  # fmt: skip
    for name in ("chinese_vocab.model", "tokenizer_config.json"):
        shutil.copy(folder / name, target)
    return load(target)


def last_logits(engine, ids):
    with torch.no_grad():
        return engine.model(torch.tensor([ids])).logits[0, -1]


@pytest.fixture(params=["gpt2", "llama"])
def any_engine(request, engine, llama):
    return engine if request.param == "gpt2" else llama


def test_cached_equals_uncached_and_batch_equals_single(any_engine):
    rows = [[9, 8, 7], [11] * 20, list(range(20, 29))]
    session = any_engine.open(rows)
    for token in (100, 200, 300):
        session.step([token] * 3)
        rows = [[*row, token] for row in rows]
        assert session.ids == rows
        for row, logits in zip(rows, session.logits, strict=True):
            assert (logits - last_logits(any_engine, row)).abs().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(IDS, min_size=1, max_size=4), data=st.data())
def test_selecting_and_joining_equals_fresh_rows(engine, rows, data):
    sessions = [engine.open([row]) for row in rows]
    joined = sessions[0]
    joined.join(sessions[1:])
    joined.step([50] * len(rows))
    kept = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
    joined.select(kept)
    joined.step([60] * len(kept))
    for row, logits in zip(kept, joined.logits, strict=True):
        assert (logits - last_logits(engine, [*rows[row], 50, 60])).abs().max() < 1e-5


def test_what_is_left_of_a_batch_is_as_if_it_had_been_alone(any_engine):
    alone, company = any_engine.open([[7, 8, 9]]), any_engine.open([[3] * 20, [7, 8, 9]])
    company.select([1])
    assert company.cache.get_seq_length() == 3
    pairs = zip(company.score([[5, 6], [4]], [2]), alone.score([[5, 6], [4]], [2]), strict=True)
    assert all(found == pytest.approx(wanted, abs=1e-4) for found, wanted in pairs)
    first, second = (session.fork(2) for session in (company, alone))
    first.extend([5])
    second.extend([5])
    torch.testing.assert_close(first.logits, second.logits, rtol=0, atol=1e-4)


def test_a_fork_leaves_the_old_session_alone(any_engine):
    prefix = list(range(20, 50))
    session = any_engine.open([prefix])
    before = session.logits.clone()
    first, second = session.fork(30), session.fork(12)
    first.extend([1000, 1001])
    second.extend([2000])
    assert torch.equal(session.logits, before)
    session.step([77])
    for forked, ids in (
        (first, [*prefix, 1000, 1001]),
        (second, [*prefix[:12], 2000]),
        (session, [*prefix, 77]),
    ):
        assert (forked.logits[0] - last_logits(any_engine, ids)).abs().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(prompt=IDS, candidates=st.lists(IDS, min_size=1, max_size=25))
def test_scores_on_the_shared_cache_equal_full_forwards(engine, prompt, candidates):
    session = engine.open([prompt])
    before = session.logits.clone()
    scores = session.score(candidates)
    for candidate, score in zip(candidates, scores, strict=True):
        ids = prompt + candidate
        with torch.no_grad():
            logits = engine.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        wanted = [float(logits[place - 1, ids[place]]) for place in range(len(prompt), len(ids))]
        assert score == pytest.approx(wanted, abs=1e-5)
    session.step([9])
    assert (session.logits[0] - last_logits(engine, [*prompt, 9])).abs().max() < 1e-5
    assert not torch.equal(before, session.logits)


@settings(max_examples=20, deadline=None)
@given(prompt=IDS, after=IDS, candidates=st.lists(IDS, min_size=1, max_size=25))
def test_scores_after_more_tokens_equal_those_of_a_longer_session(engine, prompt, after, candidates):
    session = engine.open([prompt])
    longer = engine.open([prompt + after]).score(candidates)
    for _ in range(2):  # the session is unchanged
        for found, wanted in zip(session.score(candidates, after), longer, strict=True):
            assert found == pytest.approx(wanted, abs=1e-5)
    assert session.ids == [prompt]


def test_scores_of_another_family(llama):
    prompt, candidates = [20, 21, 22], [[1, 2, 3], [4], [1, 9]]
    for candidate, score in zip(candidates, llama.open([prompt]).score(candidates), strict=True):
        ids = torch.tensor([prompt + candidate])
        with torch.no_grad():
            logits = llama.model(ids).logits[0].log_softmax(-1)
        wanted = [float(logits[2 + place, token]) for place, token in enumerate(candidate)]
        assert score == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("precision", "limit"), [("int8", 2.1e-3), ("int4", 3e-2)])
def test_quantized_models_say_nearly_the_same(folder, engine, tmp_path, precision, limit):
    ids = [
        [token]
        for token in torch.randint(8, 29_999, (24,), generator=torch.Generator().manual_seed(1)).tolist()
    ]
    rows = [[*prefix, 5000, 12, 900] for prefix in ids]
    on_the_fly = load(folder, precision=precision)
    convert(folder, tmp_path / "stored", to=precision)
    stored = load(tmp_path / "stored")
    exact = engine.open(rows).logits.log_softmax(-1)
    session = on_the_fly.open(rows)
    assert torch.equal(session.logits, stored.open(rows).logits)
    close = session.logits.log_softmax(-1)
    assert (exact.exp() * (exact - close)).sum(-1).mean() < limit
    for row, logits in zip(rows, session.logits, strict=True):  # batch == single
        assert (on_the_fly.open([row]).logits[0] - logits).abs().max() < 1e-4


def test_a_quantized_llama(llama, tmp_path, folder):
    quantized = load(tmp_path_of(llama), precision="int8")
    rows = [[20, 21, 22], [30]]
    difference = quantized.open(rows).logits.log_softmax(-1) - llama.open(rows).logits.log_softmax(-1)
    assert difference.abs().mean() < 0.05


def tmp_path_of(engine):
    return engine.model.config._name_or_path


def test_a_prompt_longer_than_the_model(engine):
    with pytest.raises(InputError, match=r"150 tokens, 22 more than the model's 128 positions; shorten it$"):
        engine.open([[9] * 150])
    with pytest.raises(OptionError, match="a prompt without tokens"):
        engine.open([[]])
    with pytest.raises(InputError, match="129 tokens"):
        engine.open([[9] * 126]).score([[1, 2, 3]])


def test_wrong_vocabulary_and_options(copied, tmp_path):
    gpt2_small = gpt2()
    gpt2_small.resize_token_embeddings(100)
    gpt2_small.save_pretrained(copied)
    with pytest.raises(InputError, match="tokenizer has 30,000 ids, but the weights have 100"):
        load(copied)
    with pytest.raises(OptionError, match="--precision int3: unknown"):
        load(copied, precision="int3")
    with pytest.raises(OptionError, match=r"has no model.gguf; make one with: shoestring lm convert"):
        load(copied, backend="llama.cpp")
    with pytest.raises(InputError, match="so the weights do not fit"):
        load(changed(copied, n_layer=3, vocab_size=100), precision="int8")


def test_a_stored_precision_is_kept(folder, tmp_path):
    convert(folder, tmp_path / "four", to="int4")
    with pytest.raises(OptionError, match="is stored in int4; convert from the original"):
        load(tmp_path / "four", precision="int8")
    with pytest.raises(ValueError, match="shoestring-quantized"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "four")


def test_weights_that_do_not_lie_in_tiles_are_refused(folder, tmp_path):
    """Folders of before the tiles, and such as were cut: the kernel would read beside them."""
    for to in ("int8", "int4"):
        convert(folder, tmp_path / to, to=to)
        path = tmp_path / to / "model.safetensors"
        weights = load_file(path)
        name = next(name for name in weights if name.endswith(("weight.int8", "weight.int5")))
        for wrong in (weights[name].flatten(1), weights[name][:-1].contiguous()):
            save_file({**weights, name: wrong}, path)
            with pytest.raises(
                InputError, match=r"int[58] of an older kind, or not .* convert the model again"
            ):
                load(tmp_path / to)


def test_auto_never_takes_bits_away_in_silence(folder, monkeypatch):
    assert "fp32" in load(folder, device="cpu").kind
    monkeypatch.setattr(torch_engine, "ROOM", 1e-9)
    with pytest.raises(OptionError, match=r"fp32 takes .* GB, this machine has .*; pass --precision int8"):
        load(folder, device="cpu")
    assert "int8" in load(folder, device="cpu", precision="int8").kind
