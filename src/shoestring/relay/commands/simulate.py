"""`relay simulate`: a month on a simulated clock, or a switch on an interface."""

from __future__ import annotations

import sys

LAYOUT, DAYS = "minieap-58", 30.0


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.lab.layouts import LAYOUTS
    from shoestring.relay.lab.switch import DIALECTS
    from shoestring.relay.settings.options import Option

    return {
        "interface": Option(str, "be a switch on this interface instead of simulating a month", metavar="IF"),
        "dialect": Option(str, "of the switch", DIALECTS, "ruijie"),
        "layout": Option(str, "of Ruijie's Success, by the frame that was seen (minieap-58)", tuple(LAYOUTS)),
        "days": Option(float, "to simulate (30)", metavar="N", limits=(0.01, 36500)),
        "seconds": Option(float, "with --interface: how long; else until Ctrl-C", limits=(0.1, 1e9)),
        "reauth": Option(
            float, "seconds between re-authentications; 0 for none", default=0.0, limits=(0, 1e9)
        ),
        "steps": Option(int, "logins that open the port", default=1, limits=(1, 9)),
        "user": Option(str, "user name", default="student"),
        "password_file": Option(str, "file of mode 0600; the password is 'secret' without", metavar="FILE"),
        "seed": Option(int, "of everything random (0)"),
    }, None


def main(options) -> None:
    """Does it."""
    import json

    from shoestring.relay.lab.switch import Rules
    from shoestring.relay.settings.config import password_of
    from shoestring.relay.settings.settings import Settings

    _refuse_idle(options)
    password = (password_of(options.password_file) if options.password_file else None) or b"secret"
    rules = Rules(dialect=options.dialect, layout=options.layout or LAYOUT, reauth=options.reauth, steps=options.steps,
                  user=options.user.encode(), password=password)  # fmt: skip
    if options.interface:
        from shoestring.relay.lab.live import serve

        say = (lambda _: None) if options.quiet else lambda line: print(line, file=sys.stderr)
        switch = serve(options.interface, rules, options.seconds, say)
        result = {**switch.counts, "online": switch.online, "faults": switch.faults}
    else:
        from shoestring.relay.lab.simulate import soak

        settings = Settings(
            successes=options.steps,
            password=password if options.reauth or options.steps > 1 else None,
            identity=rules.user if options.steps > 1 else None,
        )
        result = soak(options.days or DAYS, rules, settings, options.seed or 0)._asdict()
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print("\n".join(f"{name.replace('_', ' '):12} {value}" for name, value in result.items()))
    if not options.interface and not result["online"]:
        print(f"the session was lost {result['lost']} times, or does not stand", file=sys.stderr)
        sys.exit(1)


def _refuse_idle(options) -> None:
    """Refuses what would have no effect.

    Raises:
        SettingError: an option is given where nothing reads it.
    """
    from shoestring.relay.settings.settings import SettingError

    live = options.interface is not None
    if options.seconds is not None and not live:
        raise SettingError("--seconds is for --interface IF; a simulation takes --days N")
    for name in ("days", "seed"):
        if live and getattr(options, name) is not None:
            raise SettingError(
                f"--{name} is for a simulation; --interface {options.interface} takes --seconds S"
            )
    if options.layout is not None and options.dialect != "ruijie":
        raise SettingError(f"--layout is of Ruijie's Success; --dialect {options.dialect} has none")
