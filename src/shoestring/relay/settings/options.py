"""Settings by name: one table serves the command line, its help and the settings file.

The standard library's argparse and the `re` it loads would take a tenth of all the memory that the relay may
have.
"""

from __future__ import annotations

from types import SimpleNamespace

from shoestring.relay.containers import namedtuple

WORDS = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}
METAVARS = {str: "TEXT", int: "N", float: "S"}


class UsageError(ValueError):
    """The command line cannot be understood; one line for the user."""


class Help(Exception):
    """The user has asked for help; its text is the argument."""


class Option(
    namedtuple(
        "Option",
        "kind help choices default metavar values many limits",
        defaults=(None, None, None, 1, False, None),
    )
):
    """One setting.

    Args:
        kind: `str`, `int`, `float` or `bool`; a flag of kind `bool` takes no value.
        help: one line.
        choices: what is allowed, or None.
        default: where it is not given.
        metavar: what its value is called in the help.
        values: how many it takes, each time it is given.
        many: it may be given again and again, and makes a list.
        limits: the least and the greatest number, or None.
    """

    __slots__ = ()

    @property
    def shown(self) -> str:
        """Its value in the help."""
        if self.kind is bool:
            return ""
        return self.metavar or ("|".join(self.choices) if self.choices else METAVARS[self.kind])


COMMON = {
    "help": Option(bool, "show this and stop"),
    "json": Option(bool, "print the result as JSON"),
    "quiet": Option(bool, "no remarks (-q)"),
    "debug": Option(bool, "show the traceback of an error"),
}


def convert(name: str, option: Option, text: str) -> object:
    """Returns a setting's value.

    Raises:
        UsageError: the text is not one.
    """
    if option.kind is bool:
        if text.lower() not in WORDS:
            raise UsageError(f"{name} {text}; allowed: yes, no")
        return WORDS[text.lower()]
    if option.choices and text not in option.choices:
        raise UsageError(f"{name} {text}; allowed: {', '.join(option.choices)}")
    try:
        value = option.kind(text)
    except ValueError:
        value = float("nan")
    if option.kind is not str and not abs(value) < float("inf"):  # nor is nan
        raise UsageError(f"{name} {text}; a number is needed")
    low, high = option.limits or (value, value)
    if not low <= value <= high:
        raise UsageError(f"{name} {text}; allowed: {low:g} to {high:g}")
    return value


def read(
    options: dict[str, Option], arguments: list[str], about: str, operand: str | None = None
) -> SimpleNamespace:
    """Returns the values of a command line; None or the default where a flag is not given.

    Args:
        options: by name, with `_` where the flag has `-`.
        arguments: without the command's own name.
        about: first lines of the help.
        operand: what the one argument without a flag is called, where there must be one.

    Raises:
        UsageError: a flag is unknown, or a value missing or not allowed.
        Help: the user asked for it.
    """
    options = {**options, **{name: option for name, option in COMMON.items() if name not in options}}
    found: dict[str, object] = {
        name: [] if option.many else False if option.kind is bool else option.default
        for name, option in options.items()
    }
    rest = list(reversed(arguments))
    operands = []
    while rest:
        word = rest.pop()
        if not word.startswith("-") or word == "-":
            operands.append(word)
            continue
        _take(word, rest, options, found)
    if found["help"]:
        raise Help(explain(options, about, operand))
    if len(operands) != (operand is not None):
        raise UsageError(
            f"expected {f'one {operand}' if operand else 'flags only'}, got {' '.join(operands) or 'none'}"
        )
    return SimpleNamespace(**found, operand=operands[0] if operands else None)


def _take(word: str, rest: list[str], options: dict[str, Option], found: dict) -> None:
    """Puts one flag's value into `found`."""
    flag, equals, value = word.partition("=")
    name = {"-h": "help", "-q": "quiet"}.get(flag, flag[2:].replace("-", "_"))
    if name not in options or (not flag.startswith("--") and len(flag) != 2):
        raise UsageError(
            f"no flag {flag}; allowed: {' '.join('--' + each.replace('_', '-') for each in options)}"
        )
    option = options[name]
    if option.kind is bool:
        if equals:
            raise UsageError(f"{flag} takes no value")
        found[name] = True
        return
    given = [value] if equals else []
    while len(given) < option.values and rest and not rest[-1].startswith("--"):
        given.append(rest.pop())
    if len(given) != option.values:
        raise UsageError(f"{flag} needs {option.shown}")
    converted = [convert(flag, option, text) for text in given]
    result = converted[0] if option.values == 1 else converted
    if option.many:
        found[name].append(result)
    else:
        found[name] = result


def explain(options: dict[str, Option], about: str, operand: str | None) -> str:
    """Returns the text of a command's help."""
    lines = [about, ""]
    if operand:
        lines += [f"  {operand}", ""]
    for name, option in options.items():
        head = f"  --{name.replace('_', '-')} {option.shown}".rstrip()
        default = "" if option.default in (None, "") else f" ({option.default})"
        lines.append(
            f"{head:32} {option.help}{default}"
            if len(head) < 32
            else f"{head}\n{'':33}{option.help}{default}"
        )
    return "\n".join(lines)
