"""CoSENT equals its O(n^2) definition; cached it equals the whole batch; over two processes it equals one."""

from __future__ import annotations

import gc
import math
from datetime import timedelta

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.losses import AnglELoss
from sentence_transformers.sentence_transformer.losses import CoSENTLoss as TheirLoss
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from shoestring._errors import InputError, OptionError
from shoestring.match.training import tokenizing
from shoestring.match.training.cosent import cosent
from shoestring.match.training.losses import PART, CoSENTLoss


def definition(scores, labels, scale):
    """log(1 + the sum over all i, j with label_i < label_j), with its n * n matrix."""
    differences = scale * (scores[:, None] - scores[None, :])
    differences = torch.where(labels[:, None] < labels[None, :], differences, -math.inf)
    return torch.logsumexp(torch.cat([differences.new_zeros(1), differences.flatten()]), 0)


def with_gradient(loss, scores, labels, scale):
    scores = scores.clone().requires_grad_()
    value = loss(scores, labels, scale)
    value.backward()
    return value.detach(), scores.grad


@settings(deadline=None)
@given(
    st.integers(1, 60), st.sampled_from([1, 2, 6, 1000]), st.booleans(), st.sampled_from([1.0, 20.0]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_loss_and_gradient_equal_the_definition(size, levels, tied, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(size, dtype=torch.float64, generator=generator) * 2 - 1
    scores = (scores * 4).round() / 4 if tied else scores
    labels = torch.randint(0, levels, (size,), generator=generator).double()
    expected, slope = with_gradient(definition, scores, labels, scale)
    found, ours = with_gradient(cosent, scores, labels, scale)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours, slope, rtol=0, atol=1e-12)


def test_one_class_has_no_loss_and_no_gradient():
    value, slope = with_gradient(cosent, torch.rand(5), torch.ones(5), 20.0)
    assert value == 0
    assert (slope == 0).all()


def test_a_tiny_loss_is_not_rounded_to_zero():
    scores = torch.tensor([0.5, -0.45])
    exact = math.log1p(math.exp(-19))
    assert cosent(scores, torch.tensor([1.0, 0.0])).item() == pytest.approx(exact, rel=1e-5)


def test_half_precision_and_booleans():
    scores = torch.tensor([0.9, 0.1, 0.4], dtype=torch.bfloat16, requires_grad=True)
    cosent(scores, torch.tensor([True, False, True])).backward()
    assert scores.grad.dtype == torch.bfloat16
    with pytest.raises(InputError, match="each score needs one label"):
        cosent(torch.rand(3), torch.rand(4))


def features_of(model: SentenceTransformer, pairs) -> list[dict]:
    return [model.preprocess(list(texts)) for texts in (pairs.first, pairs.second)]


@pytest.fixture
def bi(base) -> SentenceTransformer:
    return SentenceTransformer(str(base), device="cpu").double().eval()


def gradients(model, loss, features, labels) -> list[torch.Tensor]:
    model.zero_grad()
    loss(features, labels).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("similarity", "theirs"), [("cosine", TheirLoss), ("angle", AnglELoss)])
def test_it_equals_sentence_transformers(bi, pairs, similarity, theirs):
    batch = pairs(40, 0, graded=True)
    labels = torch.tensor(batch.labels)
    mine = gradients(bi, CoSENTLoss(bi, similarity=similarity), features_of(bi, batch), labels)
    other = gradients(bi, theirs(bi), features_of(bi, batch), labels)
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 39])
def test_cached_equals_the_whole_batch(bi, pairs, chunk):
    batch = pairs(40, 0, graded=True)
    labels = torch.tensor(batch.labels)
    whole = gradients(bi, CoSENTLoss(bi), features_of(bi, batch), labels)
    cached = gradients(bi, CoSENTLoss(bi, chunk=chunk), features_of(bi, batch), labels)
    for one, two in zip(whole, cached, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_cached_cross_encoder_equals_the_whole_batch(base, pairs):
    model = CrossEncoder(str(base), num_labels=1, device="cpu").double().eval()
    batch = pairs(30, 0)
    texts, labels = [list(batch.first), list(batch.second)], torch.tensor(batch.labels)
    whole = gradients(model, CoSENTLoss(model), texts, labels)
    cached = gradients(model, CoSENTLoss(model, chunk=8), texts, labels)
    assert len(whole) > 30
    for one, two in zip(whole, cached, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("chunk", "parts"), [(10, 4), (39, 3)])
def test_both_passes_of_a_chunk_have_the_same_dropout(bi, pairs, chunk, parts):
    """Without the same random numbers the gradient would be of scores that never were."""
    bi.train()
    batch = pairs(40, 0)
    seen, loss = [], CoSENTLoss(bi, chunk=chunk)
    plain = loss.scores
    loss.scores = lambda features: seen.append(plain(features)) or seen[-1]
    loss(features_of(bi, batch), torch.tensor(batch.labels)).backward()
    assert len(seen) == 2 * parts
    assert max(map(len, seen)) <= PART  # on a CPU, where each part's graph goes before the next comes
    for first, again in zip(seen[:parts], seen[parts:], strict=True):
        assert torch.equal(first, again)


def test_what_does_not_fit_is_refused(base, bi):
    with pytest.raises(OptionError, match="1 logit"):
        CoSENTLoss(CrossEncoder(str(base), num_labels=3, device="cpu"))
    with pytest.raises(OptionError, match="similarity"):
        CoSENTLoss(bi, similarity="dot")


class Toy(torch.nn.Module):
    """Looks like a bi-encoder to the loss."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 6).double()

    def forward(self, features):
        return {"sentence_embedding": self.layer(features["x"])}


def toy_features(vectors, rows):
    mask = torch.ones(len(vectors[0][rows]), 1)
    return [{"x": each[rows], "attention_mask": mask} for each in vectors]


def rank(number, meeting, vectors, labels, weights, chunk, out):
    timeout = timedelta(seconds=60)
    distributed.init_process_group("gloo", f"file://{meeting}", timeout, rank=number, world_size=2)
    model = Toy()
    model.load_state_dict(weights)
    wrapped = DistributedDataParallel(model)
    rows = slice(0, 37) if number == 0 else slice(37, 100)
    loss = CoSENTLoss(wrapped, chunk=chunk)
    value = loss(toy_features(vectors, rows), labels[rows])
    value.backward()
    if number == 0:
        torch.save({"loss": value.detach(), "gradient": model.layer.weight.grad}, out)
    del value, loss, wrapped, model  # the wrapper must not outlive its process group
    gc.collect()
    distributed.destroy_process_group()


@pytest.mark.parametrize("chunk", [None, 10])
def test_two_processes_with_uneven_shares_equal_one(tmp_path, chunk):
    torch.manual_seed(0)
    vectors = [torch.randn(100, 6).double() for _ in range(2)]
    labels, model = torch.randint(0, 6, (100,)).double(), Toy()
    out = tmp_path / "result.pt"
    multiprocessing.spawn(
        rank, (tmp_path / "meeting", vectors, labels, model.state_dict(), chunk, out), nprocs=2
    )
    found = torch.load(out, weights_only=True)
    one, two = (model.layer(each) for each in vectors)
    expected = definition(F.cosine_similarity(one, two), labels, 20.0)
    expected.backward()
    torch.testing.assert_close(found["loss"], expected.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(found["gradient"], model.layer.weight.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("crossed", [False, True])
def test_pieces_are_the_whole_batch(base, pairs, monkeypatch, side, crossed):
    monkeypatch.setattr(tokenizing, "PIECE", 7)
    model = (CrossEncoder if crossed else SentenceTransformer)(str(base), device="cpu")
    model.tokenizer.padding_side = side
    some = pairs(30, 1)
    inputs = list(some) if crossed else ["猫", *some.first, "昨天见到鸟了" * 3]
    for settings_ in ({}, {"prompt": "请看"}) if not crossed else ({},):
        whole = model.preprocess(inputs, **settings_)
        parts = tokenizing.in_pieces(model.preprocess, model.tokenizer, inputs, **settings_)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            assert (
                torch.equal(parts[name], value) if isinstance(value, torch.Tensor) else parts[name] == value
            )
