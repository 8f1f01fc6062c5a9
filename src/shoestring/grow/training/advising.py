"""Has the small model flattened? A power law fitted to its losses, with what it does not know.

loss(t) = E + A t^-a, fitted by least squares over a grid of a; blocks of the residuals are drawn again for the
uncertainty. The question is what twice the steps would still gain: while that is much, going on beats growing.

Limits: a learning rate that falls bends the curve down at its end, so the law is optimistic there; and it is a law of
one run, not of data or sizes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shoestring import plot
from shoestring._errors import InputError
from shoestring.files.tables import Column, read_table
from shoestring.grow.stored.dtypes import Array

EXPONENTS = np.geomspace(0.03, 3, 80)
SKIPPED = 0.1  # of the steps: warm-up and the first fall
LEAST = 20  # points
RESAMPLES = 200
FLAT = 0.01  # of the loss: less than that to be gained by twice the steps is flat
STEPS = ("step", "train/global_step", "_step")
LOSSES = ("loss", "*eval/loss", "*eval_loss", "*train/loss", "*loss")  # held-out losses first
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Advice:
    """What a loss curve says.

    Args:
        steps: of the run.
        loss: at its end, as fitted.
        floor: E, what the loss tends to, with the ends of the middle 90 %.
        exponent: a.
        gain: what twice the steps would gain, with the ends of the middle 90 %.
        flattened: True, False, or None where the points cannot tell.
        trend: `falling`, `rising`, or `not a number`: what the last half of the losses does.
    """

    steps: float
    loss: float
    floor: tuple[float, float, float]
    exponent: float
    gain: tuple[float, float, float]
    flattened: bool | None
    trend: str = "falling"

    def facts(self) -> dict[str, Any]:
        """Returns all of it as JSON will have it; what is no number is null."""
        return {
            key: _plain(list(value) if isinstance(value, tuple) else value)
            for key, value in asdict(self).items()
        }

    def text(self) -> str:
        """Returns the advice in words."""
        if self.trend == "not a number":
            return (
                f"the loss is not a number at step {self.steps:,.0f}: the run has broken; go back to a checkpoint "
                "before it and take a lower learning rate; there is nothing to grow"
            )
        if self.trend == "rising":
            return (
                f"loss {self.loss:.3f} after {self.steps:,.0f} steps, and rising: the run diverges or overfits; take a "
                "lower learning rate or the best checkpoint before growing anything"
            )
        low, middle, high = self.gain[1], self.gain[0], self.gain[2]
        verdict = {
            True: "the model has flattened: more steps gain little, so growing it may pay",
            False: "the model is still learning: going on with it is cheaper than growing it",
            None: "the points cannot tell: train longer, or log a held-out loss more often",
        }[self.flattened]
        return (
            f"loss {self.loss:.3f} after {self.steps:,.0f} steps, falling like t^-{self.exponent:.2f} to "
            f"{self.floor[0]:.3f} ({self.floor[1]:.3f} to {self.floor[2]:.3f})\n"
            f"twice the steps would gain {middle:.3f} ({low:.3f} to {high:.3f}, 90 %)\n{verdict}"
        )


def read(path: str) -> list[tuple[float, float]]:
    """Reads (step, loss) points: held-out losses if there are enough, else training losses.

    Raises:
        InputError: no such file, or too few losses in it.
    """
    file = Path(path)
    if file.is_dir():
        file = next(
            (file / name for name in ("log.jsonl", "trainer_state.json") if (file / name).is_file()), file
        )
    if not file.is_file():
        raise InputError(
            f"{path}: no such file; give log.jsonl, trainer_state.json or wandb's csv of a training run"
        )
    if file.suffix == ".csv":
        return _enough(path, [_from_csv(file)])
    try:
        text = file.read_text("utf-8")
        if file.suffix == ".json":
            records = json.loads(text)["log_history"]
        else:
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        curves = [
            [(each["step"], each[key]) for each in records if key in each] for key in ("eval_loss", "loss")
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: has no losses that can be read ({error}); give log.jsonl or trainer_state.json"
        ) from error
    return _enough(path, curves)


def _from_csv(file: Path) -> list[tuple[float, float]]:
    """Reads what wandb exports: `Step`, then `RUN - train/loss` and its smallest and largest."""
    columns = (Column(None, STEPS, 0, "LOG"), Column(None, LOSSES, 1, "LOG"))
    try:
        return [(float(step), float(value)) for _, (step, value) in read_table(file, columns) if value != ""]
    except ValueError as error:
        raise InputError(f"{file}: has a step or loss that is no number ({error})") from error


def _enough(path: str, curves: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    points = next((curve for curve in curves if len(curve) >= LEAST), max(curves, key=len))
    if len(points) < LEAST:
        raise InputError(
            f"{path}: has {len(points)} losses; {LEAST} are needed to see whether a curve has flattened"
        )
    return points


def advise(points: Points, seed: int = 0) -> Advice:
    """Fits the law and says whether the curve has flattened.

    Args:
        points: (step, loss) in order.
        seed: of the resampling.
    """
    steps, losses = (np.array(column, float) for column in zip(*points, strict=True))
    if not np.isfinite(losses).all():
        nothing, broken = (float("nan"),) * 3, float(steps[~np.isfinite(losses)][0])
        return Advice(broken, float("nan"), nothing, float("nan"), nothing, None, "not a number")
    kept = steps > steps[-1] * SKIPPED
    steps, losses = steps[kept], losses[kept]
    end = steps[-1]
    fitted = fit(steps, losses)
    residuals = losses - law(steps, *fitted)
    rng, block = np.random.default_rng(seed), max(2, len(steps) // 20)
    draws = np.array(
        [fit(steps, law(steps, *fitted) + _blocks(residuals, block, rng)) for _ in range(RESAMPLES)]
    )
    gains = [float(law(end, *each) - law(2 * end, *each)) for each in (fitted, *draws)]
    low, high = np.quantile(gains[1:], [0.05, 0.95])
    loss = float(law(end, *fitted))
    flattened = True if high < FLAT * loss else False if low > FLAT * loss else None
    floors = np.quantile(draws[:, 0], [0.05, 0.95])
    return Advice(
        float(end), loss, (fitted[0], float(floors[0]), float(floors[1])), fitted[2],
        (gains[0], float(low), float(high)), None if (up := rising(losses)) else flattened,
        "rising" if up else "falling",
    )  # fmt: skip


def rising(losses: Array) -> bool:
    """Tells whether the last half of some losses rises by more than their scatter: by blocks, twice the standard error.

    >>> rising(np.linspace(3, 4, 100)), rising(np.linspace(4, 3, 100))
    (True, False)
    """
    blocks = np.array([each.mean() for each in np.array_split(losses[len(losses) // 2 :], 10) if len(each)])
    first, second = np.array_split(blocks, 2)
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return bool(second.mean() - first.mean() > 2 * error)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def law(steps: Array | float, floor: float, amount: float, exponent: float) -> Array:
    """Returns E + A t^-a."""
    return floor + amount * np.asarray(steps, float) ** -exponent


def fit(steps: Array, losses: Array) -> tuple[float, float, float]:
    """Returns E, A and a of the least squares, E from 0.

    >>> t = np.arange(1.0, 100)
    >>> floor, amount, exponent = fit(t, law(t, 2.0, 3.0, 0.5))
    >>> abs(floor - 2) < 0.05
    True
    """
    best, least = (0.0, 0.0, 1.0), float("inf")
    for exponent in EXPONENTS:
        powers = (steps / steps[-1]) ** -exponent
        spread = ((powers - powers.mean()) ** 2).sum()
        slope = ((powers - powers.mean()) * (losses - losses.mean())).sum() / spread
        slope = max(slope, 0.0)
        floor = losses.mean() - slope * powers.mean()
        if floor < 0:
            floor, slope = 0.0, (powers * losses).sum() / (powers**2).sum()
        error = ((losses - floor - slope * powers) ** 2).sum()
        if error < least:
            best, least = (float(floor), float(slope * steps[-1] ** exponent), float(exponent)), error
    return best


def _blocks(residuals: Array, length: int, rng: np.random.Generator) -> Array:
    starts = rng.integers(0, len(residuals) - length + 1, -(-len(residuals) // length))
    return np.concatenate([residuals[start : start + length] for start in starts])[: len(residuals)]


def draw(points: Points, advice: Advice, path: Path) -> None:
    """Draws the losses and the law, up to twice the steps."""
    end, floor, exponent = advice.steps, advice.floor[0], advice.exponent
    amount = (advice.loss - floor) * end**exponent
    steps = np.geomspace(max(1.0, points[0][0]), 2 * end, 200)
    curve = [
        (float(step), float(loss))
        for step, loss in zip(steps, law(steps, floor, amount, exponent), strict=True)
    ]
    plot.loss_curves(
        {"loss": points, "power law, to twice the steps": curve}, path, title="Has it flattened?"
    )
