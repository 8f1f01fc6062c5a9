"""`relay run | status | decode | doctor | simulate`: the command line, the same in `shoestring relay` and relay.pyz.

A verb's parser and modules are loaded only when it is typed: what `run` does not need takes no memory on a router.
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
        f"Commands:\n{verbs}\n\nEvery command has --help."
    )


def _run_verb(verb: str, rest: list[str], prog: str) -> None:
    """Turns what can go wrong into one line and an exit code."""
    options = _parser(verb, prog).parse_args(rest)
    try:
        globals()[f"_{verb}"](options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has what it wanted
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, KeyError) as error:
        if options.debug:
            raise
        print(f"{type(error).__name__}: {_explain(error)}", file=sys.stderr)
        sys.exit(1)


def _explain(error: Exception) -> str:
    if isinstance(error, PermissionError) and not error.filename:
        return "raw sockets take root or CAP_NET_RAW; type: sudo " + " ".join(sys.argv[:3])
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return str(error.args[0] if isinstance(error, KeyError) else error)


def _parser(verb: str, prog: str):
    import argparse

    # A fixed width, because asking for the terminal's imports half of the standard library.
    wide = lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110)  # noqa: E731
    parser = argparse.ArgumentParser(prog, description=VERBS[verb], formatter_class=wide)
    globals()[f"_{verb}_options"](parser.add_argument)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _run_options(add) -> None:
    from shoestring.relay.config import PAIR_OPTIONS, PROCESS_OPTIONS
    from shoestring.relay.settings import EVENTS

    add(
        "--wan",
        action="append",
        default=[],
        metavar="IF",
        help="interface towards the switch; may be repeated",
    )
    add(
        "--lan",
        action="append",
        default=[],
        metavar="IF",
        help="interface or bridge towards the PC, one per --wan",
    )
    add("--config", metavar="FILE", help="settings file; flags win over it")
    add(
        "--on",
        action="append",
        nargs=2,
        default=[],
        metavar=("EVENT", "CMD"),
        help=f"run CMD on {', '.join(EVENTS)}",
    )
    add("-q", "--quiet", action="store_true", help="the same as --level warning")
    for name, option in {**PAIR_OPTIONS, **PROCESS_OPTIONS}.items():
        flag = "--" + name.replace("_", "-")
        if option.kind is bool:
            add(flag, action="store_true", default=None, help=option.help)
        else:
            add(flag, type=option.kind, choices=option.choices, help=option.help, metavar=_metavar(option))


def _metavar(option) -> str:
    return "|".join(option.choices) if option.choices else {str: "TEXT", int: "N", float: "S"}[option.kind]


def _run(options) -> None:
    from shoestring.relay.config import OPTIONS, plan
    from shoestring.relay.daemon import Daemon
    from shoestring.relay.settings import EVENTS, SettingError

    if len(options.wan) != len(options.lan):
        raise SettingError(f"{len(options.wan)} --wan, {len(options.lan)} --lan; give them in pairs")
    flags = {name: value for name, value in vars(options).items() if name in OPTIONS and value is not None}
    del flags["wan"], flags["lan"]
    for event, command in options.on:
        if event not in EVENTS:
            raise SettingError(f"--on {event}; allowed: {', '.join(EVENTS)}")
        flags[f"on_{event}"] = command
    if options.quiet or options.debug:
        flags["level"] = "debug" if options.debug else "warning"
    pairs = [(wan, options.lan[at]) for at, wan in enumerate(options.wan)]
    Daemon(*plan(options.config, flags, pairs)).run()


def _socket_option(add) -> None:
    from shoestring.relay.settings import Process

    add("--socket", default=Process().socket, help="status socket (%(default)s)")


def _status_options(add) -> None:
    _socket_option(add)
    add("--json", action="store_true", help="as one JSON document")
    add("--pcap", metavar="FILE", help="save the last frames, without secrets; - is stdout")


def _status(options) -> None:
    from shoestring.relay import status

    if options.pcap:
        _save(status.ask(options.socket, "frames"), options.pcap)
        return
    answer = status.ask(options.socket, "status")
    print(answer.decode() if options.json else status.text(status.describe(answer)))


def _save(data: bytes, path: str) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    os.replace(beside, path)


def _decode_options(add) -> None:
    add("file", metavar="FILE.pcap|-", help="capture file; - is stdin")
    add("--json", action="store_true", help="one JSON document per frame")


def _decode(options) -> None:
    from shoestring.relay import decode, pcap

    if options.file == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(options.file, "rb") as file:
            data = file.read()
    if options.json:
        import json

        for when, raw in pcap.read(data):
            print(
                json.dumps({"time": when, "bytes": len(raw), "frame": decode.line(raw)}, ensure_ascii=False)
            )
        return
    for line in decode.lines(pcap.read(data)):
        print(line)


def _doctor_options(add) -> None:
    add("--wan", metavar="IF", help="interface towards the switch")
    add("--lan", metavar="IF", help="interface or bridge towards the PC")
    add("--seconds", type=float, default=10.0, metavar="S", help="how long to listen (%(default)g)")
    add("--json", action="store_true", help="as one JSON document")


def _doctor(options) -> None:
    from shoestring.relay import doctor

    print(f"listening for {options.seconds:g} s; start a login on the PC", file=sys.stderr)
    found = doctor.examine(options.wan, options.lan, options.seconds)
    if options.json:
        import json

        print(json.dumps(found, ensure_ascii=False))
        return
    print(doctor.text(found))


def _simulate_options(add) -> None:
    from shoestring.relay.switch import DIALECTS, LAYOUTS, Rules

    usual = Rules()
    add("--interface", metavar="IF", help="be a switch on this interface instead of simulating a month")
    add("--dialect", choices=DIALECTS, default=usual.dialect, help="of the switch (%(default)s)")
    add("--layout", choices=LAYOUTS, default=usual.layout, help="of Ruijie's Success (%(default)s)")
    add("--days", type=float, default=30.0, metavar="N", help="to simulate (%(default)g)")
    add("--seconds", type=float, metavar="S", help="with --interface: how long; else until Ctrl-C")
    add("--reauth", type=float, default=0.0, metavar="S", help="seconds between re-authentications (none)")
    add("--steps", type=int, default=1, metavar="N", help="logins that open the port (%(default)s)")
    add("--user", default="student", help="user name (%(default)s)")
    add("--password-file", metavar="FILE", help="file of mode 0600; the password is 'secret' without")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (%(default)s)")
    add("--json", action="store_true", help="as one JSON document")


def _simulate(options) -> None:
    import json

    from shoestring.relay.config import password_of
    from shoestring.relay.settings import Settings
    from shoestring.relay.switch import Rules

    password = (password_of(options.password_file) if options.password_file else None) or b"secret"
    rules = Rules(dialect=options.dialect, layout=options.layout, reauth=options.reauth, steps=options.steps,
                  user=options.user.encode(), password=password)  # fmt: skip
    if options.interface:
        from shoestring.relay.live import serve

        switch = serve(options.interface, rules, options.seconds, lambda line: print(line, file=sys.stderr))
        result = {**switch.counts, "online": switch.online, "faults": switch.faults}
    else:
        from shoestring.relay.simulate import soak

        settings = Settings(successes=options.steps, password=password if options.reauth else None)
        result = soak(options.days, rules, settings, options.seed)._asdict()
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print("\n".join(f"{name.replace('_', ' '):12} {value}" for name, value in result.items()))
