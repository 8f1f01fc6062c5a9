"""`relay status`: what a running relay is doing; its last frames."""

from __future__ import annotations

import sys


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.options import Option
    from shoestring.relay.settings.settings import Process

    return {
        "socket": Option(str, "status socket", default=Process().socket, metavar="PATH"),
        "pcap": Option(str, "save the last frames, without secrets; - is stdout", metavar="FILE"),
    }, None


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service import status

    if options.pcap:
        _refuse_two(options)
        data = status.ask(options.socket, "frames")
        _save(data, options.pcap)
        if options.json:
            import json

            print(json.dumps({"output": options.pcap, "bytes": len(data)}, ensure_ascii=False))
        return
    answer = status.ask(options.socket, "status")
    print(answer.decode() if options.json else status.text(status.describe(answer)))


def _refuse_two(options) -> None:
    """Refuses to write a capture and JSON into one stream.

    Raises:
        SettingError: both would go to stdout.
    """
    from shoestring.relay.settings.settings import SettingError

    if options.json and options.pcap == "-":
        raise SettingError("--pcap - writes the capture to stdout, where --json writes; give --pcap FILE")


def _save(data: bytes, path: str) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    from shoestring.relay.service.files import write_private

    write_private(path, data)
