"""What the `args` of an official checkpoint say, as a config of ours; what no published preset has is refused by name.

Numbers are looked at before anything is built from them: a file may say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoestring._errors import InputError, OptionError
from shoestring.nvae.model.configuration import NVAEConfig, adaptive_groups

BINARISED = ("mnist", "omniglot")
SIZES = {
    "cifar10": 32, "imagenet_32": 32, "celeba_64": 64, "lsun_church_64": 64, "lsun_bedroom_128": 128,
    "lsun_church_128": 128, "celeba_256": 256, "ffhq": 256,
}  # fmt: skip
# What the official command line takes if it is not told.
DEFAULTS: dict[str, Any] = {
    "arch_instance": "res_mbconv", "num_nf": 0, "num_x_bits": 8, "num_latent_scales": 1, "num_groups_per_scale": 10,
    "num_latent_per_group": 20, "ada_groups": False, "min_groups_per_scale": 1, "num_channels_enc": 32,
    "num_channels_dec": 32, "num_preprocess_blocks": 2, "num_preprocess_cells": 3, "num_postprocess_blocks": 2,
    "num_postprocess_cells": 3, "num_cell_per_cond_enc": 1, "num_cell_per_cond_dec": 1, "num_mixture_dec": 10,
    "use_se": False, "res_dist": False,
}  # fmt: skip
MOST, MOST_SCALES = 4096, 16  # beyond any architecture that has been trained
LATER = ("ada_groups", "min_groups_per_scale", "num_mixture_dec")  # early files are without these


def official_config(
    args: Mapping[str, Any], where: object = "args", size: int | None = None, channels: int | None = None
) -> NVAEConfig:
    """Returns the config that a checkpoint's `args` describe; for `size` and `channels` see `convert`.

    Raises:
        InputError: something is missing, or no published preset has it.
    """
    known = {name: DEFAULTS[name] for name in LATER} | dict(args)
    for name in ("dataset", *DEFAULTS):
        if name not in known:
            raise InputError(f"{where}: its args have no {name}; not a checkpoint of the official NVAE code")
    _require_counts(known, where)
    _refuse_unpublished(known, where)
    scales, groups = known["num_latent_scales"], known["num_groups_per_scale"]
    adaptive = adaptive_groups(groups, scales, known["min_groups_per_scale"])
    try:
        return NVAEConfig(
            **_pixels(known, where, size, channels),
            encoder_channels=known["num_channels_enc"],
            decoder_channels=known["num_channels_dec"],
            blocks=known["num_preprocess_blocks"],
            block_cells=known["num_preprocess_cells"],
            groups=adaptive if known["ada_groups"] else (groups,) * scales,
            encoder_cells=known["num_cell_per_cond_enc"],
            decoder_cells=known["num_cell_per_cond_dec"],
            latents=known["num_latent_per_group"],
            flows=known["num_nf"],
            residual_posterior=bool(known["res_dist"]),
        )
    except OptionError as error:
        raise InputError(f"{where}: its args make no model: {error}") from error


def _require_counts(args: Mapping[str, Any], where: object) -> None:
    for name, usual in DEFAULTS.items():
        value = args[name]
        if isinstance(usual, bool) and not isinstance(value, bool | int):
            raise InputError(f"{where}: {name} is {value!r}, not true or false")
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
        if isinstance(usual, int) and not isinstance(usual, bool) and not whole:
            raise InputError(f"{where}: {name} is {value!r}, not a whole number from 0 to {MOST:,}")
    if args["num_latent_scales"] > MOST_SCALES or args["num_preprocess_blocks"] > MOST_SCALES:
        raise InputError(f"{where}: more than {MOST_SCALES} halvings of the resolution")


def _refuse_unpublished(args: Mapping[str, Any], where: object) -> None:
    allowed = {
        "arch_instance": "res_mbconv",
        "use_se": True,
        "num_postprocess_blocks": args["num_preprocess_blocks"],
        "num_postprocess_cells": args["num_preprocess_cells"],
    }
    for name, value in allowed.items():
        if args[name] != value:
            raise InputError(
                f"{where}: {name} is {args[name]}; only {value} can be converted, as in all presets"
            )
    if args["num_latent_scales"] == args["num_groups_per_scale"] == 1:
        raise InputError(f"{where}: one group of latents in all; at least 2 can be converted")


def _pixels(args: Mapping[str, Any], where: object, size: int | None, channels: int | None) -> dict[str, Any]:
    """Returns what the config says of images and their likelihood."""
    name, mixtures = args["dataset"], args["num_mixture_dec"]
    if name in BINARISED:
        _require_known(name, (28, 1), (size, channels), where)
        return {"image_size": 28, "padding": 2, "in_channels": 1, "likelihood": "bernoulli"}
    if name in SIZES:
        _require_known(name, (SIZES[name], 3), (size, channels), where)
        size, channels = SIZES[name], 3
    if size is None or channels is None:
        raise InputError(
            f"{where}: dataset is {name}; known are {', '.join((*BINARISED, *SIZES))}; for images of your own give "
            "--size and --channels"
        )
    if channels == 1:  # what the official decoder has for one channel
        return {"image_size": size, "in_channels": 1, "likelihood": "bernoulli"}
    image = {"image_size": size, "in_channels": channels, "bits": args["num_x_bits"]}
    if mixtures == 1:
        return {**image, "likelihood": "normal"}
    return {**image, "likelihood": "logistic", "mixtures": mixtures, "bins": "published"}


def _require_known(
    name: str, known: tuple[int, int], given: tuple[int | None, int | None], where: object
) -> None:
    if any(value not in (None, fact) for value, fact in zip(given, known, strict=True)):
        raise InputError(f"{where}: its images are of {name}, --size {known[0]} --channels {known[1]}")
