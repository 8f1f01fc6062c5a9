"""Weights, noise and images that follow from a name alone; a fixture holds what official code made of them."""

import argparse
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "official"
NAMES = ("bernoulli", "logistic")


def numbers(name, shape, low=-1.0, high=1.0):
    """Returns uniform float64 numbers that depend on the name and the shape only."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(low + (high - low) * generator.random(tuple(shape)))


def weight(key, shape):
    """Returns the tensor of one key of an official state_dict."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(3)
    if key.endswith(".weight_normalized"):
        return weight(key.removesuffix("_normalized"), shape)
    if key.endswith("running_var"):
        return numbers(key, shape, 0.5, 2.0).float()
    if key.endswith("weight") and len(shape) == 1:
        return numbers(key, shape, 0.5, 1.5).float()
    spread = math.sqrt(3 / math.prod(shape[1:])) if key.endswith("weight") else 0.5
    return numbers(key, shape, -spread, spread).float()


def state_dict(keys):
    """Returns an official state_dict of generated weights."""
    return {key: weight(key, shape) for key, shape in keys}


def pixels(channels, size, bits):
    """Returns two images as the networks take them; in colour the first has rows of 0, 255 and 254."""
    if channels == 1:
        return (numbers("image", (2, 1, size, size)) > 0.3).double()
    x = torch.floor(numbers("image", (2, 3, size, size), 0, 256))
    x[0, :, 0], x[0, :, 1], x[0, :, 2] = 0, 255, 254
    return torch.floor(x / 2 ** (8 - bits)) / (2**bits - 1)


def fixture(name):
    """Returns the args, keys with shapes, and official outputs of one configuration."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def checkpoint(held, **changes):
    """Returns what the official code would have saved."""
    return {
        "epoch": 3, "state_dict": state_dict(held["keys"]), "optimizer": {"state": {}, "param_groups": []},
        "global_step": 10, "args": argparse.Namespace(**held["args"]), "arch_instance": {}, "scheduler": {},
        "grad_scalar": {}, **changes,
    }  # fmt: skip
