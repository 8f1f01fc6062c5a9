"""The settings of a training run, and the correlation that chooses its best step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.match.deciding.metric import Metric
from shoestring.match.loading import PRECISIONS

RANKING = ("MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss")
MODES = {
    "bi": ("cosent", "angle", "contrastive", "softmax", *RANKING),
    "cross": ("cosent", "softmax"),
    "joined": ("cosent",),
}
POOLINGS = ("mean", "cls", "first-last-avg", "own")
CHECKS = 5  # evaluations on the development pairs, each with a checkpoint


@dataclass(frozen=True)
class Training:
    """The settings of one run; the defaults are the recommended run.

    Args:
        mode: bi (two embeddings, compared), cross (both texts in one sequence) or joined (two texts up to the frozen
            layers, one sequence above them; to compare, since no other program loads it).
        loss: cosent, angle, contrastive, softmax or a ranking loss of sentence-transformers by its name, which learns
            from the pairs that match alone; a cross-encoder takes cosent or softmax.
        pooling: mean, cls, first-last-avg, or own for what a sentence-transformers base says.
        prompt: put before each text, such as `query: ` for E5 models; None keeps the base's.
        epochs: passes over the pairs; 0 trains nothing and only chooses the threshold.
        batch_size: pairs in a step.
        chunk: pairs in a forward pass of CoSENT, texts in one of a cached ranking loss, however large the batch;
            None takes the batch, and 32 texts.
        scale: of CoSENT and ranking losses; None is 20 for cosines and 1 for logits.
        learning_rate: its peak; it rises over the first twentieth and falls linearly. None is 2e-5, and 2e-4 where
            lower layers are frozen, or with LoRA: the others have more to do.
        head_learning_rate: of a head that starts from nothing; None is five times the other.
        max_length: tokens of a text; a cross-encoder reads twice as many in a pair.
        freeze: lower layers that are not trained and computed once for each text.
        lora: rank of low-rank additions that are trained instead of the encoder's weights, and merged; 0 for none.
        hard_negatives: texts near each match that do not match it, for a ranking loss.
        metric: what the threshold shall be best at.
        above: labels above this are matches; None is the middle of the development labels.
        calibration: auto, platt or isotonic.
        one_way: a cross-encoder reads a pair in the order given and no other, at half the price: for pairs whose order
            has a meaning. Its score is the mean of both orders otherwise.
        seed: of heads, order and dropout.
        device: auto, cpu, cuda or mps.
        precision: in which layers multiply while they learn, fp32, bf16 or auto, which is bf16 where the processor
            multiplies it; weights, sums and all that a finished model does are fp32.

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
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    max_length: int = 64
    freeze: int = 0
    lora: int = 0
    hard_negatives: int = 0
    metric: str = "accuracy"
    above: float | None = None
    calibration: str = "auto"
    one_way: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        _choose("mode", self.mode, MODES)
        _choose("loss", self.loss, MODES[self.mode])
        _choose("pooling", self.pooling, POOLINGS)
        _choose("device", self.device, ("auto", "cpu", "cuda", "mps"))
        _choose("precision", self.precision, PRECISIONS)
        self._require_numbers()
        if self.chunk is not None and self.loss not in ("cosent", "angle") and "Cached" not in self.loss:
            raise OptionError(
                f"chunk {self.chunk}: is for the losses cosent, angle and Cached...; leave it out with {self.loss}"
            )
        if self.scale is not None and self.loss not in ("cosent", "angle", *RANKING):
            raise OptionError(
                f"scale {self.scale}: is for cosent, angle and ranking losses; leave it out with {self.loss}"
            )
        if self.hard_negatives and self.loss not in RANKING:
            raise OptionError(
                f"hard_negatives {self.hard_negatives}: are for ranking losses, such as {RANKING[0]}; leave them out "
                f"with {self.loss}"
            )
        if self.freeze and self.pooling == "first-last-avg":
            raise OptionError(
                "freeze and pooling first-last-avg exclude each other: it needs the first layer"
            )
        self._require_mode()
        Metric.parse(self.metric)

    @property
    def rates(self) -> tuple[float, float]:
        """The peaks of the learning rate: of the encoder, and of a head that starts from nothing."""
        encoder = self.learning_rate or (2e-4 if self.freeze or self.lora else 2e-5)
        return encoder, self.head_learning_rate or 5 * encoder

    @property
    def reads_once(self) -> bool:
        """Whether a score is of one order of the two texts: asked for, or because none matters."""
        return self.one_way or self.mode == "joined"

    def _require_numbers(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 2), ("chunk", 1), ("max_length", 4), ("freeze", 0),
                            ("lora", 0), ("hard_negatives", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise OptionError(f"{name} {value}: must be a number, at least {least}")
        for name in ("learning_rate", "head_learning_rate", "scale"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} {value}: must be a number above 0")
        if self.above is not None and not math.isfinite(self.above):
            raise OptionError(f"above {self.above}: must be a number")

    def _require_mode(self) -> None:
        """Refuses what the other mode only has."""
        if self.mode == "joined" and not self.freeze:
            raise OptionError("mode joined: reads two texts apart in the layers that are frozen; give freeze")
        if self.mode != "cross" and self.one_way:
            raise OptionError(
                f"one_way: mode {self.mode} knows no order of two texts; leave it out, or take mode cross"
            )
        if self.mode != "cross" and self.head_learning_rate and self.loss != "softmax":
            raise OptionError(
                f"head_learning_rate: mode {self.mode} with the loss {self.loss} has no head; leave it out"
            )
        if self.mode == "cross" and self.prompt is not None:
            raise OptionError("prompt: a cross-encoder reads both texts at once, without; leave it out")
        if self.mode != "bi" and self.pooling != "mean":
            raise OptionError(
                f"pooling {self.pooling!r}: mode {self.mode} is over the mean, or its own; leave it out"
            )


def spearman(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns Spearman's rank correlation, ties averaged; 0 where one side is constant."""
    stats: Any = require("match", "scipy.stats")
    if scores.min() == scores.max() or labels.min() == labels.max():
        return 0.0
    return float(stats.spearmanr(scores, labels).statistic)


def _choose(name: str, value: object, allowed: Any) -> None:
    if value not in allowed:
        raise OptionError(f"{name} {value!r}: choose one of {', '.join(allowed)}")
