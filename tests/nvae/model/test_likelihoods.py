"""Probabilities sum to 1, samples have the values that exist, and divergences are what torch.distributions says."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.nvae import NVAEConfig
from shoestring.nvae.model.likelihoods import (
    log_likelihood,
    mean_image,
    published_image,
    quantised,
    sample_image,
)
from shoestring.nvae.model.normal import Normal, divergence


def config(**changes):
    return NVAEConfig(likelihood="logistic", mixtures=2, **changes)


def head_for(settings, seed, spread=1.0):
    """One pixel, one row of numbers of the head."""
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(1, settings.head_channels, 1, 1, generator=generator)


@settings(deadline=None, max_examples=30)
@given(bits=st.sampled_from([1, 5, 8]), seed=st.integers(0, 10**6), spread=st.sampled_from([0.1, 1.0, 5.0]))
def test_gray_values_sum_to_one(bits, seed, spread):
    gray = config(in_channels=1, bits=bits)
    levels = 2**bits
    values = (torch.arange(levels) / (levels - 1)).reshape(-1, 1, 1, 1)
    mass = log_likelihood(head_for(gray, seed, spread).expand(levels, -1, -1, -1), values, gray)
    assert torch.logsumexp(mass.double(), 0).item() == pytest.approx(0, abs=1e-4)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.3, 1.0, 3.0]))
def test_rgb_values_sum_to_one_at_5_bits(seed, spread):
    rgb = config(in_channels=3, bits=5)
    values = torch.tensor(list(itertools.product(range(32), repeat=3))) / 31
    mass = log_likelihood(
        head_for(rgb, seed, spread).expand(len(values), -1, -1, -1), values[:, :, None, None], rgb
    )
    assert torch.logsumexp(mass.double(), 0).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_rgb_values_sum_to_one_at_8_bits():
    rgb = config(in_channels=3, bits=8)
    head = head_for(rgb, 7)
    grid = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    total = []
    for red in range(256):
        values = torch.cat([torch.full((len(grid), 1), red), grid], 1) / 255
        mass = log_likelihood(head.expand(len(values), -1, -1, -1), values[:, :, None, None], rgb)
        total.append(torch.logsumexp(mass.double(), 0))
    assert torch.logsumexp(torch.stack(total), 0).item() == pytest.approx(0, abs=1e-4)


def test_samples_have_the_frequencies_that_the_likelihood_says():
    gray = config(in_channels=1, bits=2)
    head = head_for(gray, 3).expand(40000, -1, -1, -1)
    torch.manual_seed(0)
    drawn = torch.bincount((sample_image(head, gray).flatten() * 3).round().long(), minlength=4) / 40000
    values = (torch.arange(4) / 3).reshape(-1, 1, 1, 1)
    expected = log_likelihood(head[:4], values, gray).exp()
    torch.testing.assert_close(drawn, expected, atol=0.01, rtol=0)


def test_rgb_samples_follow_their_couplings():
    rgb = config(in_channels=3, bits=1)
    head = head_for(rgb, 5, 2.0).expand(60000, -1, -1, -1)
    torch.manual_seed(0)
    codes = (sample_image(head, rgb).flatten(1).round().long() * torch.tensor([4, 2, 1])).sum(1)
    values = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))[:, :, None, None]
    expected = log_likelihood(head[:8], values, rgb).exp()
    torch.testing.assert_close(torch.bincount(codes, minlength=8) / 60000, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_the_mean_image_is_the_expectation_of_gray(bits):
    gray, levels = config(in_channels=1, bits=bits), 2**bits
    values = (torch.arange(levels).double() / (levels - 1)).reshape(-1, 1, 1, 1)
    for seed in range(30):
        head = head_for(gray, seed, (0.1, 1.0, 4.0)[seed % 3]).double()
        head[:, 3::2] -= seed / 5  # narrow ones
        mass = log_likelihood(head.expand(levels, -1, -1, -1), values, gray).exp()
        assert mean_image(head, gray).item() == pytest.approx(
            (mass * values.flatten()).sum().item(), abs=1e-4
        )


@pytest.mark.parametrize(("bits", "within"), [(1, 1e-6), (3, 1e-6), (4, 6e-3)])
def test_the_mean_image_is_the_expectation_of_rgb(bits, within):
    """The published image is another thing: up to some tenths away for such heads."""
    rgb, levels = config(in_channels=3, bits=bits), 2**bits
    values = torch.tensor(list(itertools.product(range(levels), repeat=3))).double() / (levels - 1)
    others = []
    for seed in range(12):
        head = head_for(rgb, seed).double()
        mass = log_likelihood(head.expand(len(values), -1, -1, -1), values[:, :, None, None], rgb).exp()
        expected = (mass[:, None] * values).sum(0)
        assert (mean_image(head, rgb).flatten() - expected).abs().max() < within
        others.append((published_image(head, rgb).flatten() - expected).abs().max().item())
    assert max(others) > 0.1


def test_the_published_image_is_official():
    """mean(): averages of the raw means and couplings first (distributions.py of the official code, in other words)."""
    rgb = config(in_channels=3, bits=5)
    head = head_for(rgb, 2)
    weight = head[0, :2, 0, 0].softmax(0)
    mixtures = head[0, 2:, 0, 0].reshape(2, 9)
    means, couplings = weight @ mixtures[:, :3], weight @ torch.tanh(mixtures[:, 6:])
    red = means[0].clamp(-1, 1)
    green = (means[1] + couplings[0] * red).clamp(-1, 1)
    blue = (means[2] + couplings[1] * red + couplings[2] * green).clamp(-1, 1)
    expected = torch.stack([red, green, blue]) / 2 + 0.5
    torch.testing.assert_close(published_image(head, rgb).flatten(), expected)


def test_a_colder_pixel_spreads_less():
    gray = config(in_channels=1, bits=8)
    head = head_for(gray, 1).expand(4000, -1, -1, -1).clone()
    head[:, 1:2] = 20.0  # one mixture, always
    torch.manual_seed(0)
    spreads = [sample_image(head, gray, temperature).std().item() for temperature in (0.0, 0.3, 1.0)]
    assert spreads == sorted(spreads)
    assert spreads[0] < 1e-6


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic", "normal"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_within_bounds(likelihood, channels):
    settings = NVAEConfig(likelihood=likelihood, in_channels=channels)
    head = 4 * torch.randn(3, settings.head_channels, 8, 8)
    for image in (show(head, settings) for show in (mean_image, published_image, sample_image)):
        assert image.shape == (3, channels, 8, 8)
        assert image.min() >= 0
        assert image.max() <= 1


def test_five_bits_are_what_is_left_of_eight():
    x = torch.arange(256.0).reshape(1, 1, 16, 16) / 255
    five = quantised(x, config(bits=5))
    assert torch.equal((five * 31).round(), torch.arange(256).reshape(1, 1, 16, 16) // 8)
    assert torch.equal(quantised(x, config(bits=8)), x)


numbers = st.floats(-20, 20)


@given(numbers, numbers, numbers, numbers)
def test_divergence_is_that_of_torch(mean_q, log_q, mean_p, log_p):
    q, p = (
        Normal.from_raw(torch.tensor(m).double(), torch.tensor(s).double())
        for m, s in ((mean_q, log_q), (mean_p, log_p))
    )
    theirs = torch.distributions.kl_divergence(*(torch.distributions.Normal(*each) for each in (q, p)))
    torch.testing.assert_close(divergence(q, p), theirs, rtol=1e-4, atol=1e-5)


@given(numbers, numbers)
def test_divergence_of_equals_is_zero(mean, log):
    p = Normal.from_raw(torch.tensor(mean), torch.tensor(log))
    assert divergence(p, p).item() == 0


def test_residual_and_absolute_form_are_one():
    """KL of N(mu + dmu, sigma dsigma) from N(mu, sigma) is (dmu^2/sigma^2 + dsigma^2 - log dsigma^2 - 1) / 2."""
    mean, shift = torch.randn(2, 100, dtype=torch.float64)
    deviation, ratio = torch.rand(2, 100, dtype=torch.float64) + 0.1
    absolute = divergence(Normal(mean + shift, deviation * ratio), Normal(mean, deviation))
    residual = 0.5 * (shift**2 / deviation**2 + ratio**2 - torch.log(ratio**2) - 1)
    torch.testing.assert_close(absolute, residual)


def test_density_is_that_of_torch():
    normal = Normal(torch.randn(50), torch.rand(50) + 0.1)
    z = torch.randn(50)
    torch.testing.assert_close(normal.log_prob(z), torch.distributions.Normal(*normal).log_prob(z))
