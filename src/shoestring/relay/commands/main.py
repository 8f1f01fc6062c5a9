"""`relay run|status|decode|doctor|simulate`: the command line of `shoestring relay` and of relay.pyz.

A verb's parser and modules are loaded only when it is typed: what `run` does not need takes no memory on a
router.
"""

from __future__ import annotations

import os
import sys

VERBS = {
    "run": "relay the login, then keep the session alive",
    "status": "what a running relay is doing; its last frames",
    "decode": "a capture file in words",
    "doctor": "find out why it does not work",
    "simulate": "a month on a simulated clock, or a switch on an interface",
}


def main(arguments: list[str] | None = None, prog_name: str = "relay") -> None:
    """Runs `relay VERB ...` and exits: 0 done, 1 our error, 2 wrong usage, 130 interrupted."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        print(overview(prog_name))
    elif verb == "--version":
        from shoestring import __version__

        print(f"relay {__version__}")
    elif verb in VERBS:
        _run_verb(verb, rest, f"{prog_name} {verb}")
    else:
        print(f"{prog_name}: no command {verb!r}; allowed: {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)


class Command:
    """What `shoestring`'s table of verbs expects: something with a `main`."""

    main = staticmethod(main)


relay = Command()


def overview(prog_name: str) -> str:
    """Returns the text of `relay --help`."""
    verbs = "\n".join(f"  {verb:9} {line}" for verb, line in VERBS.items())
    return (
        f"Usage: {prog_name} COMMAND [OPTIONS]\n\n"
        "  802.1X login through a router that then keeps the session alive.\n"
        "  Use it only where your network's rules allow it.\n\n"
        f"Commands:\n{verbs}\n\nEvery command has --help, --json, -q/--quiet and --debug."
    )


def _run_verb(verb: str, rest: list[str], prog: str) -> None:
    """Turns what can go wrong into one line and an exit code."""
    from importlib import import_module

    from shoestring.relay.settings.options import Help, UsageError, read

    try:
        command = import_module(f"shoestring.relay.commands.{verb}")
        options, operand = command.options()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("shoestring.relay."):
            raise
        print(
            f"{prog}: not in this one file; type: pip install shoestring && shoestring relay {verb}",
            file=sys.stderr,
        )
        sys.exit(1)
    usage = f"Usage: {prog} [OPTIONS]{f' {operand}' if operand else ''}"
    try:
        values = read(options, rest, f"{usage}\n\n  {VERBS[verb]}", operand)
    except Help as text:
        print(text)
        return
    except UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        command.main(values)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has what it wanted
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, KeyError) as error:
        if values.debug:
            raise
        print(f"{type(error).__name__}: {_explain(error)}", file=sys.stderr)
        sys.exit(1)


def _explain(error: Exception) -> str:
    if isinstance(error, PermissionError) and not error.filename:
        return "raw sockets take root or CAP_NET_RAW; type: sudo " + " ".join(sys.argv[:3])
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return str(error.args[0] if isinstance(error, KeyError) else error)
