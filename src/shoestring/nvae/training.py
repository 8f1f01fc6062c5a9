"""Training an NVAE: images in, a model folder out, with its log, its curve and checkpoints.

- On accelerate: one CPU to many GPUs, the same command under `torchrun` or `accelerate launch`.
- Interrupted and run again, it goes on to the same weights, bit for bit on a CPU.
- Steps that would break the model are skipped, and the run rolls back if they do not stop; it says so.
- bf16 on devices that have it; KL and likelihood are fp32 always. Weights in channels_last.
- What is saved are the averaged weights, with batch norm's statistics taken anew.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from shoestring import hub, plot
from shoestring._errors import InputError, OutputError, TrainError
from shoestring.nvae.batches import indices, prepared, step_seed, tensor
from shoestring.nvae.configuration import NVAEConfig
from shoestring.nvae.evaluation import Evaluation, evaluate
from shoestring.nvae.guard import Verdict
from shoestring.nvae.images import Images, require_shape
from shoestring.nvae.modeling import NVAE
from shoestring.nvae.objective import Loss, objective
from shoestring.nvae.readjusting import recalibrated
from shoestring.nvae.regularisers import batch_norm_scales
from shoestring.nvae.settings import NVAESettings
from shoestring.nvae.state import RunState
from shoestring.train import checkpoint, record
from shoestring.train.arguments import device_of, half
from shoestring.train.settings import differences, identity
from shoestring.ui import UI

MOST_ROLLBACKS = 12
RECALIBRATION = 40  # batches
EVALUATIONS = 6  # over a run
EVALUATED = 1000  # images, while training
WARM, TIMED = 2, 5  # steps of the calibration
TRAINING = 0.9  # of the time; the rest goes to evaluations and checkpoints


@dataclass(frozen=True)
class Trained:
    """What a run left behind.

    Args:
        folder: the model.
        parameters: number of weights.
        evaluation: of all test images at the end.
        seconds: of training, over all its parts.
        skipped: steps.
        rollbacks: to earlier checkpoints.
    """

    folder: Path
    parameters: int
    evaluation: Evaluation
    seconds: float
    skipped: int
    rollbacks: int


def train(
    images: Images,
    config: NVAEConfig,
    settings: NVAESettings,
    output: str | Path,
    *,
    test: Images | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Trained:
    """Trains a model from random weights.

    Args:
        images: to learn from.
        config: the model.
        settings: the run.
        output: folder for the model, `log.jsonl`, `loss.png` and `checkpoints/`.
        test: images to evaluate on; without them a tenth of the images, at most 1,000, is held out.
        minutes: train for about so long instead of `settings.steps`, by timing a few steps first.
        overwrite: replace a finished model, start an interrupted run again.
        ui: shows progress.

    Raises:
        InputError: the images do not fit the model, or are too few.
        OutputError: `output` holds a finished model or cannot be written.
        TrainError: the run in `output` is another one, or cannot be kept finite.
    """
    main = hub.is_main_process()
    ui, folder = (ui or UI()) if main else UI(quiet=True), Path(output)
    require_shape(images, (config.in_channels, config.image_size, config.image_size), "this model")
    if test is None:
        images, test = held_out(images, settings.seed)
    if len(images) < settings.batch_size:
        raise InputError(
            f"{images.name}: {len(images):,} images to train on, fewer than a batch of {settings.batch_size}; "
            f"give more, or --batch-size {max(2, len(images) // 2)}"
        )
    if (folder / "config.json").exists() and not overwrite:
        raise OutputError(f"{folder}: holds a finished model; choose another name or pass --overwrite")
    with torch.random.fork_rng(devices=[]):
        if minutes is not None:
            settings = replace(
                settings, steps=_steps_within(minutes, images, config, settings, folder, overwrite, ui)
            )
        return Run(images, test, config, settings, folder, overwrite, ui).go()


def held_out(images: Images, seed: int) -> tuple[Images, Images]:
    """Returns (training, test): a tenth at random is held out, at most 1,000."""
    order = np.random.default_rng(seed).permutation(len(images))
    out = min(1000, max(1, len(images) // 10))
    return images.rows(np.sort(order[out:])), images.rows(np.sort(order[:out]))


class Run:
    """One run: its images, its state, and the loop that brings them together."""

    def __init__(
        self, images: Images, test: Images, config: NVAEConfig, settings: NVAESettings, folder: Path,
        overwrite: bool, ui: UI,
    ) -> None:  # fmt: skip
        self.images, self.test, self.config, self.settings = images, test, config, settings
        self.folder, self.overwrite, self.ui = folder, overwrite, ui
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
        self.wrapped = self.accelerator.prepare_model(model)
        self.checkpoints = folder / "checkpoints"
        self.seconds, self.started, self.interrupted = 0.0, time.monotonic(), False
        self.sums: list[tuple[float, float, float]] = []
        self.stuck_at: int | None = None  # the checkpoint of the last roll-back

    def go(self) -> Trained:
        """Trains to the end, evaluates and saves."""
        start = self._begin()
        with self.ui.bar("training", self.settings.steps, "step") as bar, self._interruptible():
            bar.initial = bar.n = start
            bar.refresh()
            for step in range(start, self.settings.steps):
                self._step(step)
                bar.update()
                self._after(step + 1, bar)
                if self.interrupted:
                    raise KeyboardInterrupt(
                        f"training: stopped at step {step + 1:,} and saved; the same command goes on from there"
                    )
        return self._finish()

    # -- one step --------------------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        state = self.state
        state.model.train()
        state.remember_buffers()
        state.optimiser.zero_grad(set_to_none=True)
        loss = self._gradients(step)
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in state.parameters if parameter.grad is not None], foreach=True
        )
        norm = self.accelerator.reduce(norm.detach().float(), "mean").item()  # one decision for all processes
        state.guard, verdict, scale = state.guard.judge(norm)
        if verdict is Verdict.TAKE:
            state.apply(step, scale)
            self.sums.append((loss.total.item(), loss.reconstruction.item(), loss.kl.item()))
            return
        state.forget_step()
        self.ui.say(f"step {step + 1:,}: skipped, its gradient is {norm:.3g} long")
        if verdict is Verdict.ROLL_BACK:
            self._roll_back(step + 1)

    def _gradients(self, step: int) -> Loss:
        settings, last = self.settings, self.passes - 1
        batch = self._batch(step)
        parts = []
        for index, x in enumerate(batch.split(self.size)):
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

    def _batch(self, step: int) -> Tensor:
        settings, rank = self.settings, self.accelerator.process_index
        share = self.size * self.passes
        start = step * settings.batch_size + rank * share
        chosen = indices(settings.seed, start, start + share, len(self.images))
        torch.manual_seed(step_seed(settings.seed, step, rank))
        x = prepared(tensor(self.images, chosen), self.config, flip=settings.flip)
        return x.to(self.accelerator.device)

    def _roll_back(self, step: int) -> None:
        found = checkpoint.all_of(self.checkpoints)
        every = self.settings.checkpoint_every
        regular = [path for path in found if checkpoint.step_of(path) % every == 0] or found  # else Ctrl-C's
        rollbacks = self.state.guard.rollbacks
        if rollbacks > MOST_ROLLBACKS:
            raise TrainError(
                f"{self.folder}: rolled back {MOST_ROLLBACKS} times and still not finite at step {step:,}; the last "
                f"checkpoint is whole; start again with a learning rate below {self.settings.learning_rate:g}"
            )
        target = regular[-1]
        if checkpoint.step_of(target) == self.stuck_at and regular[:-1]:
            target = regular[-2]  # the newest leads astray
        self.stuck_at = checkpoint.step_of(target)
        self.state.restore(target, checkpoint.load(target), keep_guard=True)
        self.ui.say(
            f"step {step:,}: rolled back to the weights of step {self.stuck_at:,}; learning rate x "
            f"{self.state.guard.rate_factor:g} from here on"
        )

    # -- around the steps ------------------------------------------------------------------------------------

    def _after(self, done: int, bar: Any) -> None:
        settings, last = self.settings, done == self.settings.steps
        if last or done % settings.log_every == 0:
            self._log(done, bar)
        if done % max(1, settings.steps // EVALUATIONS) == 0 and not last:
            part = self.test.part(0, EVALUATED)
            self._record_bound(done, evaluate(self._averaged(), part, seed=settings.seed))
        if last or done % settings.checkpoint_every == 0 or self.interrupted:
            self._save(done)

    def _log(self, done: int, bar: Any) -> None:
        sums, self.sums = self.sums, []
        guard = self.state.guard
        values: dict[str, Any] = {"step": done}
        if sums:
            total, reconstruction, kl = (sum(column) / len(sums) for column in zip(*sums, strict=True))
            values |= {
                "loss": reconstruction + kl,
                "objective": total,
                "reconstruction": reconstruction,
                "kl": kl,
            }
            bar.set_postfix(nats=f"{reconstruction + kl:.1f}", kl=f"{kl:.1f}", refresh=False)
        rate = self.settings.rate(done - 1) * guard.rate_factor
        values |= {"learning_rate": rate, "skipped": guard.skipped, "rollbacks": guard.rollbacks}
        self._record(values)

    def _record_bound(self, done: int, evaluation: Evaluation) -> None:
        self._record({"step": done, "eval_loss": -evaluation.elbo})

    def _record(self, values: dict[str, Any]) -> None:
        if hub.is_main_process():
            when = {"images": values["step"] * self.settings.batch_size, "seconds": round(self._elapsed(), 3)}
            record.append(self.folder / "log.jsonl", values | when)

    def _save(self, done: int) -> None:
        if hub.is_main_process():
            written = self.checkpoints / checkpoint.PARTIAL / f"checkpoint-{done}"
            try:
                written.mkdir(parents=True, exist_ok=True)
                self.state.save(written)
                checkpoint.publish(written, self.checkpoints, self._run(done))
            except OSError as error:
                raise OutputError(
                    f"{self.checkpoints}: cannot save step {done}: {error.strerror}; earlier checkpoints are "
                    "untouched, make room and run the same command to go on"
                ) from error
        self.accelerator.wait_for_everyone()

    def _run(self, done: int) -> dict[str, Any]:
        return {
            "identity": identity(self.settings, self._about()),
            "step": done,
            "seconds": self._elapsed(),
            "guard": self.state.guard.as_json(),
            "unlogged": self.sums,
            "stuck_at": self.stuck_at,
        }

    def _about(self) -> dict[str, Any]:
        # A sample tells image sets apart without reading all of a memory-mapped file.
        few = self.images.take(np.arange(0, len(self.images), max(1, len(self.images) // 64)))
        data = {"images": len(self.images), "pixels": int(few.astype(np.int64).sum())}
        return {**data, "processes": self.accelerator.num_processes, "model": self.config.to_json()}

    def _begin(self) -> int:
        """Makes the folder, or goes on with what it holds; returns the first step."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        found = [] if self.overwrite else checkpoint.all_of(self.checkpoints)
        self.accelerator.wait_for_everyone()
        start = 0
        if found:
            start = self._resume(found[-1])
        elif hub.is_main_process():
            checkpoint.discard(self.checkpoints)
        if hub.is_main_process():
            record.cut(self.folder / "log.jsonl", start)
        if not found:
            self._save(0)  # something to roll back to
        self.started = time.monotonic()
        return start

    def _resume(self, last: Path) -> int:
        run = checkpoint.load(last)
        if other := differences(run["identity"], self.settings, self._about()):
            name, old, new = other[0]
            raise TrainError(
                f"{self.folder}: its run, interrupted or done, has {name} {old!r}, this one {new!r}; to go on give "
                f"{name} {old!r}, to start again pass --overwrite, or choose another output"
            )
        self.state.restore(last, run)
        self.seconds, self.sums, self.stuck_at = (
            run["seconds"],
            [tuple(x) for x in run["unlogged"]],
            run["stuck_at"],
        )
        self.ui.say(f"training: goes on after step {run['step']:,}")
        return run["step"]

    def _averaged(self) -> NVAE:
        """The averaged weights with fresh statistics, the same on every process."""
        size, settings = self.size, self.settings
        count = min(RECALIBRATION, len(self.images) // size)
        torch.manual_seed(settings.seed)
        chosen = indices(settings.seed, 0, count * size, len(self.images)).reshape(count, size)
        batches = (
            prepared(tensor(self.images, few), self.config).to(self.accelerator.device) for few in chosen
        )
        return recalibrated(self.state.averaged_model(), batches)

    def _finish(self) -> Trained:
        model, seconds = self._averaged(), self._elapsed()
        if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
            raise TrainError(
                f"{self.folder}: the averaged weights are not finite; start again with a learning rate below "
                f"{self.settings.learning_rate:g}"
            )
        evaluation = evaluate(model, self.test, seed=self.settings.seed, ui=self.ui)
        self._record_bound(self.settings.steps, evaluation)
        guard = self.state.guard
        parameters = sum(parameter.numel() for parameter in model.parameters())
        done = Trained(self.folder, parameters, evaluation, seconds, guard.skipped, guard.rollbacks)
        saved: Any = model.to("cpu")
        hub.save(self.folder, saved, card=_card(done, self.config))
        if hub.is_main_process():
            history = record.history(self.folder / "log.jsonl")
            curves = {"training": history.curve, "test": list(history.eval_losses)}
            plot.nats(curves, self.folder / "loss.png", title="Negative ELBO")
        return done

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Lets Ctrl-C end the step and save; a second one stops at once. Several processes stop at once."""
        main = threading.current_thread() is threading.main_thread()
        if not main or self.accelerator.num_processes > 1:
            yield
            return

        def stop(number: int, frame: Any) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _steps_within(
    minutes: float, images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path, overwrite: bool, ui: UI
) -> int:  # fmt: skip
    """Times a few steps and returns how many fit; a resumed run keeps its number."""
    from accelerate.utils import broadcast_object_list

    if not overwrite and (interrupted := checkpoint.all_of(folder / "checkpoints")):
        return checkpoint.load(interrupted[-1])["identity"]["steps"]
    ui.say(f"timing {TIMED} steps")
    trial = Run(images, images, config, replace(settings, steps=10**6), folder, True, UI(quiet=True))
    for step in range(WARM):
        trial._step(step)
    start = time.monotonic()
    for step in range(WARM, WARM + TIMED):
        trial._step(step)
    each = (time.monotonic() - start) / TIMED
    return broadcast_object_list([max(20, round(TRAINING * minutes * 60 / each))])[0]


def _card(done: Trained, config: NVAEConfig) -> str:
    evaluation = done.evaluation
    text = hub.model_card(
        done.folder.name,
        f"A shoestring NVAE for images of {config.image_size} x {config.image_size}, trained from random weights.",
        tags=["nvae", "unconditional-image-generation"],
        facts={
            "parameters": f"{done.parameters:,}",
            "negative ELBO on test images, nats": f"{-evaluation.elbo:.2f}",
            "bits per dimension": f"{evaluation.bits_per_dimension:.4f}",
            "test images": f"{evaluation.images:,}",
        },
        example=f"""
from shoestring.nvae import NVAE

model = NVAE.from_pretrained("{done.folder.name}")
images = model.sample(16, temperature=0.7)  # (16, {config.in_channels}, {config.image_size}, {config.image_size})
""",
    )
    return text.replace('library_name: "transformers"', 'library_name: "shoestring"')
