"""`relay doctor`: find out why it does not work."""

from __future__ import annotations

import sys


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.options import Option

    return {
        "wan": Option(str, "interface towards the switch", metavar="IF"),
        "lan": Option(str, "interface or bridge towards the PC", metavar="IF"),
        "seconds": Option(float, "how long to listen", default=10.0, limits=(0.1, 86400)),
    }, None


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service import doctor

    doctor.check(options.wan, options.lan)
    if not options.quiet:
        print(f"listening for {options.seconds:g} s; start a login on the PC", file=sys.stderr)
    found = doctor.examine(options.wan, options.lan, options.seconds)
    if options.json:
        import json

        print(json.dumps(found, ensure_ascii=False))
        return
    print(doctor.text(found))
