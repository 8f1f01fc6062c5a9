"""One step of a run: a batch in, gradients, the guard's verdict on them; and everything that a step changes.

- On accelerate: bf16 where a device has it, gradients averaged over processes; one verdict for all of them, by the one
  number of a step that is waited for.
- Weights, their average, batch norms' statistics, the spectral vectors, Adamax's moments and the guard are what a
  checkpoint holds, in safetensors and JSON. Randomness is not in it: a step's seed follows from (seed, step, process).
- KL and likelihood are fp32 always. Weights in channels_last.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor, nn

from shoestring._errors import OptionError
from shoestring.nvae.batches import Feed, indices, prepared, step_seed, tensor
from shoestring.nvae.images import Images
from shoestring.nvae.inference.readjusting import recalibrated
from shoestring.nvae.model.cells import DECODER_CELLS, EncoderCell
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.model.towers import Cells
from shoestring.nvae.training.guard import Guard, Verdict
from shoestring.nvae.training.objective import Loss, SpectralRegulariser, batch_norm_scales, objective
from shoestring.nvae.training.settings import NVAESettings
from shoestring.train.arguments import device_of, half
from shoestring.train.tensor_files import save_tensors

RECALIBRATION = 40  # batches
MOST_COMPILED = 64  # shapes of cells, in training and in evaluation
STATE = "state.safetensors"
MOMENTS = ("exp_avg", "exp_inf", "step")
UNIT = 0.1  # nats per number of an image: differences of the loss below are no sign of anything


@dataclass(frozen=True)
class Step:
    """What became of a step.

    Args:
        verdict: of the guard.
        norm: of the gradient, before it was cut.
        losses: (objective, reconstruction, KL) in nats per image.
    """

    verdict: Verdict
    norm: float
    losses: tuple[float, float, float]


class Stepper:
    """Takes the steps of one run.

    Args:
        images: to learn from.
        config: the model.
        settings: the run.
        start: the weights to start from; None makes random ones.

    Raises:
        OptionError: batch norm would see a single number per channel.
    """

    def __init__(
        self, images: Images, config: NVAEConfig, settings: NVAESettings, start: NVAE | None = None
    ) -> None:
        self.images, self.config, self.settings = images, config, settings
        device = device_of(settings)
        AcceleratorState._reset_state()  # another training in this process may have had another precision
        self.accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="bf16" if half(settings, device) else "no"
        )
        world = self.accelerator.num_processes
        self.size, self.passes = settings.micro_batches(world)
        _require_norms(config, self.size)
        torch.manual_seed(settings.seed)
        model: Any = NVAE(config)
        if start is not None:
            model.load_state_dict(start.state_dict())
        model = model.to(self.accelerator.device, memory_format=torch.channels_last)
        if world > 1 and device == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.state = RunState(model, settings)
        _prepare_cells(model, settings)
        self.wrapped = self.accelerator.prepare_model(model)
        rank, share = self.accelerator.process_index, self.size * self.passes
        self.feed = Feed(
            images, settings.seed, settings.batch_size, range(rank * share, (rank + 1) * share), settings.steps,
            ahead=device == "cuda",
        )  # fmt: skip

    def take(self, step: int) -> Step:
        """Takes a step, or leaves everything as it was; whether to roll back is the caller's to do."""
        state = self.state
        state.model.train()
        state.remember_buffers()
        state.optimiser.zero_grad(set_to_none=True)
        loss = self.gradients(step)
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in state.parameters if parameter.grad is not None], foreach=True
        )
        seen = torch.stack([norm.detach().float(), *(part.float() for part in loss)])
        norm, *losses = self.accelerator.reduce(seen, "mean").tolist()  # one decision for all processes
        weight = self.settings.kl_weight(step)
        state.guard, verdict, scale = state.guard.judge(norm, losses[1], losses[2], weight)
        if verdict is Verdict.TAKE:
            state.apply(step, scale)
        else:
            state.forget_step()
        return Step(verdict, norm, (losses[0], losses[1], losses[2]))

    def gradients(self, step: int) -> Loss:
        """Computes a step's gradients and returns its loss."""
        settings, last = self.settings, self.passes - 1
        parts = []
        for index, x in enumerate(self.batch(step).split(self.size)):
            quiet = nullcontext() if index == last else self.accelerator.no_sync(self.wrapped)
            with quiet:
                with self.accelerator.autocast():
                    bound = self.wrapped(x)
                loss = objective(bound, self.config, settings.kl_weight(step), settings.balance)
                total = loss.total / self.passes
                if index == last:
                    regularisers = self.state.spectral() + batch_norm_scales(self.state.model)
                    total = total + settings.regularisation_at(step) * regularisers
                self.accelerator.backward(total)
            parts.append(loss)
        return Loss(*(torch.stack([part[k].detach() for part in parts]).mean() for k in range(3)))

    def batch(self, step: int) -> Tensor:
        """Returns this process's images of a step; bytes travel, and are made numbers where they are needed."""
        settings = self.settings
        pixels = self.feed.take(step).to(self.accelerator.device, non_blocking=True)
        torch.manual_seed(step_seed(settings.seed, step, self.accelerator.process_index))
        return prepared(pixels.float() / 255, self.config, flip=settings.flip)

    def averaged(self) -> NVAE:
        """Returns the averaged weights with fresh statistics, the same on every process."""
        size, settings = self.size, self.settings
        count = min(RECALIBRATION, len(self.images) // size)
        torch.manual_seed(settings.seed)
        chosen = indices(settings.seed, 0, count * size, len(self.images)).reshape(count, size)
        batches = (
            prepared(tensor(self.images, few), self.config).to(self.accelerator.device) for few in chosen
        )
        return recalibrated(self.state.averaged_model(), batches)


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
        unit = UNIT * model.config.dimensions
        self.guard = Guard(settings.clip, settings.explosion, settings.patience, unit)
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
        save_tensors(self.tensors(), folder / STATE)

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
        then = Guard(**run["guard"])
        self.guard = self.guard.back_to(then) if keep_guard else then

    def _restore_moments(self, parameter: nn.Parameter, tensors: dict[str, Tensor], index: int) -> None:
        self.optimiser.state.pop(parameter, None)
        if f"adamax.{index}.step" in tensors:
            moments = {name: tensors[f"adamax.{index}.{name}"] for name in MOMENTS}
            self.optimiser.state[parameter] = {
                name: value if name == "step" else torch.empty_like(parameter).copy_(value)
                for name, value in moments.items()
            }


def _require_norms(config: NVAEConfig, size: int) -> None:
    side = config.resolutions[-1]
    if size * side * side < 2:
        raise OptionError(
            f"{size} image per pass and latents of {side}x{side}: batch norm needs at least 2 numbers of a channel; "
            "give a larger batch_size or micro_batch, or fewer scales"
        )


def _prepare_cells(model: nn.Module, settings: NVAESettings) -> None:
    """Tells the cells whether to recompute, and compiles them one by one."""
    for module in model.modules():
        if isinstance(module, Cells):
            module.recompute = settings.recompute
        if settings.compile and isinstance(module, (EncoderCell, *DECODER_CELLS.values())):
            # All cells of a class share one budget of shapes; the default of 8 is spent by one preset.
            torch._dynamo.config.recompile_limit = MOST_COMPILED
            module.compile(dynamic=False, fullgraph=True)
