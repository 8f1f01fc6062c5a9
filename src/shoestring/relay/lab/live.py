"""The simulated switch on a real interface: a test bench for a PC, a relay or any other client."""

from __future__ import annotations

import select
import time

from shoestring.relay.lab.switch import Rules, Switch
from shoestring.relay.service import decode, link


def serve(name: str, rules: Rules, seconds: float | None, say) -> Switch:
    """Plays the switch on an interface until the time is over; returns it with its counts.

    Args:
        name: of the interface.
        rules: what the switch demands.
        seconds: how long; None is until interrupted.
        say: function that takes a line for every frame.

    Raises:
        OSError: no such interface, or no right to raw sockets.
    """
    port, poll = link.Port(), select.epoll()
    port.bind(name, promiscuous=False)
    poll.register(port.socket.fileno(), select.EPOLLIN)
    switch = Switch(rules, mac=link.mac_of(name) or bytes(6), seed=time.time_ns())
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    while (now := time.monotonic()) < end:
        until = min(switch.deadline if switch.deadline is not None else now + 3600, end)
        poll.poll(max(0.0, until - now))
        while raw := port.receive():
            say(f"< {decode.line(raw)}")
            _send(port, switch.feed(raw, time.monotonic())[0], say)
        if switch.deadline is not None and switch.deadline <= time.monotonic():
            _send(port, switch.tick(time.monotonic())[0], say)
    port.socket.close()
    return switch


def _send(port: link.Port, out: list[bytes], say) -> None:
    for frame in out:
        port.send(frame)
        say(f"> {decode.line(frame)}")
