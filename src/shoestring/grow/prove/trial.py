"""What a comparison of outputs found: values only, so that reading a report needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = 1e-12  # of the largest output, in fp64
NOISE = 4.0  # times the small model's own rounding, in fp32


@dataclass(frozen=True)
class Trial:
    """How far the outputs of the grown model are from the old one's.

    Args:
        name: what was compared.
        error: the largest difference.
        scale: the largest output.
        noise: the old model's own distance from its outputs in fp64, 0 where that is what it was compared with.
    """

    name: str
    error: float
    scale: float
    noise: float = 0.0


@dataclass(frozen=True)
class Proof:
    """What was tried and found.

    Args:
        subject: which small model.
        trials: in fp64, fp32 and the stored dtype.
    """

    subject: str
    trials: tuple[Trial, ...]

    @property
    def relative(self) -> float:
        """The error in fp64 as a fraction of the largest output."""
        return self.trials[0].error / self.trials[0].scale
