"""Adam's moments for the grown model, so that training goes on where the old one's stopped.

If x' = A x, gradients come back by the adjoint: where the copies share equally what reads them, a copy of a written
coordinate gets 1 / (c s) of the old gradient, and a column that reads coordinate j gets s_j times it. Means of
gradients (`exp_avg`) are multiplied so, means of squares (`exp_avg_sq`) by the squares; the step stays. Exact for
`--split equal`, right on average for unequal parts. What is new has no mean yet and the tensor's average of squares.

Formats: `torch.save(optimizer.state_dict())` of torch's Adam and AdamW, which is also the Trainer's `optimizer.pt`. It
is read with `weights_only=True`, and held in memory, unlike the weights.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoestring._errors import InputError
from shoestring.grow.axes import NEW
from shoestring.grow.loading import empty_model
from shoestring.grow.planning import Plan
from shoestring.grow.sides import Side
from shoestring.grow.tensors import Growth

MOMENTS = {"exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}  # name -> power of the gradient
BESIDE = ("trainer_state.json", "scheduler.pt", "run.json")  # what else a Trainer resumes from
Names = list[tuple[str, tuple[int, ...]]]


def grow_optimizer(planned: Plan, path: str | os.PathLike[str], draft: Path) -> int:
    """Writes `optimizer.pt` for the grown model, and copies the rest of a Trainer's state that lies beside the old one.

    Args:
        planned: the growth.
        path: the old optimizer's state.
        draft: the folder of the new model.

    Returns:
        The number of parameters that have moments.

    Raises:
        InputError: it cannot be read safely, is of another optimizer, or of another model.
    """
    state = _read(Path(path))
    old, new = (_parameters(config) for config in (planned.checkpoint.config, planned.config))
    growths = {_plain(growth.name): growth for growth in planned.growths}
    order, grouping = _order(state, old, path)
    moments = {name: state["state"].get(index) for index, name in enumerate(order)}
    groups, grown, index = [], {}, 0
    for number, group in enumerate(state["param_groups"]):
        names = [name for name, shape in new if grouping(name, shape) == number]
        for position, name in enumerate(names, index):
            growth = growths.get(_plain(name))
            if growth is None:
                raise InputError(
                    f"{path}: the moments of {name} cannot be grown: it is stored in another form than it is used"
                )
            if (kept := moments.get(_as_named(order, growth.source) or "")) is not None:
                grown[position] = _grown(kept, growth)
        groups.append({**group, "params": list(range(index, index + len(names)))})
        if "param_names" in group:
            groups[-1]["param_names"] = names
        index += len(names)
    torch.save({"state": grown, "param_groups": groups}, draft / "optimizer.pt")
    for name in (*BESIDE, *(each.name for each in Path(path).parent.glob("rng_state*.pth"))):
        if (Path(path).parent / name).is_file():
            shutil.copy2(Path(path).parent / name, draft / name)
    return len(grown)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"--optimizer {path}: no such file; give optimizer.pt of a Trainer's checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            f"--optimizer {path}: cannot be read safely: {str(error).splitlines()[0]}"
        ) from error
    state = state.get("optimizer", state) if isinstance(state, dict) else {}
    if not {"state", "param_groups"} <= set(state):
        raise InputError(
            f"--optimizer {path}: is no optimizer's state_dict; it needs 'state' and 'param_groups'"
        )
    known = {*MOMENTS, "step"}
    other = {name for each in state["state"].values() for name in each} - known
    if other:
        raise InputError(
            f"--optimizer {path}: has {', '.join(sorted(other))}; only Adam and AdamW of torch can be grown"
        )
    return state


def _parameters(config: Mapping[str, Any]) -> Names:
    return [(name, tuple(each.shape)) for name, each in empty_model(config).named_parameters()]


def _order(
    state: Mapping[str, Any], names: Names, path: object
) -> tuple[list[str], Callable[[str, tuple[int, ...]], int]]:
    """Finds which parameter each number stands for: one group, or those that decay and then those that do not."""
    groups = state["param_groups"]

    def fits(grouping: Callable[[str, tuple[int, ...]], int]) -> list[str] | None:
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
        f"groups are not the {len(names)} of this model; give the optimizer.pt that was saved with it"
    )


def _one_group(name: str, shape: tuple[int, ...]) -> int:
    return 0


def _by_dimensions(name: str, shape: tuple[int, ...]) -> int:
    return 0 if len(shape) > 1 else 1


def _by_name(name: str, shape: tuple[int, ...]) -> int:
    """As the Trainer does: biases and norms do not decay."""
    lowered = name.lower()
    return 1 if "bias" in lowered or "norm" in lowered or ".ln_" in lowered else 0


def _grown(kept: Mapping[str, Any], growth: Growth) -> dict[str, Any]:
    grown: dict[str, Any] = {}
    for name, value in kept.items():
        if name not in MOMENTS:
            grown[name] = value.clone() if isinstance(value, Tensor) else value
            continue
        power = MOMENTS[name]
        matrix = value.double().reshape(growth.rows.source, growth.columns.source).numpy()
        fresh = float(matrix.mean()) if power == 2 else 0.0
        if growth.fill is not None and power == 1:
            out = np.zeros((growth.rows.size, growth.columns.size))
        else:
            out = _along(_along(matrix, growth.rows, power, 0, fresh), growth.columns, power, 1, fresh)
        grown[name] = torch.from_numpy(out.reshape(growth.shape)).to(value.dtype)
    return grown


def _along(matrix: np.ndarray, side: Side, power: int, axis: int, fresh: float) -> np.ndarray:
    if side.plain:
        return matrix
    new = side.index == NEW
    factor = np.where(new, 0.0, side.gradient**power)
    shape = (-1, 1) if axis == 0 else (1, -1)
    out = np.take(matrix, np.where(new, 0, side.index), axis=axis) * factor.reshape(shape)
    return out + np.where(new, fresh, 0.0).reshape(shape)


def _plain(name: str) -> str:
    """Names without the prefix of the base model, which a checkpoint may lack."""
    return (
        name.removeprefix("model.")
        .removeprefix("bert.")
        .removeprefix("roberta.")
        .removeprefix("transformer.")
    )


def _as_named(order: list[str], source: str) -> str | None:
    return next((name for name in order if _plain(name) == _plain(source)), None)
