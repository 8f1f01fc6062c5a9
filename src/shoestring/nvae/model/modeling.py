"""NVAE: an image goes up a tower of features; latents come down another, group by group, each seeing those before.

- `ascend` computes the features of an image once; latents come from the posterior (`infer`), from the prior
  (`sample_head`), or are given (`decode`).
- Saved as config.json and model.safetensors, on disk or on the Hugging Face hub.

Vahdat & Kautz 2020, "NVAE: A Deep Hierarchical Variational Autoencoder" (arXiv 2007.03898).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelHubMixin
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.likelihoods import Head, Image, log_likelihood, mean_image
from shoestring.nvae.model.normal import Normal
from shoestring.nvae.model.towers import Decoder, Encoder, Latent, Raw, memory_format
from shoestring.train.tensor_files import save_tensors

WEIGHTS = "model.safetensors"
Noise = Sequence[Tensor]


class Bound(NamedTuple):
    """What one pass says about a batch; nats.

    Args:
        likelihood: log p(x | z) per image (b,).
        kl: per group and image (groups, b).
        log_weight: log p(x, z) - log q(z | x) per image (b,), for importance weighting.
        by_channel: kl per group, image and latent channel (groups, b, l).
    """

    likelihood: Tensor
    kl: Tensor
    log_weight: Tensor
    by_channel: Tensor

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound per image (b,)."""
        return self.likelihood - self.kl.sum(0)


class NVAE(
    nn.Module, ModelHubMixin, library_name="shoestring", tags=["nvae", "unconditional-image-generation"]
):
    """The model.

    Args:
        config: its sizes.

    >>> from shoestring.nvae import NVAE, preset
    >>> model = NVAE(preset("digits")).eval()
    >>> model.sample(2).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, config: NVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def forward(
        self, x: Image, features: Sequence[Tensor] | None = None, noise: Noise | None = None
    ) -> Bound:  # fmt: skip
        """Returns the bound on log p(x) of every image, by one sample of the posterior.

        Args:
            x: images in [0, 1], with the values that the likelihood knows.
            features: of these images, from `ascend`; computed if they are not given.
            noise: standard Normal numbers of every group's shape, (b, l, h, w); drawn if they are not given.
        """
        latents, head = self.infer(x, features, noise)
        likelihood = log_likelihood(head, x, self.config)
        return Bound(
            likelihood,
            torch.stack([latent.kl for latent in latents]),
            likelihood - torch.stack([latent.log_ratio for latent in latents]).sum(0),
            torch.stack([latent.by_channel for latent in latents]),
        )

    def ascend(self, x: Image) -> list[Tensor]:
        """Returns the bottom-up features of images in [0, 1], coarsest group first.

        Raises:
            OptionError: the images are not of the config's shape.
        """
        expected = (self.config.in_channels, self.config.image_size, self.config.image_size)
        if x.shape[1:] != expected:
            raise OptionError(f"images of shape {tuple(x.shape[1:])}: this model is for {expected}")
        inner = functional.pad(2 * x - 1, [self.config.padding] * 4, value=-1.0)
        return self.encoder(inner.contiguous(memory_format=memory_format(self.decoder.head.weight)))

    def infer(
        self, x: Image, features: Sequence[Tensor] | None = None, noise: Noise | None = None
    ) -> tuple[list[Latent], Head]:
        """Returns a sample of every group's posterior and the head's numbers under them; see `forward`."""
        given = self.ascend(x) if features is None else features
        latents: list[Latent] = []

        def choose(index: int, raw: Raw, stream: Tensor) -> Tensor:
            drawn = None if noise is None else noise[index]
            latents.append(self.decoder.groups[index].posterior(stream, given[index], raw, drawn))
            return latents[-1].z

        head = self.decoder(x.shape[0], choose)
        return latents, head

    @torch.no_grad()
    def encode(self, x: Image, noise: Noise | None = None) -> list[Tensor]:
        """Returns latents drawn from the posterior of images in [0, 1], coarsest group first; see `forward`."""
        return [latent.z for latent in self.infer(x, noise=noise)[0]]

    @torch.no_grad()
    def decode(
        self, latents: Sequence[Tensor], temperature: float | Sequence[float] | None = None, noise: Noise | None = None
    ) -> Head:  # fmt: skip
        """Returns the head's numbers for given latents; `mean_image` and `sample_image` make pictures of them.

        Args:
            latents: of all groups, coarsest first; with a temperature also of the first groups only.
            temperature: of the priors from which the groups that are not given are drawn; as for `sample_head`.
            noise: standard Normal numbers of every group's shape, for those that are drawn.

        Raises:
            OptionError: the latents are not of the model's shapes, or too few without a temperature.
        """
        shapes, wanted = [tuple(each.shape[1:]) for each in latents], list(self.config.latent_shapes)
        if not shapes or shapes != wanted[: len(shapes)]:
            raise OptionError(
                f"latents of {len(shapes)} groups {shapes[:1]}...: this model has {len(wanted)} groups, the first "
                f"{wanted[0]}"
            )
        if temperature is None and len(shapes) < len(wanted):
            raise OptionError(
                f"latents of {len(shapes)} groups: this model has {len(wanted)} groups; give a temperature, by which "
                "the others are drawn"
            )
        counts = {len(each) for each in latents}
        if len(counts) > 1:
            raise OptionError(
                f"latents of {' and '.join(map(str, sorted(counts)))} images: every group has as many"
            )
        return self._descend(len(latents[0]), latents, temperature, noise)

    @torch.no_grad()
    def reconstruct(self, x: Image, noise: Noise | None = None) -> Image:
        """Returns the expected images under one sample of the posterior."""
        return mean_image(self.infer(x, noise=noise)[1], self.config)

    @torch.no_grad()
    def sample_head(
        self, count: int, temperature: float | Sequence[float] = 1.0, noise: Noise | None = None
    ) -> Head:
        """Returns the head's numbers for latents drawn from the prior.

        Args:
            count: of images.
            temperature: multiplies every prior deviation; one, or one per scale from the coarsest to the finest.
            noise: standard Normal numbers of every group's shape, (count, l, h, w); drawn if they are not given.

        Raises:
            OptionError: not one temperature per scale, or a negative one.
        """
        return self._descend(count, (), temperature, noise)

    def _descend(
        self, count: int, given: Sequence[Tensor], temperature: float | Sequence[float] | None, noise: Noise | None
    ) -> Head:  # fmt: skip
        temperatures = self.temperatures(1.0 if temperature is None else temperature)

        def choose(index: int, raw: Raw, stream: Tensor) -> Tensor:
            if index < len(given):
                return given[index]
            prior = Normal.from_raw(*raw).tempered(temperatures[index])
            return prior.sample(None if noise is None else noise[index])

        return self.decoder(count, choose)

    def sample(self, count: int, temperature: float | Sequence[float] = 1.0) -> Image:
        """Returns expected images for latents drawn from the prior; see `sample_head`."""
        return mean_image(self.sample_head(count, temperature), self.config)

    def temperatures(self, temperature: float | Sequence[float]) -> list[float]:
        """Returns the temperature of every group, coarsest first."""
        scales = len(self.config.groups)
        given = [temperature] * scales if isinstance(temperature, int | float) else list(temperature)
        given = given * scales if len(given) == 1 else given
        if len(given) != scales or not all(0 <= value < math.inf for value in given):
            raise OptionError(
                f"temperature {temperature}: give one number from 0, or {scales}, coarsest scale first"
            )
        return [given[scales - 1 - scale] for scale in self.config.scale_of_group]

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / "config.json").write_text(json.dumps(self.config.to_json(), indent=1), "utf-8")
        save_tensors(self.state_dict(), save_directory / WEIGHTS, {"format": "pt"})

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> NVAE:
        folder = model_id
        if not Path(model_id).exists() and model_id.count("/") == 1:
            from huggingface_hub import snapshot_download

            wanted = ("revision", "cache_dir", "force_download", "token", "local_files_only")
            folder = snapshot_download(
                model_id, **{name: options[name] for name in wanted if name in options}
            )
        return load(folder)


def load(folder: str | Path) -> NVAE:
    """Returns the model of a folder, ready to be used.

    Raises:
        InputError: no model, another kind of model, or weights of another configuration.
    """
    path = hub.require_model_folder(folder)
    config = NVAEConfig.from_json(json.loads((path / "config.json").read_text("utf-8")), path / "config.json")
    model = NVAE(config)
    weights = load_file(path / WEIGHTS)
    mine = model.state_dict()
    for name in sorted(mine.keys() | weights.keys()):
        if name not in weights or name not in mine or weights[name].shape != mine[name].shape:
            raise InputError(
                f"{path}: weights and config.json are of two models ({name}: "
                f"{_shape(weights.get(name))} in the weights, {_shape(mine.get(name))} in the configuration)"
            )
        _require_numbers(weights[name], mine[name], f"{path}: {name}")
    model.load_state_dict(weights)
    return model.eval()


def _require_numbers(tensor: Tensor, like: Tensor, name: str) -> None:
    """Refuses weights that no training leaves behind."""
    if tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex():
        raise InputError(f"{name} is of {tensor.dtype}, not of {like.dtype}; it is damaged or something else")
    if not torch.isfinite(tensor).all():
        raise InputError(f"{name} is not finite; it is damaged, copy or train it again")


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))
