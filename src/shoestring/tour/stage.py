"""What a stage of the tour is, and how a list of them runs: each says what it did, none stops the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shoestring._errors import OptionError, ShoestringError
from shoestring.ui import UI


@dataclass(frozen=True)
class Settings:
    """What every stage knows.

    Args:
        folder: where the report goes; each stage may write there.
        ui: shows progress.
        minutes: in which models train and texts are embedded, all together.
        seed: of everything random.
    """

    folder: Path
    ui: UI
    minutes: float = 3.7
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise OptionError(f"--minutes {self.minutes:g}: must be above 0")


@dataclass(frozen=True)
class Headline:
    """A result for the first screen, with a peer that was measured in the same run beside it."""

    what: str
    ours: str
    beside: str


@dataclass(frozen=True)
class Outcome:
    """What a stage did.

    Args:
        line: in one line.
        facts: numbers for report.json and for later stages.
        figures: (caption, PNG) pairs.
        tables: (caption, column names, rows) triples.
        command: does it again on the user's own data.
        headline: for the first screen.
    """

    line: str
    facts: dict[str, Any] = field(default_factory=dict)
    figures: Sequence[tuple[str, Path]] = ()
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = ()
    command: str | None = None
    headline: Headline | None = None


class Bars(UI):
    """Bars without the remarks that a command of its own would make: a stage says one line, at its end."""

    def say(self, line: str) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class Stage:
    """One step of the story.

    Args:
        name: what `--stages` calls it.
        title: its heading in the report.
        run: does it; gets the settings and the outcomes of the stages before, by name.
        needs: names of the stages whose results it uses.
    """

    name: str
    title: str
    run: Callable[[Settings, dict[str, Outcome]], Outcome]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """How a stage ended: `outcome`, or the `error` that it ended with."""

    stage: Stage
    seconds: float
    outcome: Outcome | None = None
    error: str | None = None


def select(stages: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """Returns the named stages and all that they need, in the order of the story.

    Raises:
        OptionError: a name is unknown.
    """
    by_name = {stage.name: stage for stage in stages}
    wanted: set[str] = set()
    pending = list(names) or list(by_name)
    while pending:
        name = pending.pop()
        if name not in by_name:
            raise OptionError(f"--stages {name}: no such stage; choose among {','.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            pending += by_name[name].needs
    return [stage for stage in stages if stage.name in wanted]


def run(stages: Sequence[Stage], settings: Settings) -> list[Done]:
    """Runs the stages in order; one that fails says so, and only those that need it are left out."""
    outcomes: dict[str, Outcome] = {}
    done = []
    inside = replace(settings, ui=Bars(settings.ui.as_json, settings.ui.quiet))
    for stage in stages:
        start = time.monotonic()
        missing = [name for name in stage.needs if name not in outcomes]
        if missing:
            result = Done(stage, 0.0, error=f"left out: it needs {', '.join(missing)}")
        else:
            try:
                outcomes[stage.name] = stage.run(inside, outcomes)
                result = Done(stage, time.monotonic() - start, outcomes[stage.name])
            except Exception as error:  # one broken stage must not take the report along
                result = Done(stage, time.monotonic() - start, error=_reason(error))
        what = result.outcome.line if result.outcome else f"FAILED: {result.error}"
        settings.ui.say(f"{stage.name:>10}  {result.seconds:5.1f} s  {what}")
        done.append(result)
    return done


def _reason(error: Exception) -> str:
    if isinstance(error, ShoestringError):
        return f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
