"""Schedules, presets and settings are as published or refused; every epoch has every image once."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring._errors import OptionError
from shoestring.nvae import NVAEConfig, NVAESettings, preset
from shoestring.nvae.batches import Feed, indices
from shoestring.nvae.training.settings import RECIPES, recipe

from .runs import settings


def test_schedules_rise_and_end_where_published():
    run = NVAESettings(steps=10_000, regularisation=0.01, regularisation_start=1.0)
    weights = [run.kl_weight(step) for step in range(run.steps)]
    assert weights[0] == 1e-4
    assert weights == sorted(weights)
    assert weights[3001] == 1.0
    assert weights[1501] == pytest.approx(0.5)
    assert run.regularisation_at(0) == pytest.approx(1.0, rel=1e-2)
    assert run.regularisation_at(9000) == pytest.approx(0.01)


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_has_a_run(name):
    assert recipe(name).steps > 100


@pytest.mark.parametrize(
    "wrong",
    [{"kl_warmup": 2.0}, {"ema": 1.0}, {"explosion": 2.0}, {"power_iterations": 0}, {"patience": 0},
     {"regularisation": 0.0}, {"steps": 0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        settings(**wrong)


@pytest.mark.parametrize(
    "value", ["x", math.nan, math.inf, -1, -1.5, True, (), (1,), ("a", "b"), {"a": 1}, None, 1.5]
)
def test_a_setting_of_any_kind_is_taken_or_refused_by_its_name(value):
    """`--set` takes whatever JSON knows."""
    for make, kind in ((partial(recipe, "digits"), NVAESettings), (partial(preset, "digits"), NVAEConfig)):
        for field in fields(kind):
            try:
                found = getattr(make(**{field.name: value}), field.name)
            except OptionError as error:
                found = str(error)
            taken = (value, getattr(make(), field.name))
            assert found in taken or field.name in str(found)


@given(count=st.integers(2, 50), batch=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_epoch_has_every_image_once_however_it_is_cut(count, batch, seed):
    whole = indices(seed, 0, 3 * count, count)
    cut = np.concatenate(
        [indices(seed, k, min(k + batch, 3 * count), count) for k in range(0, 3 * count, batch)]
    )
    assert np.array_equal(whole, cut)
    for epoch in range(3):
        assert sorted(whole[epoch * count : (epoch + 1) * count]) == list(range(count))


@pytest.mark.filterwarnings("ignore:.*pin_memory.*")
def test_bytes_that_are_fetched_ahead_are_those_of_the_step(bars):
    """Two processes share a step; after a resume, or out of order, the feed begins anew."""
    for rank in (0, 1):
        share = range(8 * rank, 8 * rank + 8)
        ahead, plain = (Feed(bars, 3, 16, share, 9, ahead=way) for way in (True, False))
        for step in (0, 1, 2, 6, 7, 3):
            wanted = bars.take(indices(3, 16 * step + 8 * rank, 16 * step + 8 * rank + 8, len(bars)))
            assert np.array_equal(plain.take(step).numpy(), wanted)
            if rank or step in (0, 1, 6):
                assert np.array_equal(ahead.take(step).numpy(), wanted)
