"""Models from the checkpoints of the official NVAE code, which their owner supplies.

- Read as data: `weights_only`, with argparse.Namespace as the only class. What a file's `args` say becomes the config.
- Strict: the file's checksums are compared, every number is finite, every weight of the file has one place, and every
  weight of the model is filled. Left out are the second copies `weight_normalized` and batch norm's counters.
- The same function: four strided skip convolutions become one grouped one, the channels of a mixture are reordered,
  and the likelihood is computed with the published bins.

Official weights stay under NVIDIA's licence for non-commercial use, and the model's card says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shoestring import hub
from shoestring._errors import InputError
from shoestring.files import atomic_folder
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.model.official_config import official_config
from shoestring.train.torch_files import open_torch_file, require_intact

IGNORED = (".weight_normalized", ".num_batches_tracked")
NORM = ("weight", "bias", "running_mean", "running_var")


class Place(NamedTuple):
    """Where one tensor of the model comes from.

    Args:
        name: in the model.
        keys: in the file; several are joined along their first axis.
        order: of the outputs, if the model has another.
    """

    name: str
    keys: tuple[str, ...]
    order: Tensor | None = None


def convert(
    checkpoint: str | Path, output: str | Path, *, size: int | None = None, channels: int | None = None,
    overwrite: bool = False,
) -> NVAE:  # fmt: skip
    """Writes an official checkpoint as a model of ours, and returns it.

    Args:
        checkpoint: the file.
        output: a folder to be made.
        size: height and width of the images, if the official code does not know the data set.
        channels: 1 (Bernoulli) or 3 (a mixture, or a Normal), likewise.
        overwrite: replace a folder.

    Raises:
        InputError: not such a checkpoint, or of an architecture that no published preset has.
        OutputError: the folder exists or cannot be written.
    """
    path = Path(checkpoint)
    with atomic_folder(output, overwrite) as draft:
        model = read_official(path, size, channels)
        saved: Any = model
        hub.save(draft, saved, card=_card(Path(output).name, model))
    return model


def read_official(path: Path, size: int | None = None, channels: int | None = None) -> NVAE:
    """Returns the model of an official checkpoint, ready to be used; see `convert`.

    Raises:
        InputError: not such a checkpoint, or of an architecture that no published preset has.
    """
    require_intact(path)
    held = open_torch_file(path, [argparse.Namespace])
    if not isinstance(held, dict) or not {"args", "state_dict"} <= held.keys():
        has = ", ".join(map(str, list(held)[:4])) if isinstance(held, dict) else type(held).__name__
        raise InputError(
            f"{path}: not a checkpoint of the official NVAE code, which has args and state_dict (it has: {has})"
        )
    args, weights = held["args"], held["state_dict"]
    if not isinstance(args, argparse.Namespace) or not isinstance(weights, Mapping):
        raise InputError(
            f"{path}: args is {type(args).__name__}, state_dict {type(weights).__name__}; not NVAE's"
        )
    _require_weights(weights, path)
    config = official_config(vars(args), path, size, channels)
    _require_as_many(config, weights, path)
    with torch.device("meta"):  # nothing is made before the shapes are known to be the file's
        shapes = NVAE(config)
    found = gathered(weights, shapes, path)
    model = NVAE(config)
    model.load_state_dict(found, assign=True)
    return model.eval()


def _require_weights(weights: Mapping[Any, Any], where: object) -> None:
    """Refuses what no training leaves behind: text, numbers that are complex, whole or not finite."""
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(f"{where}: {key!r} is of type {type(value).__name__}, not a weight")
        if key.endswith(IGNORED[1]):
            continue
        if not value.is_floating_point():
            raise InputError(f"{where}: {key} is of {value.dtype}, not of real numbers")
        if not torch.isfinite(value.float()).all():
            raise InputError(f"{where}: {key} is not finite; take a checkpoint from before the run broke")
        if key.endswith("running_var") and value.numel() and value.min() < 0:
            raise InputError(f"{where}: {key} is negative, and no variance is; the file is damaged")


def _require_as_many(config: NVAEConfig, weights: Mapping[str, Tensor], where: object) -> None:
    """Refuses args of more cells than there are weights, before anybody builds them."""
    cells = sum(config.groups) * (config.encoder_cells + config.decoder_cells + config.flows)
    if cells + 2 * config.blocks * config.block_cells > len(weights):
        raise InputError(f"{where}: its args tell of {cells:,} cells, and it has {len(weights):,} weights")


def gathered(weights: Mapping[str, Tensor], model: NVAE, where: object) -> dict[str, Tensor]:
    """Returns a model's weights out of an official state_dict.

    Raises:
        InputError: a key is missing, unknown, or of another shape than the model's.
    """
    mine, found, used = model.state_dict(), {}, set()
    for name, keys, order in places(model):
        if missing := [key for key in keys if key not in weights]:
            raise InputError(f"{where}: {missing[0]} is missing; it is damaged or of another architecture")
        used.update(keys)
        tensor = torch.cat([weights[key] for key in keys]) if len(keys) > 1 else weights[keys[0]]
        wanted = tuple(mine[name].shape)
        if name.endswith(".log_norm") and tensor.ndim == 4:
            tensor = tensor.flatten()
        if tuple(tensor.shape) != wanted:
            raise InputError(f"{where}: {keys[0]} makes {tuple(tensor.shape)} where its args say {wanted}")
        tensor = tensor if order is None else tensor[order]
        found[name] = tensor.to(torch.float32, copy=True)
    for key in weights:
        if key not in used and not key.endswith(IGNORED):
            raise InputError(f"{where}: {key} has no place in the architecture that its args describe")
    # no counter is used: momentum is fixed
    return found | {name: torch.zeros((), dtype=torch.int64) for name in mine if name.endswith(IGNORED[1])}


def places(model: NVAE) -> Iterator[Place]:
    """Yields where every tensor of a model comes from, but batch norm's counters."""
    yield Place("decoder.start", ("prior_ftr0",))
    yield from _normed("encoder.stem", "stem")
    yield from _normed("encoder.top", "enc0.1")
    yield from _encoder_cells(model)
    yield from _groups(model)
    for index in range(len(model.decoder.after)):
        up = index % model.config.block_cells == 0
        yield from _decoder_cell(f"decoder.after.{index}", f"post_process.{index}", up)
    yield from _normed("decoder.head", "image_conditional.1", order=_head_order(model.config))


def _normed(name: str, *keys: str, bias: bool = True, order: Tensor | None = None) -> Iterator[Place]:
    """A weight-normalised convolution, made of one or more."""
    parts = {"weight": "weight", "log_norm": "log_weight_norm"} | ({"bias": "bias"} if bias else {})
    for mine, theirs in parts.items():
        yield Place(f"{name}.{mine}", tuple(f"{key}.{theirs}" for key in keys), order)


def _norm(name: str, key: str) -> Iterator[Place]:
    for part in NORM:
        yield Place(f"{name}.{part}", (f"{key}.{part}",))


def _gate(name: str, key: str) -> Iterator[Place]:
    for mine, theirs in (("squeeze", "0"), ("excite", "2")):
        for part in ("weight", "bias"):
            yield Place(f"{name}.gate.{mine}.{part}", (f"{key}.se.se.{theirs}.{part}",))


def _encoder_cells(model: NVAE) -> Iterator[Place]:
    """Cells of the encoder; among those of its tower official files count one combiner after every group."""
    config = model.config
    for index, cell in enumerate(model.encoder.before):
        yield from _encoder_cell(f"encoder.before.{index}", f"pre_process.{index}", cell)
    count = 0
    for scale, groups in enumerate(config.groups):
        for group in range(groups):
            for index, cell in enumerate(model.encoder.towers[scale][group]):
                name = f"encoder.towers.{scale}.{group}.{index}"
                yield from _encoder_cell(name, f"enc_tower.{count}", cell)
                count += 1
            target = sum(config.groups) - 1 - sum(config.groups[:scale]) - group
            if target:
                yield from _normed(f"decoder.groups.{target}.to_features", f"enc_tower.{count}.conv")
                count += 1


def _encoder_cell(name: str, key: str, cell: Any) -> Iterator[Place]:
    if hasattr(cell.skip, "project"):
        yield from _normed(f"{name}.skip.project", *(f"{key}.skip.conv_{part}" for part in (1, 2, 3, 4)))
    for index in range(2):
        yield from _norm(f"{name}.norms.{index}", f"{key}._ops.{index}.bn_act")
        yield from _normed(f"{name}.convs.{index}", f"{key}._ops.{index}.conv_0")
    yield from _gate(name, key)


def _groups(model: NVAE) -> Iterator[Place]:
    """Groups of latents, from the top; the decoder's tower has cells, then the combiner, of each."""
    count, flows = 0, model.config.flows
    for index, group in enumerate(model.decoder.groups):
        name = f"decoder.groups.{index}"
        for place, cell in enumerate(group.cells):
            yield from _decoder_cell(f"{name}.cells.{place}", f"dec_tower.{count}", cell.up)
            count += 1
        yield from _normed(f"{name}.join", f"dec_tower.{count}.conv")
        count += 1
        yield from _normed(f"{name}.to_posterior", f"enc_sampler.{index}")
        if index:
            yield from _normed(f"{name}.to_prior", f"dec_sampler.{index - 1}.1")
        for step in range(2 * flows):
            key = f"nf_cells.{index * flows + step // 2}.cell{step % 2 + 1}"
            yield from _flow(f"{name}.flows.steps.{step}", key)


def _flow(name: str, key: str) -> Iterator[Place]:
    yield from _normed(f"{name}.first", f"{key}.conv.convz.0", bias=False)
    yield from _normed(f"{name}.spread", f"{key}.conv.convz.2", bias=False)
    yield from _normed(f"{name}.shift", f"{key}.mu.conv_0")


def _decoder_cell(name: str, key: str, up: bool) -> Iterator[Place]:
    if up:
        yield from _normed(f"{name}.skip.project", f"{key}.skip.1", bias=False)
    ops, first = f"{key}._ops.0.conv", int(up)  # an up cell has a nameless layer before the others
    yield from _norm(f"{name}.norms.0", f"{ops}.{first}.bn")
    for index in (0, 1):
        yield Place(f"{name}.convs.{index}.weight", (f"{ops}.{first + 1 + index}.conv.0.weight",))
        yield from _norm(f"{name}.norms.{index + 1}", f"{ops}.{first + 1 + index}.conv.1")
    yield Place(f"{name}.convs.2.weight", (f"{ops}.{first + 3}.weight",))
    yield from _norm(f"{name}.last_norm", f"{ops}.{first + 4}.bn")
    yield from _gate(name, key)


def _head_order(config: NVAEConfig) -> Tensor | None:
    """Where the head's channels are: official mixtures go by colour, then kind; ours by mixture, then kind, colour."""
    if config.likelihood != "logistic":
        return None
    count = config.mixtures
    rest = torch.arange(9 * count).view(3, 3, count)  # colour, kind, mixture
    return torch.cat([torch.arange(count), count + rest.permute(2, 1, 0).flatten()])


def _card(title: str, model: NVAE) -> str:
    config = model.config
    text = hub.model_card(
        title,
        "An NVAE converted from a checkpoint of the official code. Weights that NVIDIA published remain under the "
        "NVIDIA Source Code License: for non-commercial use, research and evaluation, only.",
        tags=["nvae", "unconditional-image-generation"],
        license="other",
        facts={
            "images": f"{config.image_size} x {config.image_size}, {config.in_channels} channels",
            "likelihood": config.likelihood,
            "groups, finest scale first": ", ".join(map(str, config.groups)),
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        },
        example=f'from shoestring.nvae import NVAE, readjusted\n\nmodel = NVAE.from_pretrained("{title}")\n'
        "images = readjusted(model, 0.7).sample(16, temperature=0.7)",
    )
    return text.replace('library_name: "transformers"', 'library_name: "shoestring"')
