"""A preset has the published number of weights; sizes that do not fit are refused with what would."""

import pytest
import torch
from torch import nn

from shoestring._errors import OptionError
from shoestring.nvae import NVAE, NVAEConfig, preset
from shoestring.nvae.model.configuration import adaptive_groups
from shoestring.nvae.model.layers import DownSkip

# millions of weights, convolutions, batch norms: measured on the authors' implementation
PUBLISHED = {
    "mnist": (33.4, 255, 214),
    "cifar10": (130.9, 610, 364),
    "celeba64": (153.3, 730, 436),
    "imagenet32": (268.5, 570, 340),
    "ffhq256": (330.8, 986, 460),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = NVAE(preset(name))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    skips = sum(isinstance(module, DownSkip) for module in model.modules())  # ours is one of four
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert (round(millions, 1), convolutions + 3 * skips, norms) == PUBLISHED[name]


def test_groups_halve_from_scale_to_scale():
    assert adaptive_groups(10, 2) == (10, 5)
    assert adaptive_groups(20, 3) == (20, 10, 5)
    assert adaptive_groups(16, 5, 4) == (16, 8, 4, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 28, "padding": 0}, "divide by 8; take image_size 24 or 32, or padding 2"),
        ({"image_size": 28, "padding": 1}, "padding 1: .* divide by 8; take image_size 22 or 30"),
        ({"likelihood": "gauss"}, "likelihood 'gauss': must be one of bernoulli, logistic, normal"),
        ({"likelihood": "logistic", "in_channels": 2}, "in_channels 2: a logistic mixture is for 1"),
        ({"groups": ()}, "give at least one scale"),
        ({"groups": (4, 0)}, "groups 0: must be a whole number from 1"),
        ({"bits": 9}, "bits 9: must be from 1 to 8"),
        ({"encoder_channels": 31}, "must be even"),
        ({"latents": 0}, "latents 0"),
        ({"decoder_cell": "wide"}, "must be one of depthwise, dense"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        NVAEConfig(**changes)


def test_unknown_names_are_refused_with_those_that_exist():
    with pytest.raises(OptionError, match="--preset mnist2: unknown; choose one of digits, mnist-cpu"):
        preset("mnist2")
    with pytest.raises(OptionError, match="wheels: no such setting"):
        preset("mnist", wheels=4)


def test_a_config_survives_json():
    for name in ("mnist", "ffhq256"):
        config = preset(name)
        assert NVAEConfig.from_json(config.to_json()) == config
