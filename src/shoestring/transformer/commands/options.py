"""What the commands share: the corpus, changed settings, what reading met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from shoestring import files, ui
from shoestring._errors import OptionError

corpus = click.argument("corpus", nargs=-1, required=True)


def say(ui: ui.UI, report: files.Report) -> None:
    """Tells what reading met."""
    for line in report.lines():
        ui.say(line)


def changed(changes: Sequence[str]) -> dict[str, Any]:
    """Turns `NAME=VALUE` into settings; numbers and true/false are understood."""
    settings = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise OptionError(f"--set {change}: write NAME=VALUE, such as --set position=learned")
        settings[name.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
