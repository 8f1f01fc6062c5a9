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
        f"Commands:\n{verbs}\n\nEvery command has --help."
    )


def _run_verb(verb: str, rest: list[str], prog: str) -> None:
    """Turns what can go wrong into one line and an exit code."""
    from shoestring.relay.options import Help, UsageError, read

    options, operand = globals()[f"_{verb}_options"]()
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
        globals()[f"_{verb}"](values)
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


# Each verb: its options and what its operand is called, then what it does.


def _run_options():
    from shoestring.relay.config import PAIR_OPTIONS, PROCESS_OPTIONS
    from shoestring.relay.options import Option

    return {
        "wan": Option(str, "interface towards the switch; may be repeated", metavar="IF", many=True),
        "lan": Option(str, "interface or bridge towards the PC, one per --wan", metavar="IF", many=True),
        "config": Option(str, "settings file; flags win over it", metavar="FILE"),
        "on": Option(str, "run CMD on success, failure or offline", metavar="EVENT CMD", values=2, many=True),
        **PAIR_OPTIONS,
        **PROCESS_OPTIONS,
        "quiet": Option(bool, "the same as --level warning (-q)"),
    }, None


def _run(options) -> None:
    from shoestring.relay.config import OPTIONS, plan
    from shoestring.relay.daemon import Daemon
    from shoestring.relay.settings import EVENTS, SettingError

    if len(options.wan) != len(options.lan):
        raise SettingError(f"{len(options.wan)} --wan, {len(options.lan)} --lan; give them in pairs")
    flags = {
        name: value for name, value in vars(options).items() if name in OPTIONS and value not in (None, False)
    }
    del flags["wan"], flags["lan"]
    for event, command in options.on:
        if event not in EVENTS:
            raise SettingError(f"--on {event}; allowed: {', '.join(EVENTS)}")
        flags[f"on_{event}"] = command
    if options.quiet or options.debug:
        flags["level"] = "debug" if options.debug else "warning"
    pairs = [(wan, options.lan[at]) for at, wan in enumerate(options.wan)]
    Daemon(*plan(options.config, flags, pairs)).run()


def _status_options():
    from shoestring.relay.options import Option
    from shoestring.relay.settings import Process

    return {
        "socket": Option(str, "status socket", default=Process().socket, metavar="PATH"),
        "json": Option(bool, "as one JSON document"),
        "pcap": Option(str, "save the last frames, without secrets; - is stdout", metavar="FILE"),
    }, None


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


def _decode_options():
    from shoestring.relay.options import Option

    return {"json": Option(bool, "one JSON document per frame")}, "FILE.pcap|-"


def _decode(options) -> None:
    from shoestring.relay import decode, pcap

    if options.operand == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(options.operand, "rb") as file:
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


def _doctor_options():
    from shoestring.relay.options import Option

    return {
        "wan": Option(str, "interface towards the switch", metavar="IF"),
        "lan": Option(str, "interface or bridge towards the PC", metavar="IF"),
        "seconds": Option(float, "how long to listen", default=10.0),
        "json": Option(bool, "as one JSON document"),
    }, None


def _doctor(options) -> None:
    from shoestring.relay import doctor

    print(f"listening for {options.seconds:g} s; start a login on the PC", file=sys.stderr)
    found = doctor.examine(options.wan, options.lan, options.seconds)
    if options.json:
        import json

        print(json.dumps(found, ensure_ascii=False))
        return
    print(doctor.text(found))


def _simulate_options():
    from shoestring.relay.options import Option
    from shoestring.relay.switch import DIALECTS, LAYOUTS

    return {
        "interface": Option(str, "be a switch on this interface instead of simulating a month", metavar="IF"),
        "dialect": Option(str, "of the switch", DIALECTS, "ruijie"),
        "layout": Option(str, "of Ruijie's Success", LAYOUTS, "long"),
        "days": Option(float, "to simulate", default=30.0, metavar="N"),
        "seconds": Option(float, "with --interface: how long; else until Ctrl-C"),
        "reauth": Option(float, "seconds between re-authentications; 0 for none", default=0.0),
        "steps": Option(int, "logins that open the port", default=1),
        "user": Option(str, "user name", default="student"),
        "password_file": Option(str, "file of mode 0600; the password is 'secret' without", metavar="FILE"),
        "seed": Option(int, "of everything random", default=0),
        "json": Option(bool, "as one JSON document"),
    }, None


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
