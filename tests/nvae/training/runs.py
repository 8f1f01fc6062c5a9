"""Small runs, and who listens to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoestring.nvae import NVAESettings
from shoestring.ui import UI

QUIET = UI(quiet=True)


def settings(**changes):
    return NVAESettings(
        **{"steps": 12, "batch_size": 16, "save_every": 4, "log_every": 3, "device": "cpu", **changes}
    )


@dataclass(frozen=True)
class Listener(UI):
    """Keeps what is said."""

    lines: list[str] = field(default_factory=list)

    def say(self, line):
        self.lines.append(line)
