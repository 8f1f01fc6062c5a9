"""4-bit weights that fit a text: GPTQ (Frantar et al. 2022), a block of the network after another.

A block reads what the blocks before it, quantized already, make of the text. In a layer with inputs X the columns of
W are rounded one by one, and the error of each is spread over those to come so that W X changes least: with H = X X^T
and U the upper Cholesky factor of H^-1, columns after j lose (w_j - q_j) / U_jj * U_j. A group's scale and zero are
fitted when its first column's turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.quantize import GROUP, Parts, fitted4, from_int4, tiled4
from shoestring.lm.weights.skeleton import Layer

_DAMPING = 0.01  # of H's mean diagonal, added to it
_LONGEST = 1024  # tokens of a row; a longer document becomes several
_LEAST = 256  # tokens in all; fewer say too little


@torch.inference_mode()
def calibrated(
    model: Any, layers: Mapping[str, Layer], rows: Sequence[Sequence[int]], progress: Callable[[int], Any]
) -> dict[str, Parts]:
    """Returns levels, scale and zero of each layer that gets 4 bits; the model's weights become what they stand for.

    Args:
        model: in float32.
        layers: by the names of their weights, those of the model's blocks; others are left out.
        rows: token ids of the text.
        progress: told of each block.

    Raises:
        InputError: the text is too short.
        OptionError: the model's blocks are not known.
    """
    rows = [list(row[at : at + _LONGEST]) for row in rows for at in range(0, len(row), _LONGEST)]
    if sum(map(len, rows)) < _LEAST:
        raise InputError(f"the calibration text has {sum(map(len, rows))} tokens; give {_LEAST} or more")
    prefix, blocks = _blocks(model)
    found: dict[str, Parts] = {}
    states, calls = _entering(model, blocks, rows)
    for number, block in enumerate(blocks):
        inside = {
            layer: name for name, layer in layers.items() if layer.name.startswith(f"{prefix}.{number}.")
        }
        moments = _moments(model, inside, partial(_run, block, states, calls[number]))
        for layer, name in inside.items():
            found[name] = _rounded(model.get_submodule(layer.name), layer, moments[layer])
        states = _run(block, states, calls[number])
        progress(1)
    return found


def gptq(weight: Float[Tensor, "outputs inputs"], moment: Float[Tensor, "inputs inputs"]) -> Parts:
    """Returns levels, scale and zero of a weight whose inputs have the given X X^T."""
    weight, factor, steps, grid = weight.clone(), _factor(moment), [], []
    for begin in range(0, weight.shape[1], GROUP):
        group, errors = slice(begin, begin + GROUP), []
        block, own = weight[:, group], factor[group, group]
        _, scale, zero = fitted4(block)
        for column in range(GROUP):
            step = ((block[:, column] - zero[:, 0]) / scale[:, 0]).round_().clamp_(-8, 7)
            value = step * scale[:, 0] + zero[:, 0]
            error = (block[:, column] - value) / own[column, column]
            block[:, column:] -= error[:, None] * own[column, column:]
            steps.append(step + 8)
            errors.append(error)
        weight[:, begin + GROUP :] -= torch.stack(errors, 1) @ factor[group, begin + GROUP :]
        grid.append((scale, zero))
    scale, zero = (torch.cat(each, 1) for each in zip(*grid, strict=True))
    return tiled4(torch.stack(steps, 1), scale, zero)


def _factor(moment: Tensor) -> Tensor:
    diagonal = moment.diagonal()
    damped = moment + torch.eye(len(moment)) * (_DAMPING * diagonal.mean() + 1e-8)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


def _rounded(module: Any, layer: Layer, moment: Tensor) -> Parts:
    weight = module.weight.data
    parts = gptq(weight.t() if layer.transposed else weight, moment)
    value = from_int4(*parts)[: layer.outputs]
    weight.copy_(value.t() if layer.transposed else value)
    return parts


def _blocks(model: Any) -> tuple[str, nn.ModuleList]:
    count = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise OptionError(f"model_type {model.config.model_type!r}: not calibrated here; leave --calibration out")


def _entering(
    model: Any, blocks: nn.ModuleList, rows: Sequence[Sequence[int]]
) -> tuple[list[Tensor], list[list[tuple[tuple[Any, ...], dict[str, Any]]]]]:
    """Returns what enters the first block for each row, and with what else each block is called."""
    states: list[Tensor] = []
    calls: list[list[Any]] = [[] for _ in blocks]

    def hook(number: int) -> Callable[..., None]:
        def seen(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if number == 0:
                states.append(given[0])
            calls[number].append((given[1:], named))

        return seen

    handles = [
        block.register_forward_pre_hook(hook(number), with_kwargs=True) for number, block in enumerate(blocks)
    ]
    for row in rows:
        model(input_ids=torch.tensor([row]), use_cache=False, logits_to_keep=1)
    for handle in handles:
        handle.remove()
    return states, calls


def _run(block: nn.Module, states: list[Tensor], calls: list[Any]) -> list[Tensor]:
    made = (block(state, *given, **named) for state, (given, named) in zip(states, calls, strict=True))
    return [each[0] if isinstance(each, tuple) else each for each in made]


def _moments(model: Any, inside: Mapping[Layer, str], run: Callable[[], Any]) -> dict[Layer, Tensor]:
    """Returns X X^T of each layer's inputs while `run` runs."""
    found = {layer: torch.zeros(layer.inputs, layer.inputs) for layer in inside}

    def hook(layer: Layer) -> Callable[..., None]:
        def seen(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            flat = given[0].reshape(-1, layer.inputs).float()
            found[layer].addmm_(flat.t(), flat)

        return seen

    handles = [model.get_submodule(layer.name).register_forward_pre_hook(hook(layer)) for layer in inside]
    run()
    for handle in handles:
        handle.remove()
    return found
