"""`fit`: one training run from its settings to its log, checkpoints and loss curve.

- Safe to run again: it goes on from the last complete checkpoint, to the same losses and the same weights.
- Under `torchrun` or `accelerate launch` every process calls it alike; only the first one writes and speaks.
- The batch of a step is the same set of examples for any number of processes and any micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoestring import plot
from shoestring._errors import OptionError, OutputError, ShoestringError, TrainError
from shoestring._extras import require
from shoestring.hub import is_main_process, silenced
from shoestring.train import checkpoint, record
from shoestring.train.interrupt import interruptible
from shoestring.train.memory import keep_freed
from shoestring.train.record import History
from shoestring.train.settings import TrainSettings, differences, identity
from shoestring.ui import UI

if TYPE_CHECKING:
    from torch import nn
    from tqdm import tqdm

    from shoestring.train.trainer import WeighedTrainer
    from shoestring.ui import HiddenBar


def fit(
    model: nn.Module,
    examples: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    output: str | os.PathLike[str],
    *,
    collate: Callable[[list], dict[str, Any]] | None = None,
    eval_examples: Sequence[Mapping[str, Any]] | None = None,
    eval_every: int | None = None,
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    ui: UI | None = None,
    title: str = "training",
) -> History:
    """Trains a model in place.

    The loss of a step is the mean over all targets of its batch (labels other than -100; examples where there
    are no labels), however the batch is cut into micro-batches and processes.

    Args:
        model: a Hugging Face model; `model(**batch).loss` is the mean over the targets of the batch. Every
            parameter that requires a gradient must take part in it.
        examples: `examples[k]` is example k of the run, for k from 0 to steps * batch_size - 1. Order, epochs
            and random masks are its own business and depend on k alone, so that resuming replays nothing.
        settings: of the run.
        output: folder that gets `checkpoints/`, `log.jsonl` and `loss.png`.
        collate: turns a list of examples into a batch; by default their arrays are stacked.
        eval_examples: examples to evaluate on, every `eval_every` steps and at the end.
        eval_every: None evaluates at every checkpoint.
        about: facts of the caller that must be equal on resume, such as the corpus and the objective.
        resume: False removes the checkpoints that `output` has and starts again.
        ui: shows the progress.
        title: names the progress bar.

    Returns:
        The steps and losses of the whole run, of its earlier parts too.

    Raises:
        OptionError: the settings contradict the machine or the examples.
        TrainError: the run in `output` is another one, or the loss is not finite.
        OutputError: `output` cannot be written.
    """
    main = is_main_process()
    ui = (ui or UI()) if main else UI(quiet=True)
    try:
        _check(examples, eval_examples, settings, eval_every)
        folder = _folder(Path(output))
        last = _last_checkpoint(folder / "checkpoints", settings, about or {}) if resume else None
        with silenced(), _undisturbed(model):
            from shoestring.train.trainer import WeighedTrainer

            keep_freed()
            trainer = WeighedTrainer(
                model=model,
                settings=settings,
                folder=folder / "checkpoints",
                examples=examples,
                collate=collate,
                eval_examples=eval_examples,
                eval_every=eval_every or settings.checkpoint_every,
                processes=int(os.environ.get("WORLD_SIZE", "1")),
                run={"identity": identity(settings, about or {})},
            )
            return _go(trainer, folder, last, ui, title)
    except ShoestringError as error:
        if main:
            raise
        raise SystemExit(1) from error  # the first process says what is wrong


class Progress:
    """Shows a run on the bar and writes its log; does nothing on a process that is not the first."""

    def __init__(self, log: Path, bar: tqdm | HiddenBar) -> None:
        self.log, self.bar = log, bar

    def step(self, step: int) -> None:
        """Moves the bar to a step."""
        self.bar.update(step - self.bar.n)

    def record(self, values: Mapping[str, Any]) -> None:
        """Writes a record of the log and shows its loss."""
        if is_main_process():
            with _writing(self.log):
                record.append(self.log, dict(values))
        if "loss" in values:
            self.bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)


def _go(trainer: WeighedTrainer, folder: Path, last: Path | None, ui: UI, title: str) -> History:
    log, start = folder / "log.jsonl", checkpoint.step_of(last) if last else 0
    trainer.accelerator.wait_for_everyone()  # all have looked for checkpoints before the first removes any
    if is_main_process():
        with _writing(folder):
            record.cut(log, start)
            if last is None:
                checkpoint.discard(folder / "checkpoints")
    if last is not None:
        trainer.restore(checkpoint.load(last))
        done = start == trainer.settings.steps
        ui.say(f"{title}: " + ("was done already" if done else f"goes on after step {start:,}"))
    with (
        ui.bar(title, trainer.settings.steps, "step") as bar,
        interruptible(trainer.flow.interrupt, trainer.accelerator.num_processes),
    ):
        bar.initial = bar.n = start  # the rate counts what is done now
        bar.refresh()
        trainer.progress = Progress(log, bar)
        trainer.train(str(last) if last else None)
    history = record.history(log, trainer.elapsed(), start)
    if is_main_process() and history.steps:
        with _writing(folder):
            plot.loss_curves(_curves(history), folder / "loss.png")
    if trainer.flow.interrupted:
        step = trainer.state.global_step
        raise KeyboardInterrupt(
            f"{title}: stopped at step {step:,} and saved; the same command goes on from there"
        )
    return history


def _check(
    examples: Sequence, eval_examples: Sequence | None, settings: TrainSettings, eval_every: int | None
) -> None:
    require("train", "transformers", "accelerate", "safetensors", "matplotlib")
    if len(examples) < settings.examples:
        raise OptionError(
            f"{len(examples):,} examples are too few: steps {settings.steps:,} times batch_size "
            f"{settings.batch_size:,} needs {settings.examples:,}"
        )
    if eval_examples is not None and not len(eval_examples):
        raise OptionError("eval_examples is empty; give at least one example or None")
    if eval_every is not None and (eval_every < 1 or eval_examples is None):
        raise OptionError(f"eval_every {eval_every}: must be from 1, and needs eval_examples")


def _folder(output: Path) -> Path:
    with _writing(output):
        (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    return output


def _last_checkpoint(folder: Path, settings: TrainSettings, about: Mapping[str, Any]) -> Path | None:
    found = checkpoint.all_of(folder)
    if not found:
        return None
    other = differences(checkpoint.load(found[-1])["identity"], settings, about)
    if other:
        name, old, new = other[0]
        raise TrainError(
            f"{folder.parent}: its run, interrupted or done, has {name} {old!r}, this one {new!r}"
            f"{_and_more(other[1:])}; to go on give {name} {old!r}, to start again pass --overwrite "
            "(resume=False), or choose another output"
        )
    return found[-1]


def _and_more(others: Sequence[tuple[str, Any, Any]]) -> str:
    return f" (also different: {', '.join(name for name, _, _ in others)})" if others else ""


def _curves(history: History) -> dict[str, list[tuple[int, float]]]:
    evaluated = {"evaluation": list(history.eval_losses)} if history.eval_losses else {}
    return {"training": history.curve, **evaluated}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or path}: {error.strerror}; choose another output") from error


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Undoes what the Trainer does to the model beyond training it."""
    config = getattr(model, "config", None)
    use_cache = getattr(config, "use_cache", None)
    try:
        yield
    finally:
        if config is not None:
            config.use_cache = use_cache
        model.eval()
