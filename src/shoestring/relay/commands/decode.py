"""`relay decode`: a capture file in words."""

from __future__ import annotations

import sys


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.options import Option

    return {"json": Option(bool, "one JSON document per frame")}, "FILE.pcap|-"


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service import decode, pcap

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
