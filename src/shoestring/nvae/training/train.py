"""Training an NVAE: images in, a model folder out, with its log, its curve and checkpoints.

- One CPU to many GPUs, the same command under `torchrun` or `accelerate launch`.
- What is saved are the averaged weights, with batch norm's statistics taken anew; a model that is not finite is not.
- `step.py` takes a step, `objective.py` says what it makes smaller, `guard.py` whether it is taken; `run.py` strings
  them together.
- What is held out is remembered in the model's folder, so that it is found again (`images/holding.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from shoestring import hub, plot
from shoestring._errors import InputError, OptionError, OutputError, TrainError
from shoestring.nvae.images import Images, fingerprints, held_out, remember, remembered, require_shape
from shoestring.nvae.inference.evaluation import Evaluation, evaluate
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import NVAE, load
from shoestring.nvae.training.run import Run
from shoestring.nvae.training.settings import NVAESettings
from shoestring.nvae.training.step import Stepper
from shoestring.train import checkpoint, record
from shoestring.train.memory import keep_freed
from shoestring.train.settings import steps_within
from shoestring.ui import UI

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
        before: negative ELBO in nats of the model that was gone on with, of the first test images; None if none was.
    """

    folder: Path
    parameters: int
    evaluation: Evaluation
    seconds: float
    skipped: int
    rollbacks: int
    before: float | None = None


def train(
    images: Images,
    config: NVAEConfig,
    settings: NVAESettings,
    output: str | Path,
    *,
    test: Images | None = None,
    start: str | Path | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Trained:
    """Trains a model from random weights, or goes on with a model.

    Args:
        images: to learn from.
        config: the model.
        settings: the run.
        output: folder for the model, `log.jsonl`, `loss.png` and `checkpoints/`.
        test: images to evaluate on; without them a tenth of the images, at most 1,000, is held out.
        start: folder of a model to go on with, a finished or a converted one; what was held out of its training stays
            held out. Its bounds are the first line of the log.
        minutes: train for about so long instead of `settings.steps`, by timing a few steps first.
        overwrite: replace a finished model, start an interrupted run again.
        ui: shows progress.

    Raises:
        InputError: the images do not fit the model, or are too few.
        OptionError: `minutes` is no time, or `start` is of another configuration.
        OutputError: `output` holds a finished model or cannot be written.
        TrainError: the run in `output` is another one, or cannot be kept finite.
    """
    main = hub.is_main_process()
    ui, folder = (ui or UI()) if main else UI(quiet=True), Path(output)
    if minutes is not None and not 0 < minutes < math.inf:
        raise OptionError(f"minutes {minutes}: must be above 0")
    shape = (config.in_channels, config.image_size, config.image_size)
    require_shape(images, shape, "this model")
    model = None if start is None else _started(start, config)
    known: Collection[str] = () if start is None else remembered(hub.located(start))
    if test is None:
        images, test = held_out(images, settings.seed, known)
        known = {*known, *fingerprints(test)}
    require_shape(test, shape, "this model")
    if len(images) < settings.batch_size:
        raise InputError(
            f"{images.name}: {len(images):,} images to train on, fewer than a batch of {settings.batch_size}; "
            f"give more, or --batch-size {max(2, len(images) // 2)}"
        )
    if (folder / "config.json").exists() and not overwrite:
        raise OutputError(f"{folder}: holds a finished model; choose another name or pass --overwrite")
    keep_freed()
    with torch.random.fork_rng(devices=[]):
        if minutes is not None:
            settings = replace(
                settings, steps=_steps_within(minutes, images, config, settings, folder, overwrite, ui)
            )
        run = Run(Stepper(images, config, settings, model), test, folder, overwrite, ui, model)
        run.go()
        return _finished(run, known)


def _started(start: str | Path, config: NVAEConfig) -> NVAE:
    model = load(start)
    if model.config != config:
        raise OptionError(f"{start}: is of another configuration than the one given; take its own")
    return model


def _steps_within(
    minutes: float, images: Images, config: NVAEConfig, settings: NVAESettings, folder: Path, overwrite: bool, ui: UI
) -> int:  # fmt: skip
    """Times a few steps and returns how many fit; a resumed run keeps its number."""
    if not overwrite and (interrupted := checkpoint.all_of(folder / "checkpoints")):
        return checkpoint.load(interrupted[-1])["identity"]["steps"]
    ui.say(f"timing {TIMED} steps")
    trial = Stepper(images, config, replace(settings, steps=10**6))
    clock = [time.monotonic()]
    for step in range(WARM + TIMED):
        trial.take(step)
        clock.append(time.monotonic())
    each = [after - before for before, after in pairwise(clock[WARM:])]
    return broadcast_object_list([steps_within(TRAINING * 60 * minutes, each)])[0]


def _finished(run: Run, known: Collection[str]) -> Trained:
    """Evaluates and saves what a run has learned."""
    folder, settings, guard = run.folder, run.settings, run.state.guard
    model, seconds = run.stepper.averaged(), run.clock.seconds
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise TrainError(
            f"{folder}: the averaged weights are not finite; start again with a learning rate below "
            f"{settings.learning_rate:g}"
        )
    evaluation = evaluate(model, run.test, seed=settings.seed, ui=run.ui)
    run.record_bound(settings.steps, evaluation)
    run.draw(settings.steps, model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    before = None if run.start is None else record.history(folder / "log.jsonl").eval_losses[0][1]
    done = Trained(folder, parameters, evaluation, seconds, guard.skipped, guard.rollbacks, before)
    if before is not None and -evaluation.elbo > before:
        run.ui.say(
            f"the model was better before: {before:.2f} nats, now {-evaluation.elbo:.2f}; train for more --steps or "
            f"with a --learning-rate below {settings.learning_rate:g}"
        )
    if hub.is_main_process():
        remember(folder, known)
    saved: Any = model.to("cpu")
    hub.save(folder, saved, card=_card(done, run.stepper.config))
    if hub.is_main_process():
        history = record.history(folder / "log.jsonl")
        curves = {"training": history.curve, "test": list(history.eval_losses)}
        plot.nats(curves, folder / "loss.png", title="Negative ELBO")
    run.stepper.accelerator.wait_for_everyone()  # whoever returns finds the model
    return done


def _card(done: Trained, config: NVAEConfig) -> str:
    evaluation = done.evaluation
    text = hub.model_card(
        done.folder.name,
        f"A shoestring NVAE for images of {config.image_size} x {config.image_size}.",
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
