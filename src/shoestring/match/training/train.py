"""Training a matcher: fine-tune, keep the best step, choose the threshold, write one folder.

- The loops are SentenceTransformerTrainer and CrossEncoderTrainer: `torchrun` and `accelerate launch` work.
- The best step is the one with the highest Spearman correlation on the development pairs, which also choose the
  threshold; what is reported is measured on test pairs, or corrected for that choice.
- Interrupted, the same command goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring import hub
from shoestring._errors import OutputError, TrainError
from shoestring._extras import require
from shoestring.files import atomic, atomic_folder
from shoestring.files.atomic import forget_drafts
from shoestring.match.data.pairs import Pairs
from shoestring.match.deciding.decision import Decision, decide
from shoestring.match.loading import hushed, takes_bf16
from shoestring.match.matcher import Matcher
from shoestring.match.training.settings import RANKING, Training
from shoestring.ui import UI

if TYPE_CHECKING:
    from shoestring.match.training.frozen import Store

RUN = "run.json"
RISE = 0.002  # of Spearman between the last check and the best before it


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
        scores: of the pairs that were asked for, by the trained model.
    """

    folder: Path
    decision: Decision
    steps: int
    seconds: float
    spearman: Mapping[int, float]
    cut: int
    scores: tuple[np.ndarray, ...] = ()

    @property
    def rising(self) -> bool:
        """Whether the last check was the best by more than chance may give: a longer run may be better."""
        values = list(self.spearman.values())
        return len(values) > 1 and values[-1] > max(values[:-1]) + RISE


def train(
    base: str | Path,
    pairs: Pairs,
    dev: Pairs,
    output: str | Path,
    settings: Training | None = None,
    *,
    overwrite: bool = False,
    ui: UI | None = None,
    also: Sequence[Pairs] = (),
    store: Store | None = None,
) -> Trained:
    """Fine-tunes a base model on labelled pairs.

    Args:
        base: a Hugging Face or sentence-transformers folder, or `hf:OWNER/NAME`.
        pairs: to train on.
        dev: to choose the best step, the threshold and the calibration.
        output: the folder to write; checkpoints lie in it until the end.
        settings: of the run.
        overwrite: replace a finished model; start an interrupted run again.
        ui: shows the progress.
        also: pairs that the trained model shall score.
        store: keeps what frozen layers make of texts, for several runs of one base.

    Raises:
        InputError: the base cannot be loaded, or the labels cannot be used.
        OptionError: settings that do not fit the model.
        OutputError: the folder holds another model.
        TrainError: the interrupted run in the folder is another one.
    """
    settings, ui, folder = settings or Training(), ui or UI(quiet=True), Path(output)
    require("match", "sentence_transformers", "datasets", "torch", "sklearn")
    if settings.lora:
        require("lora", "peft")
    from shoestring.match.training.frozen import frozen
    from shoestring.match.training.lora import adapted
    from shoestring.match.training.model import build

    dev.binary(settings.above)
    if settings.above is None and settings.loss in ("contrastive", *RANKING):
        pairs.require_scale(dev.levels[0], dev.levels[-1])
    if settings.loss not in RANKING:  # which needs matches only
        pairs.binary(settings.above if settings.above is not None else dev.middle)
    settings = settled(settings)
    _prepare(folder, _identity(base, pairs, dev, settings), overwrite)
    model = build(base, settings, len(pairs.levels))
    matcher = Matcher(folder, model=model, one_way=settings.reads_once)
    cut = matcher.too_long([text for pair in pairs for text in pair])
    with frozen(model, settings.freeze, store=store):
        with adapted(model, settings.lora if settings.epochs else 0):
            history = _fit(matcher, pairs, dev, settings, folder, ui) if settings.epochs else {"seconds": 0.0}
        with ui.bar("choosing the threshold", len(dev) + sum(map(len, also)), "pair") as bar:
            scores = [matcher.scores(list(each), progress=bar.update) for each in (dev, *also)]
    decision = decide(
        scores[0], dev, settings.mode, settings.metric, settings.above, settings.calibration, seed=settings.seed,
        one_way=settings.reads_once,
    )  # fmt: skip
    _save(folder, model, decision, str(base), pairs, settings)
    spearman = {int(step): value for step, value in history.pop("spearman", {}).items()}
    return Trained(
        folder, decision, max(spearman, default=0), history["seconds"], spearman, cut, tuple(scores[1:])
    )


def _fit(
    matcher: Matcher, pairs: Pairs, dev: Pairs, settings: Training, folder: Path, ui: UI
) -> dict[str, Any]:
    from shoestring.match.training.model import build_loss
    from shoestring.match.training.trainer import run

    loss = build_loss(matcher.model, settings, len(pairs.levels))
    return run(matcher, loss, _numbered(pairs, settings, dev), dev, settings, folder / "checkpoints", ui)


def _numbered(pairs: Pairs, settings: Training, dev: Pairs) -> Pairs:
    """Labels as the loss wants them: classes for softmax, 0 and 1 for contrastive."""
    if settings.loss == "softmax":
        return replace(pairs, labels=np.searchsorted(pairs.levels, pairs.labels))
    if settings.loss == "contrastive":
        return replace(pairs, labels=pairs.binary(dev.middle if settings.above is None else settings.above))
    return pairs


def settled(settings: Training) -> Training:
    """Returns settings with the precision that `auto` stands for here: a run that goes on elsewhere keeps it."""
    import torch
    from sentence_transformers.util import get_device_name

    device = torch.device(get_device_name() if settings.device == "auto" else settings.device)
    return replace(settings, precision="bf16" if takes_bf16(settings.precision, device) else "fp32")


def _identity(base: str | Path, pairs: Pairs, dev: Pairs, settings: Training) -> dict[str, Any]:
    values = {**asdict(settings), "base": str(base), "pairs": pairs.fingerprint, "dev": dev.fingerprint}
    return {name: value for name, value in values.items() if name not in ("device", "chunk")}


def _prepare(folder: Path, identity: dict[str, Any], overwrite: bool) -> None:
    run = folder / "checkpoints" / RUN
    if (folder / "modules.json").exists() or (folder / "config.json").exists():
        if not overwrite:
            raise OutputError(f"{folder}: holds a finished model; choose another name or pass --overwrite")
    elif folder.is_dir() and not run.exists() and any(_theirs(each) for each in folder.rglob("*")):
        raise OutputError(f"{folder}: exists and is not empty; choose another name")
    if overwrite:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if run.exists():
        before = json.loads(run.read_text("utf-8"))
        other = [name for name in identity if before.get(name) != identity[name]]
        if other and any(run.parent.glob("checkpoint-*")):
            raise TrainError(
                f"{folder}: an interrupted run with another {other[0]} ({before.get(other[0])!s:.60}); "
                "go on with that, or start again with --overwrite"
            )
    if hub.is_main_process():
        run.parent.mkdir(parents=True, exist_ok=True)
        forget_drafts(run)
        with atomic(run) as file:
            json.dump(identity, file)


def _theirs(path: Path) -> bool:
    """Whether it is no empty folder and no draft, which a run leaves that is killed before it has begun."""
    return path.is_file() and not path.name.startswith(f".{RUN}.")


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
    kind = "SentenceTransformer" if settings.mode == "bi" else "CrossEncoder"
    card = hub.model_card(
        folder.name, f"Tells whether two texts mean the same: a {kind}.", tags=["sentence-transformers"], facts=facts,
        example='from shoestring.match import Matcher\n\nMatcher(".").predict([("text", "another")])',
    )  # fmt: skip
    with atomic_folder(folder, overwrite=True) as draft, hushed():
        model.save_pretrained(str(draft), create_model_card=False)
        decision.write(draft)
        (draft / "README.md").write_text(card, "utf-8")
