"""Everything that a step changes, as one thing that is saved, restored and undone.

Weights, their average, batch norms' statistics, the spectral vectors, Adamax's moments and the guard: what a checkpoint
holds, in safetensors and JSON. Randomness is not in it: a step's seed follows from its number.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.training.guard import Guard
from shoestring.nvae.training.regularisers import SpectralRegulariser
from shoestring.nvae.training.settings import NVAESettings

STATE = "state.safetensors"
MOMENTS = ("exp_avg", "exp_inf", "step")


class RunState:
    """The moving parts of a run.

    Args:
        model: trained in place, on its device already.
        settings: of the run.
    """

    def __init__(self, model: NVAE, settings: NVAESettings) -> None:
        self.model, self.settings = model, settings
        self.parameters = list(model.parameters())
        self.spectral = SpectralRegulariser(model, settings.power_iterations)
        self.averaged = [parameter.detach().clone() for parameter in self.parameters]
        self.optimiser = torch.optim.Adamax(
            self.parameters, lr=settings.learning_rate, betas=settings.betas, eps=1e-3,
            weight_decay=settings.weight_decay, foreach=True,
        )  # fmt: skip
        self.guard = Guard(settings.clip, settings.explosion, settings.patience)
        self.moving = [buffer for module in (model, self.spectral) for buffer in module.buffers()]
        self.before = [torch.empty_like(buffer) for buffer in self.moving]

    def remember_buffers(self) -> None:
        """Notes statistics and vectors before a step, so that it can be skipped without a trace."""
        torch._foreach_copy_(self.before, self.moving)

    def forget_step(self) -> None:
        """Puts statistics and vectors back."""
        torch._foreach_copy_(self.moving, self.before)

    def apply(self, step: int, scale: float) -> None:
        """Moves the weights by their gradients times a scale, and the average after them."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if scale < 1:
            torch._foreach_mul_(gradients, scale)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(step) * self.guard.rate_factor
        self.optimiser.step()
        keep = min(self.settings.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averaged, [parameter.detach() for parameter in self.parameters], 1 - keep)

    def averaged_model(self) -> NVAE:
        """Returns a copy of the model with the averaged weights and the statistics as they are."""
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), self.averaged, strict=True):
                parameter.copy_(value)
        return model

    def tensors(self) -> dict[str, Tensor]:
        """Returns all tensors by name."""
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        named |= {f"spectral.{name}": value for name, value in self.spectral.named_buffers()}
        for index, parameter in enumerate(self.parameters):
            named[f"averaged.{index}"] = self.averaged[index]
            moments = self.optimiser.state.get(parameter, {})
            named |= {f"adamax.{index}.{name}": moments[name] for name in MOMENTS if name in moments}
        return named

    def save(self, folder: Path) -> None:
        """Writes the tensors into a folder; the guard goes into run.json."""
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in self.tensors().items()},
            folder / STATE,
        )

    def restore(self, folder: Path, run: dict[str, Any], *, keep_guard: bool = False) -> None:
        """Takes over a checkpoint.

        Args:
            folder: the checkpoint.
            run: its run.json.
            keep_guard: after a roll-back the guard goes on counting.
        """
        tensors = load_file(folder / STATE)
        weights = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(weights)
        with torch.no_grad():
            for name, buffer in self.spectral.named_buffers():
                buffer.copy_(tensors[f"spectral.{name}"])
            for index, parameter in enumerate(self.parameters):
                self.averaged[index].copy_(tensors[f"averaged.{index}"])
                self._restore_moments(parameter, tensors, index)
        if not keep_guard:
            self.guard = Guard(**run["guard"])

    def _restore_moments(self, parameter: nn.Parameter, tensors: dict[str, Tensor], index: int) -> None:
        self.optimiser.state.pop(parameter, None)
        if f"adamax.{index}.step" in tensors:
            moments = {name: tensors[f"adamax.{index}.{name}"] for name in MOMENTS}
            self.optimiser.state[parameter] = {
                name: value if name == "step" else torch.empty_like(parameter).copy_(value)
                for name, value in moments.items()
            }
