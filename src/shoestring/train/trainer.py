"""transformers' Trainer with the few things changed that `fit` promises.

- Loss: the Trainer trusts a model that takes `**kwargs` to divide by `num_items_in_batch`. BERT and two dozen
  others take it and ignore it, and GPT-2's shifted labels are miscounted. So each micro-batch's mean is asked
  for and weighed here by its number of targets: right for every model.
- Evaluation is weighed by targets too, and shared among processes without counting anything twice.
- Checkpoints are complete or absent. Logging, saving and evaluating follow one rule, `Flow`.
- The loss of every step is kept until it is logged, in checkpoints too: a resumed log is the same log.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.utils import set_seed
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Subset
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_callback import PrinterCallback

from shoestring._errors import OutputError, TrainError
from shoestring.train import checkpoint
from shoestring.train.arguments import arguments
from shoestring.train.settings import TrainSettings, rate_factor


class Display(Protocol):
    """Who is told about a run while it goes on, on every process."""

    def step(self, step: int) -> None:
        """This many steps are done."""

    def record(self, values: Mapping[str, Any]) -> None:
        """This is to be logged."""


class WeighedTrainer(Trainer):
    """A Trainer whose loss is the mean over the targets of the whole batch, however it is cut.

    Args:
        model: trained in place.
        settings: of the run.
        folder: where checkpoints go.
        examples: of the run, in order.
        collate: makes a batch of a list of examples; None stacks their arrays.
        eval_examples: evaluated every `eval_every` steps and at the end, if there are any.
        eval_every: steps between evaluations.
        processes: how many take part.
        run: what `run.json` of a checkpoint says about the run.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        model: nn.Module,
        settings: TrainSettings,
        folder: Path,
        examples: Sequence,
        collate: Callable[[list], dict[str, Any]] | None,
        eval_examples: Sequence | None,
        eval_every: int,
        processes: int,
        run: Mapping[str, Any],
    ) -> None:
        self.settings, self.folder, self.run = settings, folder, run
        self.flow = Flow(self, eval_every)
        super().__init__(
            model=model,
            args=arguments(settings, folder, processes),
            data_collator=collate,
            train_dataset=Subset(examples, range(settings.examples)),  # pyrefly: ignore
            eval_dataset=eval_examples,  # pyrefly: ignore
            callbacks=[self.flow],
        )
        self.remove_callback(PrinterCallback)
        set_seed(settings.seed, device_specific=True)  # each process its own dropout
        self.shifts = (
            isinstance(model, PreTrainedModel)
            and model.loss_function is ForCausalLMLoss
            and not model.config.is_encoder_decoder
        )
        self.unlogged = torch.zeros(
            2, device=self.args.device
        )  # (sum of losses, tokens) since the last record
        self.unlogged_steps = 0
        self.progress: Display
        self.seconds = 0.0
        self.started = time.monotonic()

    # -- the loss --------------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device):
        """Returns the micro-batches of a step and the number of targets in them, over all processes."""
        batches = list(islice(epoch_iterator, num_batches))
        counts = torch.stack([torch.stack([self.targets(batch), tokens(batch)]) for batch in batches]).sum(0)
        targets, seen = self.accelerator.reduce(counts.to(device), "sum")
        self.unlogged[1] += seen
        return batches, targets

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Returns this micro-batch's share of the mean over the targets of the whole batch."""
        outputs = self._forward(model, inputs)
        loss = outputs["loss"]
        if num_items_in_batch is not None:
            # DDP and FSDP take the mean of the gradients over processes, where the sum is wanted.
            share = self.targets(inputs) * self.accelerator.num_processes / num_items_in_batch
            loss = loss * share
        return (loss, outputs) if return_outputs else loss

    def _forward(self, model: nn.Module, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if (
            self.model_accepts_loss_kwargs
        ):  # it divides by this itself: a mean that is finite without a target
            inputs = {**inputs, "num_items_in_batch": self.targets(inputs).clamp(min=1)}
        return model(**inputs)

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Does one forward and backward pass and keeps the loss for the log."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.unlogged[0] += loss
        return loss

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """Counts what the loss of a batch is a mean over: targets if it has labels, else examples."""
        labels = batch.get("shift_labels", batch.get("labels"))
        if labels is None or labels.is_floating_point():
            first = next(iter(batch.values()))
            return torch.tensor(len(first), device=first.device)
        if self.shifts and "shift_labels" not in batch:
            labels = labels[..., 1:]
        return (labels != -100).sum()

    @torch.no_grad()
    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """Returns the mean loss over all targets of the evaluation examples, each counted once."""
        examples: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        model: nn.Module = self.model  # pyrefly: ignore
        size, rank = self.args.per_device_train_batch_size, self.accelerator.process_index
        loss = count = 0.0
        model.eval()
        for start in range(0, len(examples), self.accelerator.num_processes * size):
            mine = range(start + rank * size, min(start + rank * size + size, len(examples)))
            batch = self._prepare_inputs(self.data_collator([examples[index] for index in mine or [0]]))
            mean, weight = self._forward(model, batch)["loss"].item(), self.targets(batch).item()
            if mine and weight:  # a process without a share only keeps step with the others
                loss, count = loss + mean * weight, count + weight
        loss, count = self.accelerator.reduce(torch.tensor([loss, count], device=self.args.device), "sum")
        metrics = {"eval_loss": float(loss / count)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # -- the optimiser ---------------------------------------------------------------------------------------

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names what decays: matrices and embeddings, whatever norms and biases are called.

        A layer's `undecayed` names matrices of its own for which 0 is no neutral value.
        """
        spared = {
            id(getattr(layer, name)) for layer in model.modules() for name in getattr(layer, "undecayed", ())
        }
        return [
            name
            for name, parameter in model.named_parameters()
            if parameter.ndim > 1 and id(parameter) not in spared
        ]

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """Makes the schedule of the settings."""
        chosen: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(chosen, lambda step: rate_factor(self.settings, step))
        self._created_lr_scheduler = True
        return self.lr_scheduler

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _get_output_dir(self, trial) -> str:
        return str(self.folder / checkpoint.PARTIAL)

    def _save_checkpoint(self, model, trial) -> None:
        partial = self.folder / checkpoint.PARTIAL
        written = partial / f"checkpoint-{self.state.global_step}"
        run = {
            **self.run,
            "step": self.state.global_step,
            "unlogged": self.pending(),
            "seconds": self.elapsed(),
        }
        try:
            if self.is_world_process_zero():
                shutil.rmtree(partial, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoint.publish(written, self.folder, run)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have their own
            shutil.rmtree(partial, ignore_errors=True)
            raise OutputError(
                f"{self.folder}: cannot save step {self.state.global_step}: {_reason(error)}; "
                "earlier checkpoints are untouched, make room and run the same command to go on"
            ) from error

    def restore(self, run: Mapping[str, Any]) -> None:
        """Takes over from a checkpoint's `run.json` what the Trainer does not."""
        self.unlogged[:] = torch.tensor(run["unlogged"][:2])
        self.unlogged_steps = run["unlogged"][2]
        self.seconds = run["seconds"]

    # -- the log ---------------------------------------------------------------------------------------------

    def elapsed(self) -> float:
        """Seconds of training, over all parts of an interrupted run."""
        return self.seconds + time.monotonic() - self.started

    def pending(self) -> list[float]:
        """Returns [sum of losses, tokens, steps] since the last record, over all processes."""
        return [*self.accelerator.reduce(self.unlogged.clone(), "mean").tolist(), self.unlogged_steps]


class Flow(TrainerCallback):
    """Decides after every step whether to log, save, evaluate or stop, and makes the records of the log."""

    def __init__(self, trainer: WeighedTrainer, eval_every: int) -> None:
        self.trainer = trainer
        self.eval_every = eval_every
        self.logged_at = time.monotonic()
        self.interrupted = False

    def interrupt(self) -> None:
        """Asks the run to save and stop after this step."""
        self.interrupted = True

    def on_train_begin(self, args, state, control, **_):
        """Starts the clock."""
        self.trainer.started = self.logged_at = time.monotonic()

    def on_step_end(self, args, state, control, **_):
        """Says what happens at this step; a loss is always looked at before it is saved."""
        step, settings = state.global_step, self.trainer.settings
        last = step == settings.steps
        self.trainer.unlogged_steps += 1
        self.trainer.progress.step(step)
        control.should_save = last or step % settings.checkpoint_every == 0 or self.interrupted
        control.should_log = control.should_save or step % settings.log_every == 0
        control.should_evaluate = self.trainer.eval_dataset is not None and (
            last or step % self.eval_every == 0
        )
        control.should_training_stop = last or self.interrupted

    def on_log(self, args, state, control, logs: Mapping[str, float] | None = None, **_):
        """Makes a record of the log, or stops a run that has gone astray."""
        step, trainer, logs = state.global_step, self.trainer, logs or {}
        if "eval_loss" in logs:
            trainer.progress.record({"step": step, "eval_loss": logs["eval_loss"]})
        elif "grad_norm" in logs:
            total, seen, steps = trainer.pending()
            if not math.isfinite(total) or not math.isfinite(logs["grad_norm"]):
                raise TrainError(
                    f"the loss is not finite at step {step} (loss {total / steps}, gradient norm "
                    f"{logs['grad_norm']}); nothing was overwritten; lower the learning rate "
                    f"{trainer.settings.learning_rate} or lengthen the warmup {trainer.settings.warmup}"
                )
            if step % trainer.settings.log_every == 0 or step == trainer.settings.steps:
                self._record(step, total / steps, seen, logs["grad_norm"])

    def _record(self, step: int, loss: float, seen: float, grad_norm: float) -> None:
        trainer, now = self.trainer, time.monotonic()
        trainer.progress.record(
            {
                "step": step,
                "loss": loss,
                "learning_rate": trainer.settings.rate(step - 1),
                "grad_norm": grad_norm,
                "seconds": round(trainer.elapsed(), 3),
                "tokens_per_second": round(seen / (now - self.logged_at)) if seen else None,
            }
        )
        self.logged_at = now
        trainer.unlogged.zero_()
        trainer.unlogged_steps = 0


def tokens(batch: Mapping[str, Any]) -> Tensor:
    """Counts the real tokens of a batch; 0 if it is not text."""
    if "attention_mask" in batch:
        return batch["attention_mask"].sum()
    ids = batch.get("input_ids")
    first = next(iter(batch.values()))
    return torch.tensor(0 if ids is None else ids.numel(), device=first.device)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error).splitlines()[0]
    torch_save = "PytorchStreamWriter" in text or "inline_container" in text  # speaks of its zip writer only
    return "the optimiser's state could not be written (disk full?)" if torch_save else text
