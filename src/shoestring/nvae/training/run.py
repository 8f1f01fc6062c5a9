"""A run: its steps one after the other, with checkpoints, roll-backs, a log and evaluations on the way.

- Interrupted and run again, it goes on to the same weights, bit for bit on a CPU.
- Steps that would break the model are skipped, and the run rolls back if they do not stop; it says so.
- A checkpoint is on the disk before the one before it goes; on a full disk the run ends in one line and can go on.
- With every evaluation goes a grid of what the model draws, always from the same latent noise.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shoestring import hub
from shoestring._errors import OutputError, TrainError
from shoestring.nvae.images import Images
from shoestring.nvae.inference import pictures
from shoestring.nvae.inference.drawing import draw
from shoestring.nvae.inference.evaluation import Evaluation, evaluate
from shoestring.nvae.model.modeling import NVAE
from shoestring.nvae.training.guard import Verdict
from shoestring.nvae.training.step import Stepper
from shoestring.train import checkpoint, record
from shoestring.train.interrupt import interruptible
from shoestring.train.settings import differences, identity
from shoestring.ui import UI

MOST_ROLLBACKS = 12
EVALUATED = 1000  # images, while training
DRAWN, COLUMNS, TEMPERATURE = 36, 6, 0.7  # of the grids


class Clock:
    """The time of a run over all its parts; CPU seconds compare runs on a busy machine.

    Args:
        seconds: by the wall clock, of earlier parts.
        cpu_seconds: of all threads of this process, of earlier parts.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._wall = time.monotonic() - seconds
        self._cpu = time.process_time() - cpu_seconds

    @property
    def seconds(self) -> float:
        """By the wall clock."""
        return time.monotonic() - self._wall

    def as_json(self) -> dict[str, float]:
        """Returns both, for logs and checkpoints."""
        cpu = time.process_time() - self._cpu
        return {"seconds": round(self.seconds, 3), "cpu_seconds": round(cpu, 3)}


class Run:
    """One run in its folder.

    Args:
        stepper: takes the steps.
        test: images to evaluate on.
        folder: gets `log.jsonl` and `checkpoints/`.
        overwrite: start again, whatever is there.
        ui: shows progress.
        start: the model that the run starts from, if it is not from random weights.
    """

    def __init__(
        self, stepper: Stepper, test: Images, folder: Path, overwrite: bool, ui: UI, start: NVAE | None = None
    ) -> None:
        self.start = start
        self.stepper, self.state, self.settings = stepper, stepper.state, stepper.settings
        self.test, self.folder, self.overwrite, self.ui = test, folder, overwrite, ui
        self.checkpoints = folder / "checkpoints"
        self.clock, self.interrupted = Clock(), False
        self.losses: list[tuple[float, float, float]] = []  # of the steps since the last line of the log
        self.rolled_to: int | None = None  # the checkpoint of the last roll-back

    def go(self) -> None:
        """Takes all steps that are left.

        Raises:
            KeyboardInterrupt: Ctrl-C; the run is saved.
            TrainError: the folder has another run, or this one cannot be kept finite.
        """
        start = self.begin()
        with (
            self.ui.bar("training", self.settings.steps, "step") as bar,
            interruptible(self.interrupt, self.stepper.accelerator.num_processes),
        ):
            bar.initial = bar.n = start
            bar.refresh()
            for step in range(start, self.settings.steps):
                self.step(step)
                bar.update()
                self._after(step + 1, bar)
                if self.interrupted:
                    raise KeyboardInterrupt(
                        f"training: stopped at step {step + 1:,} and saved; the same command goes on from there"
                    )

    def interrupt(self) -> None:
        """Asks the run to save and stop after this step."""
        self.interrupted = True

    def step(self, step: int) -> None:
        """Takes one step, skips it, or rolls back."""
        done = self.stepper.take(step)
        if done.verdict is Verdict.TAKE:
            self.losses.append(done.losses)
            return
        self.ui.say(
            f"step {step + 1:,}: skipped, its loss is {done.losses[0]:.4g} and its gradient {done.norm:.3g} long"
        )
        if done.verdict is Verdict.ROLL_BACK:
            self._roll_back(step + 1)

    def _roll_back(self, step: int) -> None:
        guard = self.state.guard
        if guard.rollbacks > MOST_ROLLBACKS:
            raise TrainError(
                f"{self.folder}: rolled back {MOST_ROLLBACKS} times and still astray at step {step:,}; the last "
                f"checkpoint is whole; start again with a learning rate below {self.settings.learning_rate:g}"
            )
        target = self._good_checkpoint()
        self.rolled_to = checkpoint.step_of(target)
        self.state.restore(target, checkpoint.load(target), keep_guard=True)
        self.ui.say(
            f"step {step:,}: rolled back to the weights of step {self.rolled_to:,}; learning rate x "
            f"{guard.rate_factor:g} from here on"
        )

    def _good_checkpoint(self) -> Path:
        """Returns the newest checkpoint, or the one before if the newest has led astray already."""
        found = checkpoint.all_of(self.checkpoints)
        every = self.settings.checkpoint_every
        regular = [path for path in found if checkpoint.step_of(path) % every == 0] or found  # else Ctrl-C's
        again = checkpoint.step_of(regular[-1]) == self.rolled_to
        return regular[-2] if again and regular[:-1] else regular[-1]

    # -- around the steps ------------------------------------------------------------------------------------

    def _after(self, done: int, bar: Any) -> None:
        settings, last = self.settings, done == self.settings.steps
        if last or done % settings.log_every == 0:
            self._log(done, bar)
        if done % max(1, settings.steps // settings.evaluations) == 0 and not last:
            self._look(done, self.stepper.averaged())
        if last or done % settings.checkpoint_every == 0 or self.interrupted:
            self._save(done)

    def _log(self, done: int, bar: Any) -> None:
        losses, self.losses = self.losses, []
        guard = self.state.guard
        values: dict[str, Any] = {"step": done}
        if losses:
            total, reconstruction, kl = (sum(column) / len(losses) for column in zip(*losses, strict=True))
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

    def _look(self, done: int, model: NVAE) -> None:
        """Evaluates a model on the way, and draws by it."""
        self.record_bound(done, evaluate(model, self.test.part(0, EVALUATED), seed=self.settings.seed))
        self.draw(done, model)

    def draw(self, done: int, model: NVAE) -> None:
        """Writes a grid of what a model draws."""
        if hub.is_main_process() and model.config.in_channels in (1, 3):
            drawn = torch.cat(list(draw(model, DRAWN, TEMPERATURE, seed=self.settings.seed)))
            with self._writing(f"the pictures of step {done}"):
                (self.folder / "samples").mkdir(exist_ok=True)
                pictures.write(self.folder / "samples" / f"{done:07}.png", drawn, COLUMNS)

    def record_bound(self, done: int, evaluation: Evaluation) -> None:
        """Writes what an evaluation found into the log."""
        self._record({"step": done, "eval_loss": -evaluation.elbo})

    def _record(self, values: dict[str, Any]) -> None:
        if hub.is_main_process():
            images = values["step"] * self.settings.batch_size
            with self._writing("its log"):
                record.append(self.folder / "log.jsonl", {**values, "images": images, **self.clock.as_json()})

    # -- checkpoints -----------------------------------------------------------------------------------------

    def begin(self) -> int:
        """Makes the folder, or goes on with what it holds; returns the first step."""
        with self._writing("its checkpoints"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        found = [] if self.overwrite else checkpoint.all_of(self.checkpoints)
        self.stepper.accelerator.wait_for_everyone()
        start, self.clock = 0, Clock()
        if found:
            start = self._resume(found[-1])
        elif hub.is_main_process():
            checkpoint.discard(self.checkpoints)
            shutil.rmtree(self.folder / "samples", ignore_errors=True)
        if hub.is_main_process():
            record.cut(self.folder / "log.jsonl", start)
        if not found:
            self._save(0)  # something to roll back to
            if self.start is not None:
                model = copy.deepcopy(self.start).to(self.stepper.accelerator.device)
                self._look(0, model.eval())
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
        self.losses, self.rolled_to = [tuple(each) for each in run["unlogged"]], run["rolled_to"]
        self.clock = Clock(run["seconds"], run["cpu_seconds"])
        self.ui.say(f"training: goes on after step {run['step']:,}")
        return run["step"]

    def _save(self, done: int) -> None:
        if hub.is_main_process():
            written = self.checkpoints / checkpoint.PARTIAL / f"checkpoint-{done}"
            with self._writing(f"step {done}"):
                written.mkdir(parents=True, exist_ok=True)
                self.state.save(written)
                checkpoint.publish(written, self.checkpoints, self._run(done))
        self.stepper.accelerator.wait_for_everyone()

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot save {what}: {error.strerror or error}; earlier checkpoints are untouched, "
                "make room and run the same command to go on"
            ) from error

    def _run(self, done: int) -> dict[str, Any]:
        return {
            "identity": identity(self.settings, self._about()),
            "step": done,
            **self.clock.as_json(),
            "guard": self.state.guard.as_json(),
            "unlogged": self.losses,
            "rolled_to": self.rolled_to,
        }

    def _about(self) -> dict[str, Any]:
        # A sample tells image sets apart without reading all of a memory-mapped file.
        images = self.stepper.images
        few = images.take(np.arange(0, len(images), max(1, len(images) // 64)))
        data = {"images": len(images), "pixels": int(few.astype(np.int64).sum())}
        stepper, started = self.stepper, {} if self.start is None else {"from": contents(self.start)}
        # Batch norm's statistics are of the images of one pass.
        cut = {"processes": stepper.accelerator.num_processes, "images per pass": stepper.size}
        return {**data, **cut, **started, "model": stepper.config.to_json()}


def contents(model: NVAE) -> str:
    """Returns what tells a model's weights from others'."""
    digest = hashlib.blake2b(digest_size=16)
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
