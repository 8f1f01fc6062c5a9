"""Small runs, and who listens to them."""

from __future__ import annotations

from shoestring.nvae import NVAESettings
from shoestring.ui import UI

QUIET = UI(quiet=True)


def settings(**changes):
    return NVAESettings(
        **{"steps": 12, "batch_size": 16, "save_every": 4, "log_every": 3, "device": "cpu", **changes}
    )


class Listener(UI):
    """Keeps what is said."""

    lines: list = []  # noqa: RUF012 - a frozen dataclass cannot have one of its own

    def say(self, line):
        self.lines.append(line)
