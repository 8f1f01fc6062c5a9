"""The engines: cached == uncached, batch == single, forks and joins == fresh, few bits == nearly the same."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines import torch as torch_engine
from shoestring.lm.engines.load import load
from shoestring.lm.weights import few_bits
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.few_bits import Embedding8, Linear4, Linear8
from shoestring.lm.weights.quantize import GROUP, from_int4, from_int8, shapes_of, to_int4, to_int8

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


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_rows_result_does_not_depend_on_its_batch(rows, seed):
    torch.manual_seed(seed)
    weight, x = torch.randn(2 * GROUP, 2 * GROUP), torch.randn(rows, 2 * GROUP) * 10 ** torch.randn(rows, 1)
    for layer in (Linear8(*weight.shape, *to_int8(weight)), Linear4(*weight.shape, *to_int4(weight))):
        assert torch.equal(layer(x)[:1], layer(x[:1]))


FINE = 16  # activations that share a scale, in the kernel
LEVELS = range((few_bits.LEVEL if few_bits.LEVEL is not None else -1) + 1)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 19), outputs=st.integers(1, 70), inputs=st.integers(1, 200), seed=st.integers(0, 99)
)
def test_every_processors_product_is_that_of_the_unpacked_weights(rows, outputs, inputs, seed):
    """All differ from the weights' own product by the rounding of activations alone, and in no bit from each other."""
    torch.manual_seed(seed)
    x, bias = torch.randn(rows, inputs) * 10 ** torch.randn(rows, 1), torch.randn(outputs)
    weight = torch.randn(outputs, inputs) * 10 ** torch.randn(outputs, 1)
    layers = [(Linear8(outputs, inputs, *to_int8(weight), bias), from_int8(*to_int8(weight)))]
    if inputs >= GROUP:
        whole = weight[:, : inputs // GROUP * GROUP]
        layers.append((Linear4(*whole.shape, *to_int4(whole), bias), from_int4(*to_int4(whole))))
    for layer, padded in layers:
        part, exact = x[:, : layer.inputs], padded[:outputs, : layer.inputs]
        wanted, found = part @ exact.t() + bias, []
        parts = torch.nn.functional.pad(part, (0, -layer.inputs % FINE)).unflatten(1, (-1, FINE))
        half = (parts.abs().amax(-1) / 254).repeat_interleave(FINE, 1)[:, : layer.inputs]
        most = half @ exact.abs().t()
        for level in LEVELS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(few_bits, "LEVEL", level)
                found.append(layer(part))
                alone = torch.cat([layer(row[None]) for row in part])
            assert torch.equal(found[-1], alone)
            assert torch.equal(found[-1], found[0])
            assert ((found[-1] - wanted).abs() <= most * 1.001 + 1e-4 * wanted.abs() + 1e-5).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(wrong):
    """It is found in the row that has it, in every output, and in no other row."""
    x, weight = torch.randn(11, 100), torch.randn(20, 100)
    x[3, 70] = wrong
    for level in LEVELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(few_bits, "LEVEL", level)
            found = Linear8(20, 100, *to_int8(weight))(x)
        assert found[3].isnan().all()
        assert found[[row for row in range(11) if row != 3]].isfinite().all()


def test_numbers_of_every_size():
    weight = torch.randn(20, 64)
    layer = Linear8(20, 64, *to_int8(weight))
    for size in (1e34, 1e10, 1e-25, 1e-38, 1e-44, 0.0):
        x = torch.ones(2, 64) * size
        wanted = (x.double() @ from_int8(*to_int8(weight))[:20].double().t()).float()
        assert torch.allclose(layer(x), wanted, rtol=1e-3, atol=1e-28 + 1e-2 * size)


def test_products_in_several_threads_and_from_several_threads():
    torch.manual_seed(0)
    layer, x = Linear8(2000, 512, *to_int8(torch.randn(2000, 512))), torch.randn(8, 512)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = layer(x)
        for threads in (2, 5, 3):
            torch.set_num_threads(threads)
            with ThreadPoolExecutor(4) as pool:
                assert all(torch.equal(each, alone) for each in pool.map(lambda _: layer(x), range(40)))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_products_in_several_threads_after_a_fork():
    torch.manual_seed(0)
    layer, x = Linear8(2000, 512, *to_int8(torch.randn(2000, 512))), torch.randn(8, 512)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        wanted = layer(x)
        child = os.fork()
        same = all(torch.equal(layer(x), wanted) for _ in range(20))
        if child == 0:
            os._exit(0 if same else 1)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
        assert same
        assert ended == (child, 0)
    finally:
        torch.set_num_threads(before)


def test_without_a_compiler_the_products_are_as_right(monkeypatch):
    torch.manual_seed(0)
    weight, x, bias = torch.randn(300, 128), torch.randn(2, 3, 128), torch.randn(300)
    monkeypatch.setattr(few_bits, "_kernel", None)
    monkeypatch.setattr(few_bits, "_UNPACKED", 128 * 7)
    for kind, parts, exact in (
        (Linear8, to_int8(weight), from_int8(*to_int8(weight))),
        (Linear4, to_int4(weight), from_int4(*to_int4(weight))),
    ):
        assert torch.allclose(kind(300, 128, *parts, bias)(x), x @ exact[:300].t() + bias, atol=1e-4)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 64), (16, 128), (37, 64), (300, 192)])
def test_what_lies_in_tiles_is_the_weight(outputs, inputs):
    weight = torch.randn(outputs, inputs)
    for parts, back, bits in ((to_int8(weight), from_int8, 8), (to_int4(weight), from_int4, 4)):
        assert tuple(map(tuple, (parts[0].shape, parts[1].shape))) == shapes_of(bits, outputs, inputs)
        assert (back(*parts)[:outputs] - weight).abs().max() < weight.abs().max() / 2 ** (bits - 1) + 0.1
    rows = Embedding8(inputs, *to_int8(weight), 3.0)(torch.arange(outputs)[None])
    assert torch.allclose(rows[0], 3 * from_int8(*to_int8(weight))[:outputs])


def test_few_bits_are_close_to_many():
    torch.manual_seed(0)
    weight, x = torch.randn(256, 512), torch.randn(9, 512)
    exact = x @ weight.t()
    for layer, tolerance in (
        (Linear8(256, 512, *to_int8(weight)), 0.008),
        (Linear4(256, 512, *to_int4(weight)), 0.1),
    ):
        assert (layer(x) - exact).norm() / exact.norm() < tolerance
    ones = torch.full((256, 512), 0.02)  # sums of equal signs are where 16-bit additions would overflow
    layer = Linear8(256, 512, *to_int8(ones))
    assert layer(torch.ones(4, 512)).mean() == pytest.approx(10.24, rel=1e-3)


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
    with pytest.raises(
        InputError, match="150 tokens, 22 more than the model's 128 positions; shorten it, or"
    ):
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
        name = next(name for name in weights if name.endswith(f"weight.{to}"))
        for wrong in (weights[name].flatten(1), weights[name][:-1].contiguous()):
            save_file({**weights, name: wrong}, path)
            with pytest.raises(InputError, match=f"{to} of an older kind, or not .* convert the model again"):
                load(tmp_path / to)


def test_auto_never_takes_bits_away_in_silence(folder, monkeypatch):
    assert "fp32" in load(folder, device="cpu").kind
    monkeypatch.setattr(torch_engine, "ROOM", 1e-9)
    with pytest.raises(OptionError, match=r"fp32 takes .* GB, this machine has .*; pass --precision int8"):
        load(folder, device="cpu")
    assert "int8" in load(folder, device="cpu", precision="int8").kind
