"""The trainers of sentence-transformers, with our bar, our checkpoints and the best step kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from sentence_transformers import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from shoestring._errors import TrainError
from shoestring.match.data.pairs import Pairs
from shoestring.match.loading import hushed
from shoestring.match.matcher import Matcher
from shoestring.match.training.checkpoints import Checkpoints, newest
from shoestring.match.training.model import fresh_head
from shoestring.match.training.ranking import matches, mined, recurring
from shoestring.match.training.settings import CHECKS, RANKING, Training, spearman
from shoestring.match.training.tokenizing import in_pieces
from shoestring.ui import UI

if TYPE_CHECKING:
    from torch import nn


def run(
    matcher: Matcher, loss: nn.Module, pairs: Pairs, dev: Pairs, settings: Training, folder: Path, ui: UI
) -> dict[str, Any]:
    """Trains a model in place and leaves it at its best step.

    Returns:
        `seconds`, and `spearman` on the development pairs by step.
    """
    rows = _rows(pairs, dev, matcher, settings, ui)
    steps = max(1, round(settings.epochs * _batches(rows, settings, ui)))
    family = _Cross if matcher.crossed else _Bi
    progress = _Progress(ui, steps)
    with _quiet():
        trainer = family(
            model=matcher.model,
            args=_arguments(matcher, settings, folder, steps, fresh_head(loss)),
            train_dataset=rows,
            loss=loss,
            evaluator=_Spearman(matcher, dev),
            callbacks=[progress],
        )
        if not matcher.crossed:  # whose loss tokenizes
            whole: Any = trainer.data_collator
            whole.preprocess_fn = partial(in_pieces, whole.preprocess_fn, matcher.model.tokenizer)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        started = time.monotonic()
        with progress:
            trainer.train(resume_from_checkpoint=newest(folder))
            trainer.take_best()
        trainer.accelerator.unwrap_model(matcher.model, keep_fp32_wrapper=False)  # what follows is fp32
    found = {
        each["step"]: each["eval_spearman"] for each in trainer.state.log_history if "eval_spearman" in each
    }
    return {"seconds": time.monotonic() - started, "spearman": found}


def _batches(rows: Dataset, settings: Training, ui: UI) -> float:
    """How many a pass takes; more where batches are not full, since texts recur that must not meet."""
    full = len(rows) / settings.batch_size
    if settings.loss not in RANKING:
        return full
    count = max(full, recurring(rows))
    if count > 2 * full:
        ui.say(f"texts recur: a batch holds {len(rows) / count:.1f} matches, not {settings.batch_size}")
    return count


def _rows(pairs: Pairs, dev: Pairs, matcher: Matcher, settings: Training, ui: UI) -> Dataset:
    """What the loss takes: pairs with labels, or matches and what does not match them."""
    if settings.loss not in RANKING:
        return _labelled(pairs, matcher, settings.seed)
    rows = matches(pairs, dev.middle if settings.above is None else settings.above)
    if settings.hard_negatives:
        few = len(rows)
        rows = mined(rows, pairs, matcher.model, settings.hard_negatives)
        if left := few - len(rows):
            ui.say(
                f"{left:,} of {few:,} matches left out: fewer than {settings.hard_negatives} hard negatives"
            )
    return rows


def _labelled(pairs: Pairs, matcher: Matcher, seed: int) -> Dataset:
    """The pairs; every other one the other way round for a cross-encoder that shall read both orders alike."""
    turned = np.random.default_rng(seed).random(len(pairs)) < (matcher.crossed and not matcher.one_way) / 2
    rows = [(two, one) if turn else (one, two) for (one, two), turn in zip(pairs, turned, strict=True)]
    first, second = zip(*rows, strict=True)
    return Dataset.from_dict({"text1": first, "text2": second, "label": pairs.labels.tolist()})


def _arguments(matcher: Matcher, settings: Training, folder: Path, steps: int, head: str | None) -> Any:
    every, (encoder, own) = max(1, -(-steps // CHECKS)), settings.rates
    family = CrossEncoderTrainingArguments if matcher.crossed else SentenceTransformerTrainingArguments
    device = matcher.model.device
    extra: dict[str, Any] = (
        {} if matcher.crossed else {"prompts": matcher.model.prompts.get(matcher.model.default_prompt_name)}
    )
    if settings.loss in RANKING:
        extra["batch_sampler"] = "no_duplicates"
    return family(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=settings.batch_size,
        learning_rate=encoder, learning_rate_mapping={head: own} if head else None, warmup_steps=steps // 20,
        lr_scheduler_type="linear", weight_decay=0.01,
        seed=settings.seed, use_cpu=device.type == "cpu", bf16=settings.precision == "bf16",
        eval_strategy="steps", eval_steps=every, save_strategy="steps", save_steps=every,
        metric_for_best_model="eval_spearman", greater_is_better=True,
        logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True, report_to="none",
        dataloader_pin_memory=device.type == "cuda", **extra,
    )  # fmt: skip


class _Bi(Checkpoints, SentenceTransformerTrainer):
    """Of a bi-encoder."""


class _Cross(Checkpoints, CrossEncoderTrainer):
    """Of a cross-encoder."""


class _Spearman(SentenceEvaluator):
    """Spearman's correlation of scores and labels on the development pairs."""

    def __init__(self, matcher: Matcher, dev: Pairs) -> None:
        super().__init__()
        self.matcher, self.dev = matcher, dev
        self.primary_metric = "spearman"

    def __call__(self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> dict:
        training = model.training
        scores = self.matcher.scores(list(self.dev))
        model.train(training)
        return {"spearman": spearman(scores, self.dev.labels)}


class _Progress(TrainerCallback):
    """A bar with the loss; a loss that is no number stops the run."""

    def __init__(self, ui: UI, steps: int) -> None:
        self.ui, self.steps = ui, steps
        self.bar: Any = None
        self.context: Any = None

    def __enter__(self) -> None:
        self.context = self.ui.bar("training", self.steps, "step")
        self.bar = self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.context is not None:
            self.context.__exit__(*error)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not abs(loss) < float("inf"):
            raise TrainError(f"step {state.global_step}: the loss is {loss}; lower the learning rate")
        if loss is not None and self.bar is not None:
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)


@contextmanager
def _quiet() -> Iterator[None]:
    disable_progress_bars()
    with hushed():
        yield
