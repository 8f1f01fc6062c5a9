"""The next token's choice beside transformers' own processors, which we did not write, on random logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from shoestring.lm.generation.sampling import Chooser, Sampling, filtered, prepared

SIZE = 50


def random_logits(seed):
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) * 3


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000), st.floats(0.2, 3), st.integers(0, 60), st.floats(0.05, 1), st.floats(0.001, 1),
    st.floats(0.5, 2),
)  # fmt: skip
def test_as_transformers_does(seed, temperature, top_k, top_p, min_p, penalty):
    seen, logits = [3, 9, 9, 40], random_logits(seed)
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty
    )
    steps = [RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(temperature)]
    steps += [TopKLogitsWarper(top_k)] if top_k else []
    steps += [TopPLogitsWarper(top_p), MinPLogitsWarper(min_p)]
    wanted = LogitsProcessorList(steps)(torch.tensor([seen]), logits[None].clone())[0]
    found = filtered(prepared(logits, sampling, seen, 0, []), sampling)
    close = torch.isclose(found, wanted, atol=1e-4) | (found == wanted)
    assert int((~close).sum()) <= 1  # one token may lie on the edge of a limit by rounding


def test_presence_and_frequency_as_openai_defines_them():
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, c counting what was generated."""
    logits, sampling = random_logits(0), Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    found = prepared(logits, sampling, [7, 8, 8, 9], 3, [])  # 7 is the prompt's
    change = (found - logits).tolist()
    assert change[7:10] == pytest.approx([0, -1.0, -0.75])
    assert sum(value != 0 for value in change) == 2


def test_a_bias_decides():
    logits = random_logits(1)
    chooser = Chooser(Sampling(temperature=0, logit_bias=((11, 100.0),)), 0, [])
    assert chooser.choose(logits, [], 0) == 11
    most = int(logits.argmax())
    banned = Chooser(Sampling(temperature=1, logit_bias=((most, -100.0),)), 0, [])
    assert most not in {banned.choose(logits, [], 0) for _ in range(200)}


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-45, 1e-9, 1e-6])
def test_the_smallest_temperatures_are_greedy(temperature):
    for seed in range(20):
        logits = random_logits(seed) * 1000
        assert Chooser(Sampling(temperature=temperature), 0, []).choose(logits, [], 0) == int(logits.argmax())


def test_no_top_p_is_the_most_likely():
    logits = random_logits(2)
    assert Chooser(Sampling(top_p=0), 0, []).choose(logits, [], 0) == int(logits.argmax())
