"""NVAE: an image goes up a tower of features; latents come down another, group by group, each seeing those before.

- `ascend` computes the features of an image once; `descend` walks the groups from the coarsest to the finest and asks
  its caller for each group's latents: from the posterior, from the prior, or given.
- Saved as config.json and model.safetensors, on disk or on the Hugging Face hub.

Vahdat & Kautz 2020, "NVAE: A Deep Hierarchical Variational Autoencoder" (arXiv 2007.03898).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.nvae.cells import BLOCK_EXPANSION, DECODER_CELLS, TOWER_EXPANSION, EncoderCell
from shoestring.nvae.configuration import NVAEConfig
from shoestring.nvae.flows import Flows
from shoestring.nvae.layers import Map, WeightNormConv2d
from shoestring.nvae.likelihoods import Head, Image, log_likelihood, mean_image
from shoestring.nvae.normal import Normal, divergence

WEIGHTS = "model.safetensors"
Choose = Callable[[int, Normal, Tensor], Tensor]


class Latent(NamedTuple):
    """What the posterior says about one group of latents.

    Args:
        z: the sample (b, l, h, w).
        kl: KL(q || p) per image, in nats; analytic without flows, else the estimate `log_ratio`.
        log_ratio: log q(z) - log p(z) per image, at the sample.
        by_channel: kl summed over positions, (b, l).
    """

    z: Tensor
    kl: Tensor
    log_ratio: Tensor
    by_channel: Tensor


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


class Encoder(nn.Module):
    """The bottom-up tower: one map of features per group of latents."""

    def __init__(self, config: NVAEConfig) -> None:
        super().__init__()
        width = config.encoder_channels
        self.stem = WeightNormConv2d(config.in_channels * config.patch**2, width, 3)
        self.patch = config.patch
        self.before = nn.Sequential()
        for _ in range(config.blocks):
            for last in [False] * (config.block_cells - 1) + [True]:
                self.before.append(EncoderCell(width, width * 2 if last else width, down=last))
            width *= 2
        self.towers: Any = nn.ModuleList()
        for scale, groups in enumerate(config.groups):
            tower = nn.ModuleList()
            for group in range(groups):
                cells = nn.Sequential()
                if scale and not group:
                    cells.append(EncoderCell(width, width * 2, down=True))
                    width *= 2
                cells.extend(EncoderCell(width, width) for _ in range(config.encoder_cells))
                tower.append(cells)
            self.towers.append(tower)
        self.top = WeightNormConv2d(width, width, 1)

    def forward(self, x: Image) -> list[Tensor]:
        """Returns the features of each group, coarsest first."""
        x = functional.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        x = self.before(self.stem(x))
        features = []
        for tower in self.towers:
            for cells in tower:
                x = cells(x)
                features.append(x)
        features[-1] = functional.elu(self.top(functional.elu(x)))
        return features[::-1]


class Group(nn.Module):
    """One group of latents on the way down: cells, prior, posterior, and how latents join the stream.

    Args:
        config: the model.
        scale: whose resolution and channels it has.
        kind: `first` has no cells and a standard prior; `new` comes from a coarser scale; `same` does not.
    """

    def __init__(self, config: NVAEConfig, scale: int, kind: str) -> None:
        super().__init__()
        above, below = (
            channels * 2 ** (config.blocks + scale)
            for channels in (config.encoder_channels, config.decoder_channels)
        )
        cell, latents = DECODER_CELLS[config.decoder_cell], config.latents
        self.first, self.residual = kind == "first", config.residual_posterior
        self.cells = nn.Sequential()
        if kind == "new":
            self.cells.append(cell(2 * below, below, TOWER_EXPANSION, up=True))
        if not self.first:
            self.cells.extend(cell(below, below, TOWER_EXPANSION) for _ in range(config.decoder_cells))
            self.to_prior = WeightNormConv2d(below, 2 * latents, 1)
            self.to_features = WeightNormConv2d(below, above, 1)
        self.to_posterior = WeightNormConv2d(above, 2 * latents, 3)
        self.flows = Flows(config.flows, latents, above, config.flow_kind)
        self.join = WeightNormConv2d(below + latents, below, 1)

    def prior(self, stream: Map) -> tuple[Tensor, Tensor]:
        """Returns the raw mean and log-deviation of the prior."""
        if self.first:
            shape = (stream.shape[0], self.to_posterior.out_channels, *stream.shape[2:])
            mean, log_deviation = stream.new_zeros(shape).chunk(2, dim=1)
        else:
            mean, log_deviation = self.to_prior(functional.elu(stream)).chunk(2, dim=1)
        return mean.float(), log_deviation.float()

    def posterior(self, stream: Map, features: Tensor) -> Latent:
        """Returns a sample of the posterior and how far the posterior is from the prior."""
        features = features if self.first else features + self.to_features(stream)
        raw = self.prior(stream)
        mean, log_deviation = (each.float() for each in self.to_posterior(features).chunk(2, dim=1))
        if self.residual:
            mean, log_deviation = raw[0] + mean, raw[1] + log_deviation
        p, q = Normal.from_raw(*raw), Normal.from_raw(mean, log_deviation)
        start = q.sample()
        z, log_det = self.flows(start, features)
        ratio = q.log_prob(start) - log_det - p.log_prob(z)
        kl = ratio if len(self.flows.steps) else divergence(q, p)
        by_channel = kl.flatten(2).sum(2)
        return Latent(z, by_channel.sum(1), ratio.flatten(1).sum(1), by_channel)


class Decoder(nn.Module):
    """The top-down tower, its groups, and the head that tells the likelihood's numbers."""

    def __init__(self, config: NVAEConfig) -> None:
        super().__init__()
        scales = config.scale_of_group
        width, side = config.decoder_channels * 2 ** (config.blocks + scales[0]), config.resolutions[-1]
        self.start = nn.Parameter(torch.rand(width, side, side))
        self.groups: Any = nn.ModuleList(
            Group(config, scale, "first" if not index else "same" if scale == scales[index - 1] else "new")
            for index, scale in enumerate(scales)
        )
        width, cell = config.decoder_channels * 2**config.blocks, DECODER_CELLS[config.decoder_cell]
        self.after = nn.Sequential()
        for _ in range(config.blocks):
            for first in [True] + [False] * (config.block_cells - 1):
                self.after.append(cell(width, width // 2 if first else width, BLOCK_EXPANSION, up=first))
                width = width // 2 if first else width
        self.head = WeightNormConv2d(width, config.head_channels * config.patch**2, 3)
        self.patch, self.padding = config.patch, config.padding

    def forward(self, batch: int, choose: Choose) -> Head:
        """Returns the head's numbers for the latents that `choose(group, prior, stream)` returns."""
        stream = self.start.expand(batch, -1, -1, -1).contiguous(memory_format=_format(self.head.weight))
        for index, group in enumerate(self.groups):
            stream = group.cells(stream)
            z = choose(index, Normal.from_raw(*group.prior(stream)), stream)
            stream = group.join(torch.cat([stream, z.to(stream.dtype)], dim=1))
        head = self.head(functional.elu(self.after(stream)))
        head = functional.pixel_shuffle(head, self.patch) if self.patch > 1 else head
        edge = self.padding
        return head[:, :, edge:-edge, edge:-edge] if edge else head


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

    def forward(self, x: Image, features: Sequence[Tensor] | None = None) -> Bound:
        """Returns the bound on log p(x) of every image, by one sample of the posterior.

        Args:
            x: images in [0, 1], with the values that the likelihood knows.
            features: of these images, from `ascend`; computed if they are not given.
        """
        latents, head = self.infer(x, features)
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
        return self.encoder(inner.contiguous(memory_format=_format(self.decoder.head.weight)))

    def infer(self, x: Image, features: Sequence[Tensor] | None = None) -> tuple[list[Latent], Head]:
        """Returns a sample of every group's posterior and the head's numbers under them."""
        given = self.ascend(x) if features is None else features
        latents: list[Latent] = []

        def choose(index: int, prior: Normal, stream: Tensor) -> Tensor:
            latents.append(self.decoder.groups[index].posterior(stream, given[index]))
            return latents[-1].z

        head = self.decoder(x.shape[0], choose)
        return latents, head

    @torch.no_grad()
    def encode(self, x: Image) -> list[Tensor]:
        """Returns latents drawn from the posterior of images in [0, 1], coarsest group first."""
        return [latent.z for latent in self.infer(x)[0]]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor]) -> Head:
        """Returns the head's numbers for given latents; `mean_image` and `sample_image` make pictures of them.

        Raises:
            OptionError: the latents are not of the model's shapes.
        """
        shapes = [tuple(each.shape[1:]) for each in latents]
        if shapes != list(self.config.latent_shapes):
            raise OptionError(
                f"latents of {len(shapes)} groups {shapes[:1]}...: this model has {len(self.config.latent_shapes)} "
                f"groups, the first {self.config.latent_shapes[0]}"
            )
        return self.decoder(latents[0].shape[0], lambda index, prior, stream: latents[index])

    @torch.no_grad()
    def reconstruct(self, x: Image) -> Image:
        """Returns the expected images under one sample of the posterior."""
        return mean_image(self.infer(x)[1], self.config)

    @torch.no_grad()
    def sample_head(self, count: int, temperature: float | Sequence[float] = 1.0) -> Head:
        """Returns the head's numbers for latents drawn from the prior.

        Args:
            count: of images.
            temperature: multiplies every prior deviation; one, or one per scale from the coarsest to the finest.

        Raises:
            OptionError: not one temperature per scale, or a negative one.
        """
        temperatures = self.temperatures(temperature)
        return self.decoder(count, lambda index, prior, stream: prior.tempered(temperatures[index]).sample())

    def sample(self, count: int, temperature: float | Sequence[float] = 1.0) -> Image:
        """Returns expected images for latents drawn from the prior; see `sample_head`."""
        return mean_image(self.sample_head(count, temperature), self.config)

    def temperatures(self, temperature: float | Sequence[float]) -> list[float]:
        """Returns the temperature of every group, coarsest first."""
        scales = len(self.config.groups)
        given = [temperature] * scales if isinstance(temperature, int | float) else list(temperature)
        given = given * scales if len(given) == 1 else given
        if len(given) != scales or any(value < 0 for value in given):
            raise OptionError(
                f"temperature {temperature}: give one number from 0, or {scales}, coarsest scale first"
            )
        return [given[scales - 1 - scale] for scale in self.config.scale_of_group]

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / "config.json").write_text(json.dumps(self.config.to_json(), indent=1), "utf-8")
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, save_directory / WEIGHTS, metadata={"format": "pt"})

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
    model.load_state_dict(weights)
    return model.eval()


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _format(weight: Float[Tensor, "outputs inputs height width"]) -> torch.memory_format:
    """Returns the memory format that the model was brought into."""
    last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
