"""`relay run`: relay the login, then keep the session alive."""

from __future__ import annotations


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.config import PAIR_OPTIONS, PROCESS_OPTIONS
    from shoestring.relay.settings.options import Option

    return {
        "wan": Option(str, "interface towards the switch; may be repeated", metavar="IF", many=True),
        "lan": Option(str, "interface or bridge towards the PC, one per --wan", metavar="IF", many=True),
        "config": Option(str, "settings file; flags win over it", metavar="FILE"),
        "on": Option(
            str,
            "run CMD on success, failure, offline, doubt or account",
            metavar="EVENT CMD",
            values=2,
            many=True,
        ),
        **PAIR_OPTIONS,
        **PROCESS_OPTIONS,
        "json": Option(bool, "print the last status as JSON when it ends"),
        "quiet": Option(bool, "the same as --level warning (-q)"),
    }, None


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service.daemon import Daemon
    from shoestring.relay.settings.apart import apart
    from shoestring.relay.settings.config import OPTIONS, parse, plan
    from shoestring.relay.settings.settings import EVENTS, SettingError

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
    daemon = Daemon(*plan(options.config, flags, pairs, apart(parse)))
    daemon.run()
    if options.json:
        print(daemon.status().decode())
