"""Training a matcher: fine-tune, keep the best step, choose the threshold, write one folder.

- The loops are SentenceTransformerTrainer and CrossEncoderTrainer: `torchrun` and `accelerate launch` work.
- The best step is the one with the highest Spearman correlation on the development pairs, which also choose the
  threshold; what is reported is measured on test pairs, or corrected for that choice.
- Interrupted, the same command goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shoestring import hub
from shoestring._errors import OptionError, OutputError, TrainError
from shoestring._extras import require
from shoestring.files import atomic_folder
from shoestring.match.decision import Decision, decide
from shoestring.match.matcher import Matcher, hushed
from shoestring.match.metric import Metric
from shoestring.match.pairs import Pairs
from shoestring.ui import UI

MODES = {"bi": ("cosent", "angle", "contrastive", "softmax"), "cross": ("cosent", "softmax")}
POOLINGS = ("mean", "cls", "first-last-avg", "own")
CHECKS = 5  # evaluations on the development pairs, each with a checkpoint
RUN = "run.json"


@dataclass(frozen=True)
class Training:
    """The settings of one run; the defaults are the recommended run.

    Args:
        mode: bi (two embeddings, compared) or cross (both texts in one sequence).
        loss: cosent, angle, contrastive or softmax; a cross-encoder takes cosent or softmax.
        pooling: mean, cls, first-last-avg, or own for what a sentence-transformers base says.
        prompt: put before each text, such as `query: ` for E5 models; None keeps the base's.
        epochs: passes over the pairs; 0 trains nothing and only chooses the threshold.
        batch_size: pairs in a step.
        chunk: pairs in a forward pass of CoSENT, however large the batch; None takes the batch.
        scale: of CoSENT; None is 20 for cosines and 1 for logits.
        learning_rate: its peak; it rises over the first twentieth and falls linearly.
        max_length: tokens of a text; a cross-encoder reads twice as many in a pair.
        freeze: lower layers that are not trained and computed once for each text.
        metric: what the threshold shall be best at.
        above: labels above this are matches; None is the middle of the development labels.
        calibration: auto, platt or isotonic.
        seed: of heads, order and dropout.
        device: auto, cpu, cuda or mps.

    Raises:
        OptionError: a value is unknown or out of range.
    """

    mode: str = "bi"
    loss: str = "cosent"
    pooling: str = "mean"
    prompt: str | None = None
    epochs: float = 3.0
    batch_size: int = 64
    chunk: int | None = None
    scale: float | None = None
    learning_rate: float = 2e-5
    max_length: int = 64
    freeze: int = 0
    metric: str = "accuracy"
    above: float | None = None
    calibration: str = "auto"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _choose("mode", self.mode, MODES)
        _choose("loss", self.loss, MODES[self.mode])
        _choose("pooling", self.pooling, POOLINGS)
        _choose("device", self.device, ("auto", "cpu", "cuda", "mps"))
        for name, least in (("epochs", 0), ("batch_size", 2), ("max_length", 4), ("freeze", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} {getattr(self, name)}: must be at least {least}")
        if self.learning_rate <= 0 or (self.scale is not None and self.scale <= 0):
            raise OptionError("learning_rate and scale must be above 0")
        if self.chunk is not None and (self.chunk < 1 or self.loss not in ("cosent", "angle")):
            raise OptionError(f"chunk {self.chunk}: a whole number from 1, for the losses cosent and angle")
        if self.freeze and self.pooling == "first-last-avg":
            raise OptionError(
                "freeze and pooling first-last-avg exclude each other: it needs the first layer"
            )
        Metric.parse(self.metric)


@dataclass(frozen=True)
class Trained:
    """What a run made.

    Args:
        folder: the model, with `matching.json`.
        decision: threshold, intervals, calibration.
        steps: optimiser steps.
        seconds: of training.
        spearman: on the development pairs, by step.
        cut: texts that are longer than the model reads.
    """

    folder: Path
    decision: Decision
    steps: int
    seconds: float
    spearman: Mapping[int, float]
    cut: int


def train(
    base: str | Path,
    pairs: Pairs,
    dev: Pairs,
    output: str | Path,
    settings: Training | None = None,
    *,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Trained:
    """Fine-tunes a base model on labelled pairs.

    Args:
        base: a Hugging Face or sentence-transformers folder, or a name on the hub.
        pairs: to train on.
        dev: to choose the best step, the threshold and the calibration.
        output: the folder to write; checkpoints lie in it until the end.
        settings: of the run.
        overwrite: replace a finished model; start an interrupted run again.
        ui: shows the progress.

    Raises:
        InputError: the base cannot be loaded, or the labels cannot be used.
        OptionError: settings that do not fit the model.
        OutputError: the folder holds another model.
        TrainError: the interrupted run in the folder is another one.
    """
    settings, ui, folder = settings or Training(), ui or UI(quiet=True), Path(output)
    require("match", "sentence_transformers", "datasets", "torch", "sklearn")
    from shoestring.match.building import build

    dev.binary(settings.above)
    pairs.binary(settings.above if settings.above is not None else dev.middle)
    _prepare(folder, _identity(base, pairs, dev, settings), overwrite)
    model = build(base, settings, len(pairs.levels))
    matcher = Matcher(folder, model=model)
    cut = matcher.too_long([text for pair in pairs for text in pair])
    history = _fit(matcher, pairs, dev, settings, folder, ui) if settings.epochs else {"seconds": 0.0}
    with ui.bar("choosing the threshold", len(dev), "pair") as bar:
        scores = matcher.scores(list(dev), progress=bar.update)
    decision = decide(
        scores, dev, settings.mode, settings.metric, settings.above, settings.calibration, seed=settings.seed
    )
    _save(folder, model, decision, str(base), pairs, settings)
    spearman = {int(step): value for step, value in history.pop("spearman", {}).items()}
    return Trained(folder, decision, max(spearman, default=0), history["seconds"], spearman, cut)


def spearman(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns Spearman's rank correlation, ties averaged; 0 where one side is constant."""
    stats: Any = require("match", "scipy.stats")
    if scores.min() == scores.max() or labels.min() == labels.max():
        return 0.0
    return float(stats.spearmanr(scores, labels).statistic)


def _fit(
    matcher: Matcher, pairs: Pairs, dev: Pairs, settings: Training, folder: Path, ui: UI
) -> dict[str, Any]:
    from shoestring.match.building import build_loss
    from shoestring.match.frozen import frozen
    from shoestring.match.trainers import run

    with frozen(matcher.model, settings.freeze):
        loss = build_loss(matcher.model, settings, len(pairs.levels))
        return run(matcher, loss, _numbered(pairs, settings, dev), dev, settings, folder / "checkpoints", ui)


def _numbered(pairs: Pairs, settings: Training, dev: Pairs) -> Pairs:
    """Labels as the loss wants them: classes for softmax, 0 and 1 for contrastive."""
    if settings.loss == "softmax":
        return replace(pairs, labels=np.searchsorted(pairs.levels, pairs.labels))
    if settings.loss == "contrastive":
        return replace(pairs, labels=pairs.binary(dev.middle if settings.above is None else settings.above))
    return pairs


def _identity(base: str | Path, pairs: Pairs, dev: Pairs, settings: Training) -> dict[str, Any]:
    values = {**asdict(settings), "base": str(base), "pairs": pairs.fingerprint, "dev": dev.fingerprint}
    return {name: value for name, value in values.items() if name not in ("device", "chunk")}


def _prepare(folder: Path, identity: dict[str, Any], overwrite: bool) -> None:
    run = folder / "checkpoints" / RUN
    if (folder / "modules.json").exists() or (folder / "config.json").exists():
        if not overwrite:
            raise OutputError(f"{folder}: holds a finished model; choose another name or pass --overwrite")
    elif folder.is_dir() and any(folder.iterdir()) and not run.exists():
        raise OutputError(f"{folder}: exists and is not empty; choose another name")
    if overwrite:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if run.exists():
        before = json.loads(run.read_text("utf-8"))
        other = [name for name in identity if before.get(name) != identity[name]]
        if other:
            raise TrainError(
                f"{folder}: an interrupted run with another {other[0]} ({before.get(other[0])!s:.60}); "
                "go on with that, or start again with --overwrite"
            )
    if hub.is_main_process():
        run.parent.mkdir(parents=True, exist_ok=True)
        run.write_text(json.dumps(identity), "utf-8")


def _save(folder: Path, model: Any, decision: Decision, base: str, pairs: Pairs, settings: Training) -> None:
    if not hub.is_main_process():
        return
    low, high = decision.threshold_interval
    facts = {
        "base": Path(base).name, "loss": settings.loss, "trained on": f"{len(pairs):,} pairs",
        "epochs": settings.epochs,
        "threshold": f"{decision.threshold:.4f} ({low:.4f} to {high:.4f}), best {decision.metric}",
        f"{decision.metric} on new pairs": f"{decision.value_interval[0]:.3f} to {decision.value_interval[1]:.3f}",
    }  # fmt: skip
    kind = "CrossEncoder" if settings.mode == "cross" else "SentenceTransformer"
    card = hub.model_card(
        folder.name, f"Tells whether two texts mean the same: a {kind}.", tags=["sentence-transformers"], facts=facts,
        example='from shoestring.match import Matcher\n\nMatcher(".").predict([("text", "another")])',
    )  # fmt: skip
    with atomic_folder(folder, overwrite=True) as draft, hushed():
        model.save_pretrained(str(draft), create_model_card=False)
        decision.write(draft)
        (draft / "README.md").write_text(card, "utf-8")


def _choose(name: str, value: object, allowed: Any) -> None:
    if value not in allowed:
        raise OptionError(f"{name} {value!r}: choose one of {', '.join(allowed)}")
