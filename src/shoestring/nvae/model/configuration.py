"""What one NVAE looks like: image, likelihood, scales, groups, cells, flows.

- Resolution falls by 2 and channels double with every block and every scale; `groups` counts from the finest scale.
- `patch` folds patch x patch pixels into channels first: no cell runs at full resolution, which is what makes
  training on two cores possible.
- The published presets have the published sizes, weight for weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from shoestring._errors import InputError, OptionError

LIKELIHOODS = ("bernoulli", "logistic", "normal")
FLOWS = ("shift", "affine")
CELLS = ("depthwise", "dense")
BINS = ("exact", "published")
MODEL_TYPE = "shoestring_nvae"


@dataclass(frozen=True)
class NVAEConfig:
    """Sizes and choices of one model.

    Args:
        image_size: height and width of the images in pixels.
        padding: pixels added on every side before the network and cut off after it.
        in_channels: 1 (gray), 3 (RGB), or any number for bernoulli and normal.
        likelihood: of a pixel: `bernoulli`, `logistic` (discretised mixture) or `normal` (a density).
        bits: values of a channel under `logistic`, 8 (256) or 5 (32), or any from 1 to 8.
        mixtures: logistics in a mixture.
        bins: of `logistic`: `exact`, or `published`, whose masses do not quite sum to 1 (for official checkpoints and
            their figures).
        patch: side of the square of pixels that becomes one position; 1 is the published stem and head.
        encoder_channels: after the stem.
        decoder_channels: before the head.
        blocks: halvings of the resolution before the finest latents.
        block_cells: cells of a block.
        groups: groups of latents per scale, finest scale first; see `adaptive_groups`.
        encoder_cells: cells per group of the encoder.
        decoder_cells: cells per group of the decoder.
        latents: channels of a group of latents.
        flows: pairs of autoregressive flows in the posterior of a group.
        flow_kind: `shift` (as published: volume kept, unconditioned) or `affine` (scale and shift, conditioned on
            the image).
        residual_posterior: the posterior is told relative to the prior.
        decoder_cell: `depthwise` (as published) or `dense` (two 3x3 convolutions: faster on a CPU when channels
            are few).

    Raises:
        OptionError: a value is out of range, or the sizes do not divide; the message says which would.

    >>> NVAEConfig(image_size=28, padding=2, groups=(10, 5)).resolutions
    (8, 4)
    """

    image_size: int = 32
    padding: int = 0
    in_channels: int = 1
    likelihood: str = "bernoulli"
    bits: int = 8
    mixtures: int = 10
    patch: int = 1
    encoder_channels: int = 32
    decoder_channels: int = 32
    blocks: int = 2
    block_cells: int = 3
    groups: tuple[int, ...] = (10, 5)
    encoder_cells: int = 2
    decoder_cells: int = 2
    latents: int = 20
    flows: int = 0
    flow_kind: str = "shift"
    residual_posterior: bool = True
    decoder_cell: str = "depthwise"
    bins: str = "exact"

    def __post_init__(self) -> None:
        counts = ("image_size", "in_channels", "mixtures", "patch", "encoder_channels", "decoder_channels")
        for name in (*counts, "encoder_cells", "decoder_cells", "latents"):
            _whole(name, getattr(self, name), 1)
        for name in ("padding", "blocks", "block_cells", "flows", "bits"):
            _whole(name, getattr(self, name), 0)
        for name, allowed in (
            ("likelihood", LIKELIHOODS),
            ("flow_kind", FLOWS),
            ("decoder_cell", CELLS),
            ("bins", BINS),
        ):
            if getattr(self, name) not in allowed:
                raise OptionError(f"{name} {getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if not isinstance(self.residual_posterior, bool):
            raise OptionError(f"residual_posterior {self.residual_posterior!r}: must be true or false")
        self._check_groups()
        self._check_pixels()
        self._check_size()

    def _check_groups(self) -> None:
        if not isinstance(self.groups, (list, tuple)):
            raise OptionError(f"groups {self.groups!r}: must be a list of numbers, such as [4,2]")
        object.__setattr__(self, "groups", tuple(self.groups))
        if not self.groups:
            raise OptionError("groups (): give at least one scale, such as groups=(4, 2)")
        for count in self.groups:
            _whole("groups", count, 1)
        if self.blocks and not self.block_cells:
            raise OptionError("block_cells 0: a block needs at least one cell, which halves the resolution")
        for name in ("encoder_channels", "decoder_channels"):
            if getattr(self, name) % 2:
                raise OptionError(f"{name} {getattr(self, name)}: must be even")

    def _check_pixels(self) -> None:
        if not 1 <= self.bits <= 8:
            raise OptionError(f"bits {self.bits}: must be from 1 to 8")
        if self.likelihood == "logistic" and self.in_channels not in (1, 3):
            raise OptionError(
                f"in_channels {self.in_channels}: a logistic mixture is for 1 (gray) or 3 (RGB); "
                "take likelihood normal or bernoulli"
            )

    def _check_size(self) -> None:
        if self.inner_size % self.factor:
            sizes = [
                size for size in range(self.factor, 9 * self.factor, self.factor) if size > self.image_size
            ]
            pad = (sizes[0] - self.image_size) / 2 if sizes else 0
            hint = f", or padding {pad:.0f}" if pad and pad == int(pad) else ""
            below = self.image_size // self.factor * self.factor
            near = " or ".join(str(size - 2 * self.padding) for size in (below, below + self.factor) if size)
            raise OptionError(
                f"image_size {self.image_size} with padding {self.padding}: patch, blocks and scales divide by "
                f"{self.factor}; take image_size {near}{hint}"
            )

    @property
    def inner_size(self) -> int:
        """Height and width with padding."""
        return self.image_size + 2 * self.padding

    @property
    def factor(self) -> int:
        """By how much the coarsest latents are smaller than the padded image."""
        return self.patch * 2 ** (self.blocks + len(self.groups) - 1)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Height and width of the latents of each scale, finest first."""
        finest = self.inner_size // self.patch // 2**self.blocks
        return tuple(finest // 2**scale for scale in range(len(self.groups)))

    @property
    def scale_of_group(self) -> tuple[int, ...]:
        """The scale of each group, from the top of the hierarchy (coarsest) down; 0 is the finest scale."""
        return tuple(scale for scale in reversed(range(len(self.groups))) for _ in range(self.groups[scale]))

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each group's latents, coarsest first."""
        return tuple(
            (self.latents, self.resolutions[scale], self.resolutions[scale]) for scale in self.scale_of_group
        )

    @property
    def dimensions(self) -> int:
        """Numbers in one image: what bits per dimension are per."""
        return self.image_size**2 * self.in_channels

    @property
    def head_channels(self) -> int:
        """Numbers per pixel that the likelihood takes."""
        if self.likelihood == "logistic":
            return self.mixtures * (3 if self.in_channels == 1 else 10)
        return self.in_channels * (2 if self.likelihood == "normal" else 1)

    def to_json(self) -> dict[str, Any]:
        """Returns the contents of a model's config.json."""
        return {"model_type": MODEL_TYPE, **asdict(self), "groups": list(self.groups)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: object = "config.json") -> NVAEConfig:
        """Returns the config that `to_json` wrote.

        Raises:
            InputError: it is of another kind of model, or has settings that this version does not know.
        """
        kind = values.get("model_type")
        if kind != MODEL_TYPE:
            raise InputError(
                f"{where}: of a {kind} model, not of an NVAE; give a folder from: shoestring nvae train"
            )
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {name: value for name, value in values.items() if name != "model_type"}
        if unknown := sorted(set(given) - known):
            raise InputError(
                f"{where}: has {unknown[0]}, which this version does not know; update shoestring"
            )
        return cls(**given)


def adaptive_groups(most: int, scales: int, least: int = 1) -> tuple[int, ...]:
    """Returns groups per scale, finest first, halved (rounded down) from scale to scale but never below `least`.

    >>> adaptive_groups(16, scales=5, least=4)
    (16, 8, 4, 4, 4)
    """
    return tuple(max(least, most // 2**scale) for scale in range(scales))


_WIDE = {"in_channels": 3, "likelihood": "logistic", "blocks": 1, "block_cells": 2, "flows": 1}
_FACES = {
    **_WIDE, "image_size": 256, "bits": 5, "encoder_channels": 30, "decoder_channels": 30, "flows": 2,
    "groups": adaptive_groups(16, 5, 4),
}  # fmt: skip
_SMALL = {"blocks": 0, "block_cells": 0, "encoder_cells": 1, "decoder_cells": 1, "decoder_cell": "dense"}

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        **_SMALL, "image_size": 8, "likelihood": "logistic", "bits": 4, "mixtures": 3, "encoder_channels": 32,
        "decoder_channels": 32, "groups": (2, 2), "latents": 4,
    },
    "mnist-cpu": {
        **_SMALL, "image_size": 28, "padding": 2, "patch": 4, "encoder_channels": 32, "decoder_channels": 32,
        "groups": (4, 2), "latents": 8,
    },
    "mnist": {"image_size": 28, "padding": 2, "groups": (10, 5)},
    "cifar10": {**_WIDE, "encoder_channels": 128, "decoder_channels": 128, "groups": (30,)},
    "celeba64": {
        **_WIDE, "image_size": 64, "encoder_channels": 64, "decoder_channels": 64, "groups": adaptive_groups(20, 3),
    },
    "imagenet32": {**_WIDE, "encoder_channels": 192, "decoder_channels": 192, "groups": (28,)},
    "celebahq256": _FACES,
    "ffhq256": _FACES,
}  # fmt: skip


def preset(name: str, **changes: Any) -> NVAEConfig:
    """Returns the config of a preset.

    >>> preset("digits", latents=6).latents
    6

    Raises:
        OptionError: there is no such preset or setting.
    """
    if name not in PRESETS:
        raise OptionError(f"--preset {name}: unknown; choose one of {', '.join(PRESETS)}")
    known = [field.name for field in fields(NVAEConfig)]
    if unknown := [change for change in changes if change not in known]:
        raise OptionError(f"{unknown[0]}: no such setting of a model; choose one of {', '.join(known)}")
    return replace(NVAEConfig(), **{**PRESETS[name], **changes})


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} {value!r}: must be a whole number from {least}")
