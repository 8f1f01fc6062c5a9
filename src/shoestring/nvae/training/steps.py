"""One step of a run: a batch in, gradients, and the guard's verdict on them.

- On accelerate: bf16 where a device has it, gradients averaged over processes; one verdict for all of them.
- KL and likelihood are fp32 always. Weights in channels_last.
- Everything random in a step follows from (seed, step, process).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from shoestring.nvae.batches import indices, prepared, step_seed, tensor
from shoestring.nvae.images import Images
from shoestring.nvae.inference.readjusting import recalibrated
from shoestring.nvae.model.cells import DECODER_CELLS, EncoderCell
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.model.towers import Cells
from shoestring.nvae.training.guard import Verdict
from shoestring.nvae.training.objective import Loss, objective
from shoestring.nvae.training.regularisers import batch_norm_scales
from shoestring.nvae.training.settings import NVAESettings
from shoestring.nvae.training.state import RunState
from shoestring.train.arguments import device_of, half

RECALIBRATION = 40  # batches
MOST_COMPILED = 64  # shapes of cells, in training and in evaluation


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
        config: the model, made here from random weights.
        settings: the run.
    """

    def __init__(self, images: Images, config: NVAEConfig, settings: NVAESettings) -> None:
        self.images, self.config, self.settings = images, config, settings
        device = device_of(settings)
        AcceleratorState._reset_state()  # another training in this process may have had another precision
        self.accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="bf16" if half(settings, device) else "no"
        )
        world = self.accelerator.num_processes
        self.size, self.passes = settings.micro_batches(world)
        torch.manual_seed(settings.seed)
        model: Any = NVAE(config).to(self.accelerator.device)
        model = model.to(memory_format=torch.channels_last)
        if world > 1 and device == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.state = RunState(model, settings)
        _prepare_cells(model, settings)
        self.wrapped = self.accelerator.prepare_model(model)

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
        state.guard, verdict, scale = state.guard.judge(norm, losses[0])
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
        """Returns this process's images of a step."""
        settings, rank = self.settings, self.accelerator.process_index
        share = self.size * self.passes
        start = step * settings.batch_size + rank * share
        chosen = indices(settings.seed, start, start + share, len(self.images))
        torch.manual_seed(step_seed(settings.seed, step, rank))
        x = prepared(tensor(self.images, chosen), self.config, flip=settings.flip)
        return x.to(self.accelerator.device)

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


def _prepare_cells(model: nn.Module, settings: NVAESettings) -> None:
    """Tells the cells whether to recompute, and compiles them one by one."""
    for module in model.modules():
        if isinstance(module, Cells):
            module.recompute = settings.recompute
        if settings.compile and isinstance(module, (EncoderCell, *DECODER_CELLS.values())):
            # All cells of a class share one budget of shapes; the default of 8 is spent by one preset.
            torch._dynamo.config.recompile_limit = MOST_COMPILED
            module.compile(dynamic=False)
