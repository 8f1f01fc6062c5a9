"""`relay decode`: a capture file in words, or as fields."""

from __future__ import annotations

import sys


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.options import Option

    return {"json": Option(bool, "a JSON document of fields for each frame, a line each")}, "FILE.pcap|-"


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service import capture, decode

    if options.operand == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(options.operand, "rb") as file:
            data = file.read()
    if options.json:
        import json

        for when, raw, size in capture.read(data):
            print(json.dumps({"time": when, **decode.describe(raw, size)}, ensure_ascii=False))
        return
    for line in decode.lines(capture.read(data)):
        print(line)
