"""`relay status`: what a running relay is doing; its last frames."""

from __future__ import annotations

import os
import sys


def options():
    """Returns the options, and what the operand is called."""
    from shoestring.relay.settings.options import Option
    from shoestring.relay.settings.settings import Process

    return {
        "socket": Option(str, "status socket", default=Process().socket, metavar="PATH"),
        "json": Option(bool, "as one JSON document"),
        "pcap": Option(str, "save the last frames, without secrets; - is stdout", metavar="FILE"),
    }, None


def main(options) -> None:
    """Does it."""
    from shoestring.relay.service import status

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
