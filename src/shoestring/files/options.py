"""The command-line options of everything that reads text: one name and one meaning in every command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from shoestring.files.reading import Reading


def reading_options(function: Callable | None = None, *, errors: str = "replace") -> Callable:
    """Adds `--encoding`, `--errors`, `--field`, `--document` and `--salvage`, and passes them as one `reading`.

    Args:
        function: the command.
        errors: the default of `--errors`; used as `@reading_options(errors="strict")`.
    """
    if function is None:
        return functools.partial(reading_options, errors=errors)

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        names = ("encoding", "errors", "field", "document", "salvage")
        reading = Reading(**{name: options.pop(name) for name in names})
        return function(*arguments, reading=reading, **options)

    for option in reversed(
        (
            click.option("--encoding", default="auto", show_default=True, help="utf-8, gb18030, utf-16 ..."),
            click.option(
                "--errors", default=errors, show_default=True,
                type=click.Choice(("replace", "strict", "skip")), help="What to do with broken bytes.",
            ),
            click.option("--field", help="Field of .jsonl, column of .csv, .tsv and .parquet."),
            click.option(
                "--document", default="line", show_default=True, type=click.Choice(("line", "file")),
                help="What one document of a .txt is.",
            ),
            click.option("--salvage", is_flag=True, help="Keep what precedes a damaged compressed end."),
        )
    ):  # fmt: skip
        run = option(run)
    return run
