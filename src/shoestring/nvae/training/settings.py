"""What a training run of an NVAE is, beyond what every run is: warm-up of the KL term, regularisers, guards.

Schedules are pure functions of the step, so a resumed run has those of an uninterrupted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from shoestring._errors import OptionError
from shoestring.train import TrainSettings

LARGEST = 1e300  # what a setting may be
GENTLE_PEAK, GENTLE_WARMUP = 0.3, 0.2  # of a run that goes on with a model: times the peak, part of the steps
KL_LEAST = 1e-4  # the weight of the KL term before its warm-up, and the part of the run that it lasts


@dataclass(frozen=True)
class NVAESettings(TrainSettings):
    """The settings of one run; the defaults are the published run with guards.

    Those that every run has are in `TrainSettings`; the optimiser is Adamax. `clip` counts in typical gradient norms:
    a longer one is cut to `clip` times the recent typical norm. `micro_batch` cuts batch norm's statistics too.

    Args:
        kl_warmup: fraction of the steps over which the weight of the KL term rises to 1.
        balance: while it rises, groups with little KL pay less, so that none falls asleep.
        regularisation: weight of the spectral norms and of the batch norms' scales.
        regularisation_start: its weight at first, if it moves to `regularisation` with the KL term's warm-up.
        power_iterations: per step; the vectors persist, so one is enough.
        ema: decay of the averaged weights, which are what is saved.
        explosion: a step whose gradient norm is so many times the recent typical one, or whose loss is so far above
            the least one, is skipped.
        patience: skipped steps in a row before the run rolls back and halves its learning rate.
        flip: mirror images at random.
        recompute: the decoder's cells keep only their inputs for the backward pass: less memory, more time.
        compile: the cells, one by one; pays on GPUs and long runs.
        evaluations: on test images over a run, before the last one.

    Raises:
        OptionError: a value is out of range.
    """

    learning_rate: float = 1e-2
    final_lr: float = 1e-2
    warmup: float = 0.0125
    weight_decay: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 3.0
    kl_warmup: float = 0.3
    balance: bool = True
    regularisation: float = 1e-2
    regularisation_start: float | None = None
    power_iterations: int = 1
    ema: float = 0.999
    explosion: float = 20.0
    patience: int = 5
    flip: bool = False
    recompute: bool = False
    compile: bool = False
    evaluations: int = 6

    def __post_init__(self) -> None:
        self._check_kinds()
        super().__post_init__()
        for name, least in (("power_iterations", 1), ("patience", 1), ("evaluations", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise OptionError(f"{name} {value!r}: must be a whole number from {least}")
        if self.regularisation_start is not None and self.regularisation_start <= 0:
            raise OptionError(f"regularisation_start {self.regularisation_start!r}: must be a number above 0")
        if not 0 <= self.kl_warmup <= 1:
            raise OptionError(f"kl_warmup {self.kl_warmup!r}: must be a fraction from 0 to 1")
        if not 0 <= self.ema < 1:
            raise OptionError(f"ema {self.ema!r}: must be from 0 to below 1")
        for name in ("regularisation", "explosion"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(f"{name} {getattr(self, name)!r}: must be a number above 0")
        if self.explosion <= self.clip:
            raise OptionError(f"explosion {self.explosion:g}: must be above clip {self.clip:g}")

    def _check_kinds(self) -> None:
        """A setting from the command line may be anything that JSON knows."""
        whole = ("steps", "batch_size", "micro_batch", "seed", "save_every", "log_every")
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if field.name in whole:
                ok = value is None or (isinstance(value, int) and not isinstance(value, bool))
            elif kind is float or field.name == "regularisation_start":
                ok = _is_number(value) or (value is None and kind is not float)
            elif kind is tuple:
                ok = isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))
            else:
                ok = isinstance(value, kind)
            if not ok:
                raise OptionError(f"{field.name} {value!r}: must be like its default, {field.default!r}")

    def kl_weight(self, step: int) -> float:
        """Returns the weight of the KL term at a step counted from 0."""
        if not self.kl_warmup:
            return 1.0
        done = (step - KL_LEAST * self.steps) / (self.kl_warmup * self.steps)
        return min(1.0, max(KL_LEAST, done))

    def regularisation_at(self, step: int) -> float:
        """Returns the weight of the regularisers: geometric between its start and its end."""
        start, weight = self.regularisation_start or self.regularisation, self.kl_weight(step)
        return math.exp((1 - weight) * math.log(start) + weight * math.log(self.regularisation))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST


_WIDE = {"regularisation_start": 1.0, "flip": True}
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 64, "steps": 600, "regularisation": 1e-3, "ema": 0.99},
    "mnist-cpu": {"batch_size": 100, "steps": 3000, "regularisation": 1e-3, "ema": 0.995},
    "mnist": {"batch_size": 400, "steps": 60_000},
    "cifar10": {"batch_size": 256, "steps": 78_000, "ema": 0.9999, "flip": True},
    "celeba64": {"batch_size": 128, "steps": 114_000, "regularisation": 0.1, "ema": 0.9999, "flip": True},
    "imagenet32": {"batch_size": 576, "steps": 100_000, "ema": 0.9999, **_WIDE},
    "celebahq256": {"batch_size": 96, "steps": 84_000, "ema": 0.9999, **_WIDE},
    "ffhq256": {
        "batch_size": 96, "steps": 131_000, "ema": 0.9999, "learning_rate": 8e-3, **_WIDE, "regularisation": 0.1,
    },
}  # fmt: skip


def continued(preset: str | None, **changes: Any) -> NVAESettings:
    """Returns the run that goes on with a model: that of a preset or the general one, without warm-up of KL.

    Adamax knows nothing of the gradients yet, and its first steps are as long as they can be: they are kept short, by a
    lower peak that is reached late.

    >>> continued(None, steps=10).kl_weight(0)
    1.0
    """
    run: dict[str, Any] = {**RECIPES.get(preset or "", {}), "kl_warmup": 0.0, "warmup": GENTLE_WARMUP}
    run["learning_rate"] = GENTLE_PEAK * run.get("learning_rate", NVAESettings.learning_rate)
    return _changed(run, changes)


def recipe(preset: str, **changes: Any) -> NVAESettings:
    """Returns the run that belongs to a preset; changes that are None are left out.

    >>> recipe("digits", steps=10).batch_size
    64
    """
    return _changed(RECIPES[preset], changes)


def _changed(run: dict[str, Any], changes: dict[str, Any]) -> NVAESettings:
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(NVAESettings(steps=1), **{**run, **given})
