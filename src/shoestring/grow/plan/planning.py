"""The plan of a growth: every tensor of the new model, its config, what is exact and why. Reads headers only."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Any

from shoestring._errors import InputError, OptionError
from shoestring.grow.plan.exactness import Axes, grow_axes
from shoestring.grow.plan.family import Description, Tensor
from shoestring.grow.plan.request import Request, Sizes, option
from shoestring.grow.plan.rules import FAMILIES
from shoestring.grow.plan.sizing import new_sizes, talking_heads
from shoestring.grow.stored.checkpoint import Checkpoint, same
from shoestring.grow.stored.dtypes import OF_TORCH, STORAGE, size
from shoestring.grow.stored.tensor import Stored
from shoestring.grow.tensors import axes
from shoestring.grow.tensors.axes import Axis
from shoestring.grow.tensors.rows import Growth
from shoestring.grow.tensors.sides import Side, as_matrix, side


@dataclass(frozen=True)
class Plan:
    """What a growth will do.

    Args:
        checkpoint: the old model.
        request: what was asked for.
        family: what messages call the model.
        old: its sizes.
        new: the sizes to come.
        growths: one for each new tensor, in order.
        config: the new config.json.
        exact: what is exact and why.
        lossy: what is not, with the nearest that is.
        tied: the head is the embedding.
        hidden: how the residual stream grows.
        again: plans the same growth for another checkpoint of the family, such as a small one.
        inferred: what was found by trial where there is no rule for the architecture, else None.
    """

    checkpoint: Checkpoint
    request: Request
    family: str
    old: Sizes
    new: Sizes
    growths: tuple[Growth, ...]
    config: Mapping[str, Any]
    exact: tuple[str, ...]
    lossy: tuple[str, ...]
    tied: bool
    hidden: Axis
    again: Callable[[Checkpoint, Request], Plan]
    inferred: Any = None

    @property
    def parameters(self) -> int:
        """How many numbers the new model has."""
        return sum(prod(each.shape) for each in self.growths if each.dtype in STORAGE)

    @property
    def bytes(self) -> int:
        """The size of its tensors."""
        return sum(prod(each.shape) * size(each.dtype) for each in self.growths)

    @property
    def rounded(self) -> list[str]:
        """Names of tensors whose numbers are multiplied and rounded to what they are stored as."""
        return [each.name for each in self.growths if each.rounded]

    @property
    def left_out(self) -> list[str]:
        """Stored names that transformers does not read and no rule knows."""
        kept = {each.source for each in self.growths}
        return [name for name in self.checkpoint.unread if name not in kept]

    @property
    def changes(self) -> dict[str, tuple[int, int]]:
        """Sizes that change: name -> (old, new)."""
        new = asdict(self.new)
        return {name: (old, new[name]) for name, old in asdict(self.old).items() if old != new[name]}


def plan(checkpoint: Checkpoint, request: Request, tied: bool | None = None) -> Plan:
    """Plans the growth of a model whose architecture has a rule.

    Args:
        checkpoint: the old model.
        request: what is asked for.
        tied: whether the head is the embedding; None looks at what is stored.

    Raises:
        InputError: a tensor that no rule knows, or of a shape that the config does not say.
        OptionError: sizes that do not fit.
    """
    model = _described(checkpoint)
    new = new_sizes(model, request)
    if model.no_depth and new.layers != model.sizes.layers:
        raise OptionError(
            f"--layers {request.layers}: {model.family}: {model.no_depth}; grow --hidden or --ffn instead"
        )
    grown = grow_axes(model, replace(new, layers=model.sizes.layers) if request.repeat else new)
    if request.repeat:
        grown.lossy.append(
            f"--repeat {request.repeat}: blocks that run twice compute something else, and are to be trained on; "
            f"--layers {new.layers} adds as many exactly"
        )
    tied = is_tied(checkpoint, model) if tied is None else tied
    builder = _Builder(checkpoint, request, model, new, grown, tied)
    return Plan(
        checkpoint, request, model.family, model.sizes, new, tuple(builder.growths()),
        builder.config(), tuple(grown.exact), tuple(grown.lossy), tied, grown.by_name["hidden"], plan,
    )  # fmt: skip


def _described(checkpoint: Checkpoint) -> Description:
    try:
        model = FAMILIES[checkpoint.config["model_type"]](checkpoint.config)
    except KeyError as error:
        raise InputError(
            f"{checkpoint.folder}: config.json lacks {error}; load the model with transformers and save it again"
        ) from error
    if low := [name for name, size in asdict(model.sizes).items() if size < 0]:
        raise InputError(
            f"{checkpoint.folder}: by config.json it has {getattr(model.sizes, low[0])} {low[0]}"
        )
    return model


def is_tied(checkpoint: Checkpoint, model: Description) -> bool:
    """Tells whether the head is the embedding, as transformers will decide: by what is stored.

    A head that is stored beside a different embedding is not tied to it, whatever the config says.
    """
    head, embedding = named(checkpoint, model.head), named(checkpoint, model.embedding)
    if not model.tied or embedding is None or not (head or model.headed):
        return False
    return head is None or same(checkpoint.tensors[head], checkpoint.tensors[embedding])


def named(checkpoint: Checkpoint, end: str) -> str | None:
    """Returns the stored name of the tensor whose name ends so, as stored or as transformers calls it."""
    for name in checkpoint.tensors:
        if any(f".{known}".endswith(f".{end}") for known in (name, checkpoint.names.get(name, name))):
            return name
    return None


def block_sources(old: int, new: int, place: str) -> list[tuple[int, bool]]:
    """Returns for each new block which old one it copies, and whether it is a new one.

    >>> block_sources(3, 5, "spread")
    [(0, False), (1, False), (1, True), (2, False), (2, True)]
    >>> block_sources(2, 3, "top")
    [(0, False), (1, False), (1, True)]
    """
    added = new - old
    if place == "top":
        return [(index, False) for index in range(old)] + [(old - 1, True)] * added
    counts = [added * (index + 1) // old - added * index // old for index in range(old)] if old else []
    return [(index, copy_ > 0) for index, count in enumerate(counts) for copy_ in range(count + 1)]


def rule_of(model: Description, checkpoint: Checkpoint, name: str) -> tuple[Tensor, list[str]] | None:
    """Returns the rule for a stored tensor and the numbers in its name that the rule's stars stand for."""
    for known in dict.fromkeys((name, checkpoint.names.get(name, name))):
        for tensor in model.tensors:
            if (match := tensor.match(known)) is not None:
                return tensor, list(match.groups())
    return None


class _Builder:
    """Turns rules into growths for one checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        request: Request,
        model: Description,
        new: Sizes,
        grown: Axes,
        tied: bool,
    ) -> None:
        self.checkpoint, self.request, self.model, self.new = checkpoint, request, model, new
        self.grown, self.tied = grown, tied
        self.matrices: dict[tuple[Tensor, tuple[int, ...]], tuple[tuple[int, ...], Side, Side]] = {}
        old = model.sizes
        self.blocks = block_sources(old.layers, new.layers, request.place)
        if request.repeated is not None:
            first, last = request.repeated
            self.blocks = [(index, False) for index in (*range(last + 1), *range(first, old.layers))]
        self.decoder_blocks = block_sources(old.decoder_layers, new.decoder_layers, request.place)
        ratio = new.hidden / old.hidden
        self.embedding_factor = 1 / sqrt(ratio) if model.embedding_grows else 1.0
        self.final_factor = (sqrt(ratio) if model.head_shrinks else 1.0) / (
            self.embedding_factor if tied else 1.0
        )

    def growths(self) -> Iterator[Growth]:
        dropped = {named(self.checkpoint, self.model.head)} if self.tied else set()
        tensors, embedding = self.checkpoint.tensors, named(self.checkpoint, self.model.embedding)
        for double in (named(self.checkpoint, name) for name in self.model.doubles):
            if embedding and double and same(tensors[double], tensors[embedding]):
                dropped.add(double)
        for name, stored in tensors.items():
            if name not in dropped:
                yield from self._of(name, stored)

    def _of(self, name: str, stored: Stored) -> Iterator[Growth]:
        found = rule_of(self.model, self.checkpoint, name)
        if found is None and name in self.checkpoint.unread:
            return
        if found is None:
            raise InputError(
                f"{stored.path}: {name} is no tensor of a {self.model.family} that is known; nothing was grown"
            )
        tensor, numbers = found
        for block, inserted in self._copies_of_block(name, numbers):
            if inserted and tensor.inserted == "left out":
                continue
            times = self.new.experts // self.model.sizes.experts if len(numbers) > 1 else 1
            for copy_ in range(times):
                new_name = self._renamed(name, numbers, block, copy_)
                share = (copy_, times) if tensor.shares else (0, 1)
                yield self._growth(new_name, name, stored, tensor, share, inserted)

    def _copies_of_block(self, name: str, numbers: list[str]) -> list[tuple[int, bool]]:
        if not numbers:
            return [(0, False)]
        stack = self.model.decoder_stack
        blocks = self.decoder_blocks if stack and name.startswith(stack) else self.blocks
        return [(new, inserted) for new, (old, inserted) in enumerate(blocks) if old == int(numbers[0])]

    def _renamed(self, name: str, numbers: list[str], block: int, copy_: int) -> str:
        """Returns a name with other numbers of block and expert, which are the first in it."""
        new = [str(block), *numbers[1:]][: len(numbers)]
        if len(new) > 1:
            new[1] = str(int(new[1]) + copy_ * self.model.sizes.experts)
        return ".".join(new.pop(0) if part.isdigit() and new else part for part in name.split("."))

    def _growth(
        self, name: str, source: str, stored: Stored, tensor: Tensor, share: tuple[int, int], inserted: bool
    ) -> Growth:
        shape, rows, columns = self._matrix(source, stored, tensor)
        gain = bool(tensor.dims) and tensor.dims[0][1].endswith("gain")
        shift = self.model.shift if gain else 0.0
        fill = -shift if inserted and tensor.inserted == "silent" else None
        whole = stored.dtype not in STORAGE
        dtype = stored.dtype if whole or not self.request.dtype else OF_TORCH[self.request.dtype]
        return Growth(
            name, source, stored.shape, shape, dtype, rows, columns,
            shift=shift, share=share, fill=fill, inserted=inserted, spread=self.model.spread,
            seed=self.request.seed, split=self.request.split, noise=self.request.noise,
        )  # fmt: skip

    def _matrix(self, name: str, stored: Stored, tensor: Tensor) -> tuple[tuple[int, ...], Side, Side]:
        """Returns the new shape, rows and columns; computed once for all blocks."""
        key = (tensor, stored.shape)
        if key not in self.matrices:
            sides = self._sides(name, stored, tensor)
            self.matrices[key] = (tuple(each.size for each in sides), *as_matrix(sides))
        return self.matrices[key]

    def _sides(self, name: str, stored: Stored, tensor: Tensor) -> list[Side]:
        if len(tensor.dims) != len(stored.shape):
            raise InputError(
                f"{stored.path}: {name} has {len(stored.shape)} dimensions, {len(tensor.dims)} are expected"
            )
        sides = []
        for dimension, (extent, (axis_name, role)) in enumerate(zip(stored.shape, tensor.dims, strict=True)):
            axis = axes.identity(extent) if axis_name is None else self.grown.by_name[axis_name]
            if axis.source != extent:
                raise InputError(
                    f"{stored.path}: {name} is {' x '.join(map(str, stored.shape))}, but by config.json its "
                    f"dimension {dimension} should be {axis.source}"
                )
            sides.append(side(axis, *self._role(role, tensor, dimension)))
        return sides

    def _role(self, role: str, tensor: Tensor, dimension: int) -> tuple[str, float]:
        if role.startswith("final "):
            return role.replace("final", "last") if self.tied else role.removeprefix(
                "final "
            ), self.final_factor
        return role, self.embedding_factor if tensor.embeds and dimension else 1.0

    def config(self) -> dict[str, Any]:
        config = copy.deepcopy(dict(self.checkpoint.config))
        for name, value in asdict(self.new).items():
            for key in self.model.keys.get(name, ()):
                config[key] = value
        for key, entries in self.model.layer_lists.items():
            config[key] = [entries[old] for old, _ in self.blocks]
        if self.model.talking:
            key, _, value = talking_heads(self.model, self.new)
            config |= {"num_key_heads": key, "num_value_heads": value}
        if self.model.top_k:
            times = self.new.experts // self.model.sizes.experts
            config[self.model.top_k] = config.get(self.model.top_k, 2) * times
        if self.grown.theta_power != 1:
            raise_theta(config, self.grown.theta_power, self.model.theta)
        if self.request.dtype:
            config["torch_dtype" if "torch_dtype" in config else "dtype"] = self.request.dtype
        return config


def raise_theta(config: dict[str, Any], power: float, default: float) -> None:
    """Raises every base of rotary positions in a config to a power, in place."""
    found = False
    pending: list[Any] = [config]
    while pending:
        level = pending.pop()
        for key, value in level.items():
            if key in ("rope_theta", "rope_local_base_freq") and isinstance(value, int | float):
                level[key], found = float(value) ** power, True
            elif isinstance(value, dict):
                pending.append(value)
    if not found:
        config["rope_theta"] = default**power


def refuse_lossy(planned: Plan) -> None:
    """Stops a growth that is not exact unless that was allowed.

    Raises:
        OptionError: with the reason and the nearest that is exact.
    """
    if planned.lossy and not planned.request.allow_lossy:
        raise OptionError(f"{'; and '.join(planned.lossy)}; or pass --allow-lossy")
    if not planned.changes and not planned.request.dtype and not planned.request.asked:
        raise OptionError(
            f"nothing to grow; give {option('hidden')} 2x or another size, or type: shoestring grow --help"
        )


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json."""
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
