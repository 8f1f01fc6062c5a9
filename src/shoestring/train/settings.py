"""What a training run is: a frozen set of numbers, and the learning rate that follows from it.

- `batch_size` is the number of sequences per optimiser step over all processes: it decides the result.
  `micro_batch` and the number of processes only decide how the work is cut, so they may change on resume.
- Schedules: cosine (Loshchilov & Hutter 2017, arXiv 1608.03983), linear, constant, and wsd, which holds the
  peak and falls linearly over the last fifth (Hu et al. 2024, arXiv 2404.06395).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoestring._errors import OptionError

SCHEDULES = ("cosine", "linear", "constant", "wsd")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
WSD_DECAY = 0.2  # the part of the run over which wsd falls

# Settings that change how a run is executed but not what it computes.
FREE_ON_RESUME = ("micro_batch", "device", "save_every", "log_every")


@dataclass(frozen=True)
class TrainSettings:
    """The settings of one run; the defaults are the recommended run.

    Args:
        steps: optimiser steps.
        batch_size: sequences per optimiser step, over all processes and micro-batches.
        micro_batch: the most sequences in one forward pass on one device; None takes a process's whole share.
        learning_rate: its peak.
        warmup: fraction of the steps over which the learning rate rises linearly from 0.
        schedule: how it falls afterwards: cosine, linear, constant or wsd.
        final_lr: where it ends, as a fraction of the peak.
        weight_decay: AdamW's, on matrices and embeddings; norms and biases (1-d parameters) have none.
        clip: largest norm of the gradient.
        betas: AdamW's.
        seed: of dropout; the data's order is the data set's own business.
        device: auto, cpu, cuda or mps.
        precision: auto is bf16 on a CUDA device that has it, else fp32. Weights are fp32 either way.
        save_every: steps between checkpoints; None makes ten over the run.
        log_every: steps between lines of the log.

    Raises:
        OptionError: a value is out of range.

    >>> TrainSettings(steps=100, batch_size=8).rate(0)
    0.0002
    """

    steps: int
    batch_size: int = 32
    micro_batch: int | None = None
    learning_rate: float = 1e-3
    warmup: float = 0.05
    schedule: str = "cosine"
    final_lr: float = 0.0
    weight_decay: float = 0.01
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    save_every: int | None = None
    log_every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every"):
            _demand(name, getattr(self, name), _count(getattr(self, name)), "a whole number from 1")
        for name in ("micro_batch", "save_every"):
            value = getattr(self, name)
            _demand(name, value, value is None or _count(value), "a whole number from 1")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            _demand(name, value, math.isfinite(value) and value > 0, "a number above 0")
        for name in ("warmup", "final_lr"):
            _demand(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a fraction from 0 to 1")
        _demand("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "a number from 0")
        _demand(
            "betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"
        )
        _demand("seed", self.seed, 0 <= self.seed < 2**32, "a whole number from 0 to 2**32 - 1")
        for name, allowed in (("schedule", SCHEDULES), ("device", DEVICES), ("precision", PRECISIONS)):
            _demand(name, getattr(self, name), getattr(self, name) in allowed, "one of " + ", ".join(allowed))

    @property
    def examples(self) -> int:
        """The number of examples the whole run reads."""
        return self.steps * self.batch_size

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        return self.save_every or max(1, self.steps // 10)

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        return self.learning_rate * rate_factor(self, step)

    def micro_batches(self, processes: int) -> tuple[int, int]:
        """Returns (sequences per forward pass, forward passes per step) of one process.

        Raises:
            OptionError: the batch cannot be shared equally.

        >>> TrainSettings(steps=1, batch_size=24, micro_batch=5).micro_batches(2)
        (4, 3)
        """
        share, rest = divmod(self.batch_size, processes)
        if rest or not share:
            raise OptionError(
                f"batch_size {self.batch_size} cannot be shared by {processes} processes; "
                f"give a multiple of {processes}"
            )
        most = min(self.micro_batch or share, share)
        size = next(size for size in range(most, 0, -1) if share % size == 0)
        return size, share // size


def rate_factor(settings: TrainSettings, step: int) -> float:
    """Returns the learning rate of a step (from 0) as a fraction of its peak."""
    rise = math.ceil(settings.warmup * settings.steps)
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, settings.steps - rise)
    if settings.schedule == "constant":
        left = 1.0
    elif settings.schedule == "linear":
        left = 1 - done
    elif settings.schedule == "cosine":
        left = (1 + math.cos(math.pi * done)) / 2
    else:
        left = min(1.0, (1 - done) / WSD_DECAY)
    return settings.final_lr + (1 - settings.final_lr) * left


def differences(
    before: Mapping[str, Any], settings: TrainSettings, about: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Returns (name, old, new) for everything that a resumed run would compute differently.

    Args:
        before: what `identity` returned for the interrupted run.
        settings: of the run that wants to go on.
        about: the caller's own facts that must not change, such as the corpus.
    """
    now = identity(settings, about)
    return [
        (name, before.get(name), now.get(name))
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def identity(settings: TrainSettings, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what decides a run's result, as JSON will give it back."""
    values = {name: value for name, value in asdict(settings).items() if name not in FREE_ON_RESUME}
    return json.loads(json.dumps({**values, **about}))


def steps_within(seconds: float, each: Sequence[float]) -> int:
    """Returns how many steps fit, by the seconds that some took; the machine's stalls among them do not count.

    >>> steps_within(60, [0.1, 0.1, 4.0, 0.1, 0.1])
    600
    """
    return max(20, round(seconds / statistics.median(each)))


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _demand(name: str, value: object, ok: bool, allowed: str) -> None:
    if not ok:
        raise OptionError(f"{name} {value!r}: must be {allowed}")
