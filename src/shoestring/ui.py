"""What the user sees: progress on stderr, results on stdout, one line for an error.

- Every command takes `--json`, `-q/--quiet` and `--debug` from `ui.command` and gets a `UI` first.
- Results go to stdout (a table, or one JSON document under `--json`); everything else goes to stderr.
- Exit codes: 0 done, 1 our error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shoestring._errors import ShoestringError

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")


@dataclass
class HiddenBar:
    """A bar where nobody looks: what we use of tqdm's, without the time that its import takes."""

    n: float = 0
    initial: float = 0
    total: float | None = None

    def update(self, n: float = 1) -> None:
        """Counts on."""
        self.n += n

    def close(self) -> None:
        """Has nothing to take away."""

    def refresh(self) -> None:
        """Shows nothing."""

    def set_postfix(self, **values: object) -> None:
        """Shows nothing."""


@dataclass(frozen=True)
class UI:
    """How one command talks to its user.

    Args:
        as_json: results are printed as one JSON document.
        quiet: no progress bars and no remarks.
    """

    as_json: bool = False
    quiet: bool = False

    def say(self, line: str) -> None:
        """Prints a remark on stderr."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, title: str, total: float | None = None, unit: str = "it") -> Iterator[tqdm | HiddenBar]:
        """Shows a progress bar with rate and remaining time; `unit="B"` counts bytes in k, M, G."""
        if self.quiet or not sys.stderr.isatty():
            yield HiddenBar(total=total)
            return
        from tqdm import tqdm

        scale = unit == "B"
        with tqdm(
            desc=title, total=total, unit=unit, unit_scale=scale, unit_divisor=1024 if scale else 1000,
            file=sys.stderr, leave=False, dynamic_ncols=True, mininterval=0.2,
        ) as bar:  # fmt: skip
            yield bar

    def track(
        self, items: Iterable[T], title: str, total: float | None = None, unit: str = "it"
    ) -> Iterator[T]:
        """Yields the items behind a progress bar."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        with self.bar(title, total, unit) as bar:
            for item in items:
                yield item
                bar.update()

    def result(self, values: Mapping[str, Any], text: str | None = None) -> None:
        """Prints the result: `values` as JSON under `--json`, else `text`, else a two-column table."""
        if self.as_json:
            print(json.dumps(values, ensure_ascii=False, default=str))
        elif text is not None:
            print(text)
        else:
            self.table(["", ""], [(key, _short(value)) for key, value in values.items()])

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
    ) -> None:
        """Prints a table on stdout; Chinese characters take two columns, so that they line up."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        cells = [[str(cell) for cell in row] for row in rows]
        table = Table(
            box=SIMPLE_HEAD, title=title, title_justify="left", show_header=any(columns), pad_edge=False
        )
        for index, column in enumerate(columns):
            numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*row)
        Console(file=sys.stdout, markup=False, highlight=False).print(table)


def command(name: str | None = None, **settings: Any) -> Callable[[Callable], click.Command]:
    """A click command whose function takes a `UI` first; our errors become one line and exit code 1.

    >>> @command("hello")
    ... def hello(ui):
    ...     "Says hello."
    ...     ui.result({"hello": "world"})
    """

    def decorate(function: Callable) -> click.Command:
        @functools.wraps(function)
        def run(as_json: bool, quiet: bool, debug: bool, **arguments: Any) -> None:
            with reported(debug):
                function(UI(as_json, quiet), **arguments)

        for option in (
            click.option("--debug", is_flag=True, help="Show the traceback of an error."),
            click.option("-q", "--quiet", is_flag=True, help="No progress bars, no remarks."),
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        ):
            run = option(run)
        return click.command(name, **settings)(run)

    return decorate


class Group(click.Group):
    """A verb with a command of its own and subcommands: `shoestring count FILES`, `shoestring count plot FILE`.

    Whatever does not start with a subcommand's name goes to the verb's own command; a file of such a name is ./name.

    Args:
        own: what the verb does without a subcommand.
        subcommands: the others.
    """

    def __init__(self, own: click.Command, *subcommands: click.Command) -> None:
        super().__init__(own.name, {str(each.name): each for each in subcommands})
        width = max(len(str(each.name)) for each in subcommands)
        lines = [f"  {each.name:{width}}  {each.get_short_help_str(90)}" for each in subcommands]
        own.epilog = "\b\nSubcommands (each has --help; a file of that name is ./name):\n" + "\n".join(lines)
        self.own = own

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parses for a subcommand if one is named, else for the verb's own command."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, *rest, **extra)
        return self.own.make_context(info_name, args or ["--help"], *rest, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs what was parsed."""
        return self.own.invoke(ctx) if ctx.command is self.own else super().invoke(ctx)


@contextmanager
def reported(debug: bool = False) -> Iterator[None]:
    """Turns our errors, the system's and Ctrl-C into one line and an exit code; not under `debug`."""
    try:
        yield
    except ShoestringError as error:
        if debug:
            raise
        _leave(f"{type(error).__name__}: {error}", 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output, such as `head`, has what it wanted
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _leave(f"OutputError: {where}{error.strerror or error}", 1)
    except KeyboardInterrupt as stop:
        if debug:
            raise
        _leave(str(stop) or "Interrupted: nothing half-written was left behind", 130)


def _leave(line: str, code: int) -> None:
    print(" ".join(line.split("\n")), file=sys.stderr, flush=True)
    sys.exit(code)


def _short(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").replace("-", "").replace("e", "").isdigit()
