"""Bounds are bounds, seeds decide, cold samples are one image, and what is saved is what is loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shoestring._errors import InputError, OptionError
from shoestring.nvae import NVAE, evaluate, readjusted
from shoestring.nvae.inference import drawing, evaluation
from shoestring.nvae.inference.drawing import draw
from shoestring.nvae.inference.evaluation import importance_weighted
from shoestring.nvae.inference.latents import between
from shoestring.nvae.inference.noise import latent_noise, prepared_images
from shoestring.nvae.model.likelihoods import log_likelihood
from shoestring.nvae.model.modeling import load
from shoestring.nvae.model.towers import Cells
from shoestring.nvae.training.objective import coefficients, objective

from ..conftest import some_images, tiny_config, tiny_model

VARIANTS = {
    "plain": {},
    "published cells": {"decoder_cell": "depthwise", "blocks": 1, "block_cells": 2},
    "rgb": {"in_channels": 3, "likelihood": "logistic", "bits": 5, "mixtures": 3},
    "normal": {"likelihood": "normal", "residual_posterior": False},
    "patches": {"patch": 2, "padding": 4, "groups": (1, 1, 1)},
    "shift": {"flows": 1},
    "affine": {"flows": 1, "flow_kind": "affine"},
    "unequal": {"encoder_channels": 12, "decoder_channels": 6},
}


def batch(model, count=4, seed=0):
    torch.manual_seed(seed)
    config = model.config
    x = torch.rand(count, config.in_channels, config.image_size, config.image_size)
    return torch.floor(x * 31.99) / 31 if config.likelihood == "logistic" else x.round()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_samples_and_gives_gradients_to_all(variant, last):
    model = tiny_model(**VARIANTS[variant]).train()
    if last:
        model = model.to(memory_format=torch.channels_last)
    x = batch(model)
    loss = objective(model(x), model.config, 0.5, True)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    assert model.sample(3).shape == (3, *x.shape[1:])
    assert model.reconstruct(x).shape == x.shape


@pytest.mark.parametrize("variant", ["plain", "published cells", "affine"])
def test_memory_formats_agree(variant):
    model = tiny_model(**VARIANTS[variant])
    x, found = batch(model), []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=layout).eval()
        torch.manual_seed(3)
        found.append(model(x).elbo)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("variant", ["plain", "published cells"])
def test_cells_that_recompute_give_the_same_gradients_and_move_statistics_once(variant):
    found, kept = [], []
    for recompute in (False, True):
        model = tiny_model(**VARIANTS[variant]).train()
        for module in model.modules():
            if isinstance(module, Cells):
                module.recompute = recompute
        x, sizes = batch(model, 16), {}

        def pack(value, sizes=sizes):
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            total = objective(model(x), model.config, 0.5, True).total
        total.backward()
        kept.append(sum(sizes.values()))
        found.append([total, *(parameter.grad for parameter in model.parameters()), *model.buffers()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    assert kept[1] < 0.9 * kept[0]


@pytest.mark.parametrize("variant", ["plain", "shift", "affine", "normal"])
def test_the_bound_is_made_of_its_parts(variant):
    """log p(x, z) - log q(z | x) from scratch equals what the model says."""
    model = tiny_model(**VARIANTS[variant])
    x = batch(model)
    torch.manual_seed(1)
    bound = model(x)
    torch.manual_seed(1)
    latents, head = model.infer(x)
    torch.testing.assert_close(bound.likelihood, log_likelihood(head, x, model.config))
    weight = bound.likelihood - sum(latent.log_ratio for latent in latents)
    torch.testing.assert_close(bound.log_weight, weight)
    torch.testing.assert_close(bound.elbo, bound.likelihood - sum(latent.kl for latent in latents))


def test_the_estimated_kl_is_right_on_average():
    model = tiny_model()
    x = batch(model, 1).expand(4000, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        latents, _ = model.infer(x)
    first = latents[0]  # later groups depend on the sample
    assert first.log_ratio.mean().item() == pytest.approx(first.kl.mean().item(), abs=0.1)


def test_importance_weighting_tightens_the_bound():
    model = tiny_model()
    for module in model.modules():  # posteriors that are far off, so that there is something to gain
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.weight.data *= 2
    x = batch(model, 6)
    bounds = []
    for samples in (1, 10, 100):
        runs = max(4, 60 // samples)
        bounds.append(
            torch.stack([importance_weighted(model, x, samples, seed) for seed in range(runs)]).mean().item()
        )
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0] + 0.1


def test_caching_features_changes_nothing():
    model = tiny_model()
    x = batch(model)
    torch.manual_seed(2)
    plain = model(x)
    torch.manual_seed(2)
    cached = model(x, model.ascend(x))
    assert torch.equal(plain.log_weight, cached.log_weight)


def test_evaluation_is_decided_by_its_seed_and_counts_every_image_once(bars):
    model = tiny_model()
    one, two = (evaluate(model, bars, samples=5, seed=4) for _ in range(2))
    assert one == two
    assert one.images == 80
    assert one.importance_weighted > one.elbo
    assert one.elbo == pytest.approx(-one.reconstruction - sum(one.kl_per_group))
    assert evaluate(model, bars, seed=5).elbo != one.elbo
    assert evaluate(model, some_images(301), seed=0).images == 301  # batches of 256


def test_noise_belongs_to_image_and_sample_whatever_the_batches_are(bars, monkeypatch):
    model = tiny_model()
    one = evaluate(model, bars, samples=1, seed=2)
    many = evaluate(model, bars, samples=64, seed=2)
    monkeypatch.setattr(evaluation, "TOGETHER", 7)
    cut = evaluate(model, bars, samples=64, seed=2)
    for other in (many, cut):
        assert other.elbo == pytest.approx(one.elbo, abs=1e-4)
        assert other.kl_per_group == pytest.approx(one.kl_per_group, abs=1e-4)
    assert cut.importance_weighted == pytest.approx(many.importance_weighted, abs=1e-4)
    few = evaluate(model, bars.part(0, 5), samples=9, seed=2)
    x = prepared_images(model.config, bars, range(3, 5), 2)
    last = importance_weighted(model, x, 9, 2, [3, 4])
    whole = importance_weighted(model, prepared_images(model.config, bars, range(5), 2), 9, 2)
    torch.testing.assert_close(whole[3:], last, rtol=0, atol=1e-4)
    assert few.importance_weighted == pytest.approx(whole.mean().item(), abs=1e-4)


@pytest.mark.parametrize("pixels", ["expected", "published", "drawn"])
def test_image_i_of_a_seed_is_the_same_in_any_number_of_images(pixels, monkeypatch):
    model = tiny_model(**VARIANTS["rgb"])
    whole = torch.cat(list(draw(model, 10, 0.8, seed=3, pixels=pixels)))
    monkeypatch.setattr(drawing, "TOGETHER", 3)
    parts = torch.cat(list(draw(model, 4, 0.8, seed=3, pixels=pixels, first=5)))
    torch.testing.assert_close(whole[5:9], parts, rtol=0, atol=1e-4)


def test_eval_mode_moves_no_statistics(bars):
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, bars, samples=3)
    model.sample(4)
    readjusted(model, 0.5, batches=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_temperature_zero_gives_one_image():
    model = tiny_model()
    torch.manual_seed(0)
    images = model.sample(5, temperature=0.0)
    torch.testing.assert_close(images, images[:1].expand_as(images), rtol=0, atol=1e-6)
    assert model.sample(5, temperature=1.0).std(0).max() > 1e-3


def test_a_temperature_per_scale_starts_with_the_coarsest():
    model = tiny_model()
    assert model.temperatures([0.3, 0.9]) == [0.3, 0.9, 0.9]
    with pytest.raises(OptionError, match="give one number from 0, or 2, coarsest scale first"):
        model.temperatures([0.1, 0.2, 0.3])
    with pytest.raises(OptionError, match="temperature -1"):
        model.temperatures(-1.0)


def test_readjusting_fits_the_decoder_alone_to_the_temperature():
    model = tiny_model()
    torch.manual_seed(0)
    other = readjusted(model, 0.5, batches=30, batch_size=50)
    changed = {
        name for name, value in other.state_dict().items() if not torch.equal(value, model.state_dict()[name])
    }
    assert changed
    assert all(name.startswith("decoder") for name in changed)
    norm = next(module for module in other.decoder.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.momentum == 0.05
    seen = []
    hook = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for _ in range(30):
        other.sample(50, 0.5)
    hook.remove()
    mean = torch.cat(seen).mean((0, 2, 3))
    torch.testing.assert_close(mean, norm.running_mean, rtol=0.1, atol=0.02)


def test_decoding_what_was_encoded_is_reconstructing():
    model = tiny_model(**VARIANTS["affine"])
    x = batch(model)
    torch.manual_seed(6)
    latents, head = model.infer(x)
    torch.testing.assert_close(model.decode([latent.z for latent in latents]), head)
    with pytest.raises(OptionError, match="this model has 3 groups; give a temperature"):
        model.decode([latents[0].z])
    with pytest.raises(OptionError, match="the first"):
        model.decode([latents[0].z[:, :1]])


def test_the_first_groups_are_kept_and_the_others_drawn():
    """With as many groups as there are it is decoding, with none it is sampling; at temperature 0 nothing is drawn."""
    model = tiny_model()
    noise = latent_noise(model.config, 0, range(4))
    sampled, chosen = model.sample_head(4, 0.7, noise), []
    original = model.decoder.forward

    def spy(batch, choose):
        def keeping(index, raw, stream):
            chosen.append(choose(index, raw, stream))
            return chosen[-1]

        return original(batch, keeping)

    model.decoder.forward = spy
    torch.testing.assert_close(model.sample_head(4, 0.7, noise), sampled)
    latents, model.decoder.forward = chosen[:], original
    for groups in (1, 2, 3):
        found = model.decode(latents[:groups], 0.7, noise)
        torch.testing.assert_close(found, sampled)
    assert not torch.allclose(
        model.decode(latents[:1], 0.7, latent_noise(model.config, 1, range(4))), sampled
    )
    cold = [model.decode(latents[:2], 0.0) for _ in range(2)]
    assert torch.equal(*cold)


def test_walks_start_and_end_where_they_should():
    start, end = ([torch.randn(2, 4, 4)] for _ in range(2))
    (walk,) = between(start, end, 5)
    torch.testing.assert_close(walk[0], start[0])
    torch.testing.assert_close(walk[-1], end[0], rtol=1e-5, atol=1e-6)


def test_balancing_spares_the_quiet_groups_and_ends_with_the_warm_up():
    config = tiny_config(groups=(2, 1))
    kl = torch.tensor([[4.0], [1.0], [1.0]])  # coarsest first
    gamma = coefficients(kl, config)
    assert gamma.mean().item() == pytest.approx(1)
    # alpha: 1 / 1 at the coarsest, 4 / 2 at the finest; divided by the least
    expected = torch.tensor([4.01 / 1, 1.01 / 2, 1.01 / 2])
    torch.testing.assert_close(gamma, expected / expected.mean())


# -- saving --------------------------------------------------------------------------------------------------------


def test_saved_is_loaded_bit_for_bit(tmp_path):
    model = tiny_model(**VARIANTS["affine"])
    model.to(memory_format=torch.channels_last).save_pretrained(tmp_path / "m")
    again = NVAE.from_pretrained(tmp_path / "m")
    assert again.config == model.config
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    x = batch(model)
    torch.manual_seed(0)
    one = model.to(memory_format=torch.contiguous_format)(x).elbo
    torch.manual_seed(0)
    assert torch.equal(one, again(x).elbo)


def test_weights_of_another_configuration_are_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "latents": 3}))
    with pytest.raises(InputError, match="are of two models"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(InputError, match="of a bert model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "wheels": 4}))
    with pytest.raises(InputError, match="has wheels, which this version does not know"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "model.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="absent in the weights"):
        load(tmp_path)


def test_images_of_another_shape_are_refused():
    with pytest.raises(OptionError, match=r"this model is for \(1, 8, 8\)"):
        tiny_model()(torch.zeros(2, 1, 9, 9))
