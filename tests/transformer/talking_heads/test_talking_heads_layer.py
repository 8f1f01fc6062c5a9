"""Talking heads as they are used: dropout, the layer, and what does not fit."""

import pytest
import torch
from attention_cases import example, gradients

from shoestring._errors import OptionError
from shoestring.transformer import TalkingHeadsAttention, talking_heads_attention
from shoestring.transformer.talking_heads import chunked, dropout


@pytest.mark.parametrize("backend", ["eager", "chunked", "triton"])
def test_dropout_equals_a_stored_mask_forward_and_backward(backend):
    if backend == "triton":
        pytest.importorskip("triton")
    given = [x.float() for x in example(n=7, m=11)]
    torch.manual_seed(5)
    drop = dropout.Dropout(0.4, dropout.new_seed(torch.device("cpu")))
    factors = drop.factors(torch.empty(2, 4, 7, 11))

    def stored(q, k, v, p, w):
        logits = torch.einsum("band,bamd,ai->binm", q, k, p) / 6**0.5
        weights = torch.einsum("binm,ic->bcnm", logits.softmax(-1), w)
        return weights * factors @ v

    def ours(q, k, v, p, w):
        torch.manual_seed(5)
        return talking_heads_attention(q, k, v, p, w, dropout=0.4, backend=backend)

    before, chunked.LIMITS = chunked.LIMITS, {"cpu": (1, 3, 3, 2)}
    try:
        for one, other in zip(gradients(ours, given), gradients(stored, given), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    finally:
        chunked.LIMITS = before


def test_dropout_drops_its_share_without_pattern():
    drop = dropout.Dropout(0.3, torch.tensor([12345], dtype=torch.int32))
    factors = drop.factors(torch.empty(2, 3, 200, 300))
    kept = (factors > 0).double()
    assert kept.mean().item() == pytest.approx(0.7, abs=0.003)
    assert factors.mean().item() == pytest.approx(1, abs=0.005)
    for axis in range(4):  # neighbours are independent
        pairs = (
            kept.narrow(axis, 0, kept.shape[axis] - 1) * kept.narrow(axis, 1, kept.shape[axis] - 1)
        ).mean()
        assert pairs.item() == pytest.approx(0.49, abs=0.005)
    part = drop.factors(torch.empty(1, 3, 5, 7), row=1, query=50, key=90)
    assert torch.equal(part, factors[1:, :, 50:55, 90:97])
    assert not torch.equal(factors, dropout.Dropout(0.3, drop.seed + 1).factors(factors))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask": torch.ones(2, 7, dtype=torch.bool)}, r"mask of shape \(2, 7\) .* = \(2, 4, 9, 9\)"),
        ({"mask": torch.ones(9, 9, dtype=torch.int64)}, "mask of type torch.int64: .* write mask.bool"),
        ({"key": torch.zeros(2, 3, 9, 6)}, "key has 3 heads, which do not divide 4"),
        ({"value": torch.zeros(2, 5, 9, 6)}, "value has 5 heads, which do not divide 4"),
        ({"query": torch.zeros(2, 4, 9, 0), "key": torch.zeros(2, 4, 9, 0)}, "width of at least 1"),
        ({"query": torch.zeros(2, 4, 9, 5)}, "query and key need the same width"),
        ({"pre": torch.zeros(3, 4)}, r"pre of shape \(3, 4\): its rows must be the 4 key heads"),
        ({"post": torch.zeros(5, 4)}, r"post of shape \(5, 4\): its rows must be the 4 softmax heads"),
        ({"backend": "flash"}, "backend 'flash': unknown; choose one of auto, eager"),
        ({"backend": "sdpa"}, "backend 'sdpa' cannot mix heads"),
        ({"backend": "lift", "dropout": 0.1}, "'lift' cannot drop mixed weights"),
        ({"backend": "lift", "pre_by_key": torch.zeros(2, 9, 4, 4)}, "'lift' cannot mix by query or key"),
        ({"dropout": 1.0}, "dropout 1.0: must be at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(change, says):
    q, k, v, p, w = example(dtype=torch.float32)
    call = {"query": q, "key": k, "value": v, "pre": p, "post": w, **change}
    with pytest.raises(OptionError, match=says) as error:
        talking_heads_attention(**call)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_layer_begins_as_multi_head_attention_and_learns(dynamic):
    torch.manual_seed(0)
    layer = TalkingHeadsAttention(24, 4, key_size=10, value_size=7, talking="both", dynamic=dynamic)
    plain = TalkingHeadsAttention(24, 4, key_size=10, value_size=7, talking="none")
    plain.load_state_dict(layer.state_dict(), strict=False)
    x, memory = torch.randn(2, 5, 24), torch.randn(2, 8, 24)
    torch.testing.assert_close(layer(x, memory), plain(x, memory))
    layer(x, is_causal=True).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize("counts", [(2, 6, 4), (6, 3, 2), (4, 8, 4)])
def test_head_counts_are_free(counts):
    key_heads, heads, value_heads = counts
    layer = TalkingHeadsAttention(
        24, heads, key_size=5, value_size=3, num_key_heads=key_heads, num_value_heads=value_heads,
        num_key_value_heads=2,
    )  # fmt: skip
    assert layer(torch.randn(2, 7, 24)).shape == (2, 7, 24)
    extra = layer.pre_mix[:, key_heads:]
    assert len({tuple(column) for column in extra.T.tolist()}) == extra.shape[1]  # no two alike


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_heads": 5}, "hidden_size 24 is not a multiple of num_heads 5; give key_size"),
        ({"key_size": 0}, "key_size 0: must be a whole number of at least 1"),
        ({"num_key_heads": 2, "talking": "post"}, "num_key_heads 2 and num_heads 4 differ"),
        ({"num_value_heads": 2, "talking": "pre"}, "num_value_heads 2 and num_heads 4 differ"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3: must divide the 4 key heads"),
        ({"talking": "loud"}, "talking_heads 'loud': unknown; choose one of none, pre, post, both"),
        ({"dynamic": True, "talking": "none"}, "set talking_heads to both"),
    ],
)
def test_a_layer_that_does_not_fit(wrong, says):
    with pytest.raises(OptionError, match=says):
        TalkingHeadsAttention(**{"hidden_size": 24, "num_heads": 4, **wrong})
