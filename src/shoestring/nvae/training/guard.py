"""Decides by the gradient's length and the loss whether a step is taken, shortened, skipped, or undone.

- A gradient that is not finite, or `explosion` times longer than the recent typical one, is skipped: neither weights
  nor batch norms move.
- So is one whose loss is above the recent ones by more than `explosion` times their spread: its gradient is of weights
  that are broken already, which a long first step can do before any length is known to be typical. Only differences of
  losses count, for the loss of a density may be below 0, or near it; differences below `unit` count as one. KL counts
  with the weight that it has now, so its warm-up is no rise of the loss.
- One that is `clip` times longer is cut to that.
- After `patience` skips in a row the run rolls back to its last checkpoint at half the learning rate, and losses may
  differ twice as much: a lasting change is accepted in the end.

A pure state machine: it knows nothing of models.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

MEMORY = 0.95  # of typical lengths and losses, over about 20 steps
WARM = 5  # steps before anything finite is called long


class Verdict(Enum):
    """What happens to a step."""

    TAKE = "take"
    SKIP = "skip"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Guard:
    """What the guard remembers.

    Args:
        clip: longest gradient, in typical lengths.
        explosion: from how many typical lengths, or spreads of the loss, a step is skipped.
        patience: skips in a row before the run rolls back.
        unit: nats; a smaller spread counts as one.
        log_norm: the mean logarithm of recent lengths.
        seen: finite lengths so far.
        skipped: steps, over the whole run.
        in_a_row: steps skipped since the last one taken.
        rollbacks: over the whole run.
        level: the mean of recent losses, KL left out.
        kl_level: the mean of recent KL.
        spread: the mean distance of losses from these.
        losses: how many it is of.
    """

    clip: float
    explosion: float
    patience: int
    unit: float = 1.0
    log_norm: float = 0.0
    seen: int = 0
    skipped: int = 0
    in_a_row: int = 0
    rollbacks: int = 0
    level: float = 0.0
    kl_level: float = 0.0
    spread: float = 0.0
    losses: int = 0

    def judge(
        self, norm: float, loss: float, kl: float = 0.0, weight: float = 1.0
    ) -> tuple[Guard, Verdict, float]:
        """Returns the guard after a step, what happens to it, and by what its gradient is multiplied.

        Args:
            norm: length of the gradient.
            loss: nats per image, without KL.
            kl: nats per image.
            weight: of KL at this step.

        >>> Guard(3.0, 20.0, 5).judge(float("nan"), 100.0)[1].value
        'skip'
        """
        typical = math.exp(self.log_norm)
        rise = loss - self.level + weight * (kl - self.kl_level) if self.losses else 0 * (loss + kl)
        sound = math.isfinite(norm) and math.isfinite(rise) and rise <= self._allowed
        long = self.seen >= WARM and norm > self.explosion * typical
        after = self._remembering(min(norm, self.explosion * typical) if long else norm) if sound else self
        if sound and not long:
            scale = min(1.0, self.clip * typical / norm) if self.seen >= WARM and norm > 0 else 1.0
            return replace(after._taking(loss, kl, abs(rise)), in_a_row=0), Verdict.TAKE, scale
        after = replace(after, skipped=self.skipped + 1, in_a_row=self.in_a_row + 1)
        if after.in_a_row < self.patience:
            return after, Verdict.SKIP, 0.0
        fresh = replace(after, in_a_row=0, seen=0, log_norm=0.0, rollbacks=self.rollbacks + 1)
        return fresh, Verdict.ROLL_BACK, 0.0

    def back_to(self, then: Guard) -> Guard:
        """Returns the guard after a roll-back: it goes on counting, and expects the losses of the checkpoint."""
        return replace(self, level=then.level, kl_level=then.kl_level, spread=then.spread, losses=then.losses)

    @property
    def rate_factor(self) -> float:
        """What is left of the learning rate."""
        return 0.5**self.rollbacks

    def as_json(self) -> dict[str, Any]:
        """Returns it for a checkpoint."""
        return asdict(self)

    @property
    def _allowed(self) -> float:
        return self.explosion * max(self.spread, self.unit) * 2**self.rollbacks

    def _taking(self, loss: float, kl: float, away: float) -> Guard:
        """A taken step's loss becomes part of what is expected."""
        keep = min(MEMORY, self.losses / (self.losses + 1))

        def moved(old: float, new: float) -> float:
            return keep * old + (1 - keep) * new

        return replace(
            self, level=moved(self.level, loss), kl_level=moved(self.kl_level, kl), spread=moved(self.spread, away),
            losses=self.losses + 1,
        )  # fmt: skip

    def _remembering(self, norm: float) -> Guard:
        """A skipped length counts too, cut, so that a lasting change is accepted in the end."""
        keep = min(MEMORY, self.seen / (self.seen + 1))
        value = math.log(max(norm, 1e-12))
        return replace(self, log_norm=keep * self.log_norm + (1 - keep) * value, seen=self.seen + 1)
