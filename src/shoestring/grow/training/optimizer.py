"""Adam's moments for the grown model, so that training goes on where the old one's stopped.

If x' = A x, gradients come back by the adjoint: where the copies share equally what reads them, a copy of a written
coordinate gets 1 / (c s) of the old gradient, and a column that reads coordinate j gets s_j times it. Means of
gradients (`exp_avg`) are multiplied so, means of squares (`exp_avg_sq`) by the squares; the step stays. Exact for
`--split equal`, right on average for unequal parts. What is new has no mean yet and the tensor's average of squares.

- Formats: `torch.save(optimizer.state_dict())` of torch's Adam and AdamW, which is also the Trainer's `optimizer.pt`.
- Parameters are grown by the same rules as weights, under the names that the model in memory has: experts are one
  tensor there, and many in a checkpoint.
- Memory: both files are mapped, a chunk of rows is computed at a time, and what was mapped is let go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from shoestring._errors import InputError
from shoestring.grow.plan.planning import Plan, plan
from shoestring.grow.stored.dtypes import OF_TORCH
from shoestring.grow.stored.models import empty_model
from shoestring.grow.stored.pickles import mapped
from shoestring.grow.stored.tensor import Stored
from shoestring.grow.tensors.axes import NEW
from shoestring.grow.tensors.rows import Growth
from shoestring.grow.tensors.sides import Side
from shoestring.ui import UI

MOMENTS = {"exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}  # name -> power of the gradient
BESIDE = ("trainer_state.json", "scheduler.pt", "run.json")  # what else a Trainer resumes from
FILE = "optimizer.pt"
CHUNK = 16 << 20  # bytes of new numbers, in fp64, made at a time
MAPPED = 256 << 20  # bytes of new numbers after which both files are mapped anew
Names = list[tuple[str, tuple[int, ...]]]
Grouping = Callable[[str, tuple[int, ...]], int]


@dataclass(frozen=True)
class Moments:
    """An optimizer's state and how it grows; nothing of it is in memory.

    Args:
        path: the old state.
        growths: by the number that the new parameter has in the new state.
        sources: number of the new parameter -> number of the old one.
        groups: the new `param_groups`.
        bytes: of the new moments.
    """

    path: Path
    growths: Mapping[int, Growth]
    sources: Mapping[int, int]
    groups: list[dict[str, Any]]
    bytes: int

    def write(self, draft: Path, ui: UI | None = None) -> None:
        """Writes `optimizer.pt` for the grown model, and copies the rest of a Trainer's state that lies beside the old.

        Args:
            draft: the folder of the new model.
            ui: shows progress.
        """
        _write_empty(self, draft / FILE)
        with (ui or UI(quiet=True)).bar("optimizer", self.bytes, "B") as bar:
            for numbers in self._portions():
                old, new = _state(self.path), _state(draft / FILE, shared=True)
                for number in numbers:
                    kept, grown = old["state"][self.sources[number]], new["state"][number]
                    for name, value in kept.items():
                        if name in MOMENTS:
                            _fill(grown[name], value, self.growths[number], MOMENTS[name])
                            bar.update(grown[name].nbytes)
                        elif isinstance(value, Tensor):
                            grown[name].copy_(value)
        for name in (*BESIDE, *(each.name for each in self.path.parent.glob("rng_state*.pth"))):
            if (self.path.parent / name).is_file():
                shutil.copy2(self.path.parent / name, draft / name)

    def _portions(self) -> Iterator[list[int]]:
        """Yields the parameters in portions of `MAPPED` bytes, larger parameters alone."""
        portion, filled = [], 0
        for number, growth in self.growths.items():
            size = prod(growth.shape) * 8
            if portion and filled + size > MAPPED:
                yield portion
                portion, filled = [], 0
            portion.append(number)
            filled += size
        if portion:
            yield portion


def plan_optimizer(planned: Plan, path: str | os.PathLike[str]) -> Moments:
    """Finds what each number of an optimizer's state becomes; reads no moments.

    Args:
        planned: the growth.
        path: the old optimizer's state, or the Trainer's checkpoint that holds it.

    Raises:
        InputError: it cannot be read safely, is of another optimizer, or of another model.
    """
    path = Path(path, FILE) if Path(path).is_dir() else Path(path)
    state = _read(path)
    old, new = (_parameters(config) for config in (planned.checkpoint.config, planned.config))
    order, grouping = _order(state, old, path)
    moments = {name: state["state"].get(number) for number, name in enumerate(order)}
    growths = _growths(planned, path, moments, dict(old))
    places = {name: number for number, name in enumerate(order)}
    groups, grown, sources, index = [], {}, {}, 0
    for number, group in enumerate(state["param_groups"]):
        names = [name for name, shape in new if grouping(name, shape) == number]
        for position, name in enumerate(names, index):
            if name in growths:
                grown[position], sources[position] = growths[name], places[growths[name].source]
        settings = {key: _plain(value) for key, value in group.items()}
        groups.append({**settings, "params": list(range(index, index + len(names)))})
        if "param_names" in group:
            groups[-1]["param_names"] = names
        index += len(names)
    size = sum(
        prod(growth.shape) * each.element_size()
        for number, growth in grown.items()
        for name, each in state["state"][sources[number]].items()
        if name in MOMENTS
    )
    return Moments(path, grown, sources, groups, size)


def _growths(
    planned: Plan, path: Path, moments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Growth]:
    """Plans the growth of the parameters that have moments as if the optimizer's file were the checkpoint."""
    tensors = {
        name: Stored(path, OF_TORCH[str(each["exp_avg"].dtype).removeprefix("torch.")], shapes[name], 0)
        for name, each in moments.items()
        if each is not None
    }
    checkpoint, request = replace(planned.checkpoint, tensors=tensors), replace(planned.request, dtype=None)
    again = (
        planned.again(checkpoint, request) if planned.inferred else plan(checkpoint, request, planned.tied)
    )
    return {growth.name: growth for growth in again.growths}


def _state(path: Path, shared: bool = False) -> dict[str, Any]:
    """Returns a state_dict whose tensors are pages of the file."""
    state = mapped(path, shared)
    return state.get("optimizer", state) if isinstance(state, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"--optimizer {path}: no such file; give {FILE} of a Trainer's checkpoint")
    state = _state(path)
    if not {"state", "param_groups"} <= set(state):
        raise InputError(
            f"--optimizer {path}: is no optimizer's state_dict; it needs 'state' and 'param_groups'"
        )
    other = {name for each in state["state"].values() for name in each} - {*MOMENTS, "step"}
    if other:
        raise InputError(
            f"--optimizer {path}: has {', '.join(sorted(other))}; only Adam and AdamW of torch can be grown"
        )
    return state


def _parameters(config: Mapping[str, Any]) -> Names:
    return [(name, tuple(each.shape)) for name, each in empty_model(config).named_parameters()]


def _order(state: Mapping[str, Any], names: Names, path: object) -> tuple[list[str], Grouping]:
    """Finds which parameter each number stands for: one group, or those that decay and then those that do not."""
    groups = state["param_groups"]

    def fits(grouping: Grouping) -> list[str] | None:
        order = [
            (name, shape)
            for number in range(len(groups))
            for name, shape in names
            if grouping(name, shape) == number
        ]
        counts = [sum(grouping(*each) == number for each in names) for number in range(len(groups))]
        if counts != [len(group["params"]) for group in groups]:
            return None
        for index, (_, shape) in enumerate(order):
            kept = state["state"].get(index, {}).get("exp_avg")
            if kept is not None and tuple(kept.shape) != shape:
                return None
        return [name for name, _ in order]

    for grouping in (_one_group, _by_dimensions, _by_name):
        if (order := fits(grouping)) is not None:
            return order, grouping
    raise InputError(
        f"--optimizer {path}: its {sum(len(group['params']) for group in groups)} parameters in {len(groups)} "
        f"groups are not the {len(names)} of this model; give the {FILE} that was saved with it"
    )


def _one_group(name: str, shape: tuple[int, ...]) -> int:
    return 0


def _by_dimensions(name: str, shape: tuple[int, ...]) -> int:
    return 0 if len(shape) > 1 else 1


def _by_name(name: str, shape: tuple[int, ...]) -> int:
    """As the Trainer does: biases and norms do not decay."""
    lowered = name.lower()
    return 1 if "bias" in lowered or "norm" in lowered or ".ln_" in lowered else 0


def _write_empty(moments: Moments, path: Path) -> None:
    """Writes the new state with room for its tensors."""
    old, fake = _state(moments.path), FakeTensorMode()
    state: dict[int, dict[str, Any]] = {}
    for number, growth in moments.growths.items():
        kept = old["state"][moments.sources[number]]
        with fake:
            rooms = {
                name: torch.empty(growth.shape, dtype=kept[name].dtype)
                for name in MOMENTS.keys() & kept.keys()
            }
        state[number] = {**kept, **rooms}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save({"state": state, "param_groups": moments.groups}, path)


def _plain(value: Any) -> Any:
    """A learning rate may be a tensor, and the skeleton of a file holds none."""
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else value


def _fill(new: Tensor, old: Tensor, growth: Growth, power: int) -> None:
    """Computes a moment from the old one, a chunk of rows at a time."""
    rows, columns = growth.rows, growth.columns
    source, target = old.reshape(rows.source, columns.source), new.view(rows.size, columns.size)
    if growth.fill is not None and power == 1:
        return  # files begin with zeros
    step = max(1, CHUNK // (8 * max(columns.size, columns.source)))
    fresh = _mean(source, step) if power == 2 and (rows.new or columns.new) else 0.0
    (row, times), (column, along) = _taken(rows, power), _taken(columns, power)
    for start in range(0, rows.size, step):
        part = slice(start, start + step)
        block = source[row[part]].double()[:, column] * times[part, None] * along
        block[torch.from_numpy(rows.index[part] == NEW)] = fresh
        block[:, torch.from_numpy(columns.index == NEW)] = fresh
        target[part] = block.to(new.dtype)


def _taken(side: Side, power: int) -> tuple[Tensor, Tensor]:
    """Returns which old coordinate each new one takes, and what it is multiplied by."""
    return torch.from_numpy(np.maximum(side.index, 0)), torch.from_numpy(side.gradient**power)


def _mean(source: Tensor, step: int) -> float:
    total = sum(
        float(source[start : start + step].sum(dtype=torch.float64)) for start in range(0, len(source), step)
    )
    return total / max(1, source.numel())
