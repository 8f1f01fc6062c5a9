"""Few-shot prompts as data: how a shot is written, what joins shots, where an answer ends.

A template file is TOML, one table a template, as `templates.toml` beside this module:

    [capital]
    shot = "{input}的首都是{output}"
    shots = [["美国", "华盛顿"], ["法国", "巴黎"]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shoestring._errors import InputError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUILT_IN = Path(__file__).with_name("templates.toml")
Shot = tuple[str, str]


@dataclass(frozen=True)
class Template:
    """How shots become a prompt.

    Args:
        name: what the command line calls it.
        shot: has {input} and then {output}; its part before {output} is the query's.
        about: one line for people.
        join: between shots.
        stop: strings that end an answer.
        max_tokens: of an answer.
        channel: has {output} and then {input}; for scoring the input given each answer.
        shots: examples of (input, output).

    >>> Template("sum", "{input}={output}").prompt("1+2", [("1+1", "2")])
    '1+1=2\\n1+2='
    """

    name: str
    shot: str
    about: str = ""
    join: str = "\n"
    stop: tuple[str, ...] = ("\n",)
    max_tokens: int = 16
    channel: str = ""
    shots: tuple[Shot, ...] = ()

    def __post_init__(self) -> None:
        _require_order(self.name, "shot", self.shot, "{input}", "{output}")
        if self.channel:
            _require_order(self.name, "channel", self.channel, "{output}", "{input}")
        if self.max_tokens < 1:
            raise OptionError(f"template {self.name}: max_tokens {self.max_tokens} must be 1 or more")

    def prefix(self, shots: Sequence[Shot] | None = None) -> str:
        """Returns the text of the shots, up to where a query begins."""
        return "".join(
            _filled(self.shot, shot) + self.join for shot in (self.shots if shots is None else shots)
        )

    def prompt(self, query: str, shots: Sequence[Shot] | None = None) -> str:
        """Returns the prompt of a query."""
        return self.prefix(shots) + _filled(self.shot.partition("{output}")[0], (query, ""))

    def channel_prompt(self, candidate: str, shots: Sequence[Shot] | None = None) -> str:
        """Returns the text before the input when a candidate is its cause.

        Raises:
            OptionError: the template has no `channel`.
        """
        if not self.channel:
            raise OptionError(f"template {self.name}: has no channel pattern; choose another score")
        shown = self.shots if shots is None else shots
        before = "".join(_filled(self.channel, shot) + self.join for shot in shown)
        return before + _filled(self.channel.partition("{input}")[0], ("", candidate))

    def fitted(
        self, queries: Sequence[str], shots: Sequence[Shot], fits: Callable[[str], bool]
    ) -> list[Shot]:
        """Returns the last shots with which the longest query fits.

        Raises:
            InputError: it does not fit without any.
        """
        longest = max(queries, key=len, default="")
        for first in range(len(shots) + 1):
            if fits(self.prompt(longest, shots[first:])):
                return list(shots[first:])
        raise InputError(
            f"a query of {len(longest):,} characters does not fit even without shots; shorten it"
        )


def built_in() -> dict[str, Template]:
    """Returns the templates that come along, by name."""
    return read(BUILT_IN)


def named(name: str) -> Template:
    """Returns a built-in template, or the one of a file: `FILE.toml` or `FILE.toml:NAME`.

    Raises:
        OptionError: there is none of this name.
        InputError: the file cannot be used.
    """
    path, _, inner = name.partition(".toml")
    if ".toml" not in name:
        found = built_in()
        if name not in found:
            raise OptionError(
                f"--template {name}: unknown; choose one of {', '.join(found)}, or give a .toml file"
            )
        return found[name]
    templates = read(Path(f"{path}.toml"))
    inner = inner.removeprefix(":")
    if not inner and len(templates) == 1:
        return next(iter(templates.values()))
    if inner not in templates:
        raise OptionError(f"--template {name}: say which one, such as {path}.toml:{next(iter(templates))}")
    return templates[inner]


def read(path: Path) -> dict[str, Template]:
    """Returns the templates of a TOML file."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    return {name: _template(path, name, table) for name, table in tables.items()}


def _template(path: Path, name: str, table: Mapping[str, Any]) -> Template:
    known = {each.name for each in fields(Template)} - {"name"}
    if not isinstance(table, dict) or "shot" not in table or table.keys() - known:
        wrong = ", ".join(sorted(table.keys() - known)) if isinstance(table, dict) else "no table"
        raise InputError(f"{path}: [{name}] needs shot and may have {', '.join(sorted(known))}; has {wrong}")
    values = dict(table)
    try:
        values["shots"] = tuple((str(left), str(right)) for left, right in table.get("shots", ()))
    except (TypeError, ValueError) as error:
        raise InputError(f'{path}: [{name}] shots are pairs such as ["input", "output"]') from error
    values["stop"] = tuple(table.get("stop", ("\n",)))
    return Template(name, **values)


def _filled(pattern: str, shot: Shot) -> str:
    before, _, after = pattern.partition("{input}")
    left, right = (part.replace("{output}", shot[1]) for part in (before, after))
    return left + (shot[0] if "{input}" in pattern else "") + right


def _require_order(name: str, field: str, pattern: str, first: str, second: str) -> None:
    if (
        pattern.count(first) != 1
        or pattern.count(second) != 1
        or pattern.index(first) > pattern.index(second)
    ):
        raise OptionError(
            f"template {name}: {field} must have {first} and after it {second}, once each: {pattern!r}"
        )
