"""What the user sees: progress on stderr, results on stdout, one line for an error.

- Every command takes `--json`, `-q/--quiet` and `--debug` from `ui.command` and gets a `UI` first.
- Results go to stdout (a table, or one JSON document under `--json`); everything else goes to stderr.
- Exit codes: 0 done, 1 our error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from shoestring._errors import OptionError
from shoestring._report import leave, reported

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
_WITH_TORCH = ("shoestring.lm.", "shoestring.nvae.", "shoestring.transformer.")
_LEAST_ROOM = 900 << 20


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
            import json

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
                _require_room(function.__module__)
                function(UI(as_json, quiet), **arguments)

        for option in (
            click.option("--debug", is_flag=True, help="Show the traceback of an error."),
            click.option("-q", "--quiet", is_flag=True, help="No progress bars, no remarks."),
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        ):
            run = option(run)
        made = click.command(name, cls=Command, **settings)(run)
        made.no_args_is_help = any(parameter.required for parameter in made.params)
        return made

    return decorate


def _require_room(module: str) -> None:
    """Refuses a limit of memory under which torch would end the process with no word of ours.

    Raises:
        OptionError: `ulimit -v` is below what importing torch takes (0.6 to 0.9 GB on Linux).
    """
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if module.startswith(_WITH_TORCH) and limit != resource.RLIM_INFINITY and limit < _LEAST_ROOM:
        raise OptionError(
            f"this shell allows a process {limit >> 20:,} MB of memory, torch alone takes up to "
            f"{_LEAST_ROOM >> 20:,} MB; type: ulimit -v unlimited"
        )


class Device(click.Choice):
    """What `--device` takes: auto, cpu, cuda or mps; and one of several GPUs, where no training wants all of them."""

    def __init__(self, numbered: bool = False) -> None:
        self.numbered = numbered
        super().__init__(["auto", "cpu", "cuda", *["cuda:N"] * numbered, "mps"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the device, or says which there are."""
        if self.numbered and str(value).startswith("cuda:"):
            if str(value)[5:].isdecimal():
                return value
            self.fail(f"{value!r}: give the GPU's number, such as cuda:1", param, ctx)
        return super().convert(value, param, ctx)


def device_option(numbered: bool = False) -> Callable:
    """Returns the option `--device`.

    Args:
        numbered: cuda:1 is one, too.
    """
    return click.option(
        "--device",
        type=Device(numbered),
        default="auto",
        show_default=True,
        help="auto is a GPU if there is one.",
    )


class OneLine(click.Command):
    """A command whose usage errors are one line and exit code 2; everything else that fails, one line and 1."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:  # fmt: skip
        """Runs the command, and exits unless `standalone_mode` is off."""
        if not standalone_mode:
            return super().main(args, prog_name, *rest, standalone_mode=False, **extra)
        given, program, code = list(sys.argv[1:] if args is None else args), prog_name or self.name or "", 0
        with reported():
            try:
                with self.make_context(program, given) as ctx:
                    self.invoke(ctx)
            except click.exceptions.Exit as done:
                code = done.exit_code
            except click.exceptions.NoArgsIsHelpError as error:
                leave_with_help(error)
            except click.ClickException as error:
                leave(_usage(error, program), error.exit_code)
            sys.stdout.flush()
        sys.exit(code)


class Command(OneLine):
    """What `command` makes."""


class Group(OneLine, click.Group):
    """A verb with subcommands, and perhaps one of its own: `shoestring count FILES`, `shoestring count plot FILE`.

    Whatever does not start with a subcommand's name goes to the verb's own command; a file of such a name is ./name.

    Args:
        own: what the verb does without a subcommand, or its name if it does nothing.
        subcommands: the others.
        help: what is said of a verb that does nothing by itself.
    """

    def __init__(
        self, own: click.Command | str, *subcommands: click.Command, help: str | None = None
    ) -> None:
        self.own = None if isinstance(own, str) else own
        name = own if isinstance(own, str) else own.name
        super().__init__(
            name, {str(each.name): each for each in subcommands}, help=help, no_args_is_help=True
        )
        if self.own is None:
            return
        width = max(len(str(each.name)) for each in subcommands)
        lines = [f"  {each.name:{width}}  {each.get_short_help_str(90)}" for each in subcommands]
        self.own.epilog = "\b\nSubcommands (each has --help; a file of that name is ./name):\n" + "\n".join(
            lines
        )

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parses for a subcommand if one is named, else for the verb's own command."""
        if self.own is None or (args and args[0] in self.commands):
            return super().make_context(info_name, args, *rest, **extra)
        named = bool(args) and (Path(args[0]).exists() or Path(args[0]).suffix != "")
        if args and not named and (near := did_you_mean(args[0], self.commands)):
            raise click.UsageError(f"no subcommand and no file {args[0]!r}; {near}")
        return self.own.make_context(info_name, args, *rest, **extra)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Finds a subcommand, or says which one was meant."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands) or f"choose one of {', '.join(self.commands)}"
            raise click.UsageError(f"no subcommand {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs what was parsed."""
        return ctx.command.invoke(ctx) if ctx.command is self.own else super().invoke(ctx)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the question for the nearest known word, or nothing.

    >>> did_you_mean("genrate", ["generate", "serve"])
    "did you mean 'generate'?"
    """
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def leave_with_help(error: click.exceptions.NoArgsIsHelpError) -> NoReturn:
    """Shows the help of a command that was given nothing."""
    print(error.format_message(), file=sys.stderr)
    sys.exit(error.exit_code)


def _usage(error: click.ClickException, program: str) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else program
    line = " ".join(error.format_message().split())
    return f"{path}: {line[:1].lower()}{line[1:].removesuffix('.')}; see {path} --help"


def _short(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " to ".join(map(_short, value)) if len(value) == 2 else ", ".join(map(_short, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").replace("-", "").replace("e", "").isdigit()
