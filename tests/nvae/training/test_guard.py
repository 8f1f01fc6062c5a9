"""A step is judged by its gradient and its loss: taken, cut, skipped, or undone by a roll back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.nvae.training.guard import Guard, Verdict


def judged(norms, **changes):
    guard, verdicts = Guard(**{"clip": 3.0, "explosion": 20.0, "patience": 3, **changes}), []
    for norm in norms:
        guard, verdict, scale = guard.judge(norm, 100.0)
        verdicts.append((verdict, scale))
    return guard, verdicts


def test_ordinary_steps_are_taken_whole():
    guard, verdicts = judged([1.0, 2.0, 1.5, 0.5, 1.0, 1.2, 2.0])
    assert all(each == (Verdict.TAKE, 1.0) for each in verdicts)
    assert guard.skipped == 0


def test_long_gradients_are_cut_and_exploding_ones_skipped():
    _, verdicts = judged([1.0] * 10 + [6.0, 100.0, float("nan"), 1.0])
    assert verdicts[10] == (Verdict.TAKE, pytest.approx(0.5))
    assert [verdict for verdict, _ in verdicts[11:]] == [Verdict.SKIP, Verdict.SKIP, Verdict.TAKE]


def test_too_many_skips_in_a_row_roll_back_and_halve_the_rate():
    guard, verdicts = judged([1.0] * 8 + [math.inf] * 3)
    assert verdicts[-1][0] is Verdict.ROLL_BACK
    assert (guard.rollbacks, guard.skipped, guard.rate_factor) == (1, 3, 0.5)


def losses_judged(losses, norm=1.0, **changes):
    guard, verdicts = Guard(**{"clip": 3.0, "explosion": 20.0, "patience": 3, **changes}), []
    for loss in losses:
        guard, verdict, _ = guard.judge(norm, loss)
        verdicts.append(verdict)
    return guard, verdicts


def test_a_loss_that_is_astray_is_skipped_until_the_run_rolls_back():
    """What a long first step does: the gradients after it are as long as each other, the weights are lost."""
    guard, verdicts = losses_judged((180.0, 150.0, 3e6, 2e6, 2e6, 160.0))
    assert verdicts == [Verdict.TAKE] * 2 + [Verdict.SKIP] * 2 + [Verdict.ROLL_BACK, Verdict.TAKE]
    assert guard.rate_factor == 0.5


@given(
    losses=st.lists(st.integers(-(2**20), 2**20).map(float) | st.just(math.nan), max_size=60),
    offset=st.integers(-(2**30), 2**30).map(float),
)
def test_only_differences_of_losses_count(losses, offset):
    """A density's loss may be anywhere: moved by a constant, every verdict stays (the sums are exact or nearly so)."""
    assert (
        losses_judged(losses, unit=7.8)[1] == losses_judged([loss + offset for loss in losses], unit=7.8)[1]
    )


def test_the_warm_up_of_kl_is_no_rise_of_the_loss():
    guard = Guard(3.0, 20.0, 3)
    for step in range(10):
        guard, verdict, _ = guard.judge(1.0, 40.0, 800.0, step / 9)
        assert verdict is Verdict.TAKE


@pytest.mark.parametrize(("before", "after"), [(0.5, 25.0), (-3.0, 40.0), (0.0, 1000.0)])
def test_a_lasting_change_of_the_loss_is_accepted_in_the_end(before, after):
    guard, verdicts = losses_judged([before] * 50 + [after] * 50)
    assert verdicts[-20:] == [Verdict.TAKE] * 20
    assert guard.rollbacks <= 7


def test_after_a_roll_back_the_losses_of_the_checkpoint_are_expected():
    early, _ = losses_judged([500.0] * 3)
    guard, _ = losses_judged([500.0] * 3 + [100.0] * 40 + [math.nan] * 3)
    assert guard.back_to(early).judge(1.0, 520.0)[1] is Verdict.TAKE
    assert (guard.back_to(early).skipped, guard.back_to(early).rollbacks) == (3, 1)


def test_a_lasting_change_of_scale_is_accepted_in_the_end():
    _, verdicts = judged([1.0] * 50 + [50.0] * 60, patience=100)
    assert verdicts[50][0] is Verdict.SKIP
    assert verdicts[-1][0] is Verdict.TAKE


@given(st.lists(st.floats(0, 1e30) | st.just(math.nan) | st.just(math.inf), max_size=60))
def test_what_is_taken_is_finite_and_never_longer_than_allowed(norms):
    guard = Guard(3.0, 20.0, 3)
    for norm in norms:
        before = guard
        guard, verdict, scale = guard.judge(norm, 100.0)
        if verdict is Verdict.TAKE:
            assert math.isfinite(norm)
            assert 0 < scale <= 1
            if before.seen >= 5:
                assert norm * scale <= 3.0 * math.exp(before.log_norm) * (1 + 1e-9)
