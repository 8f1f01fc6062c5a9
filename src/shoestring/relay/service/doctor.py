"""Why does it not work: which port hears EAPOL from whom, is a bridge in the way, is another client running.

Every finding comes with what to do about it. Nothing is sent and nothing is changed.
"""

from __future__ import annotations

import os
import select
import time

from shoestring.relay import frames
from shoestring.relay.containers import namedtuple
from shoestring.relay.service import decode, link
from shoestring.relay.settings.settings import SettingError

OTHERS = (
    "wpa_supplicant", "hostapd", "mentohust", "minieap", "rjsupplicant", "xsupplicant", "eap_proxy",
    "goeap_proxy",
)  # fmt: skip
MOST = 64  # speakers that are told apart on one port


class Heard(namedtuple("Heard", "port mac count last")):
    """Frames of one address on one port: how many, and the last one in words."""

    __slots__ = ()


class Bridge(namedtuple("Bridge", "name ports mask")):
    """A bridge, its ports and its group_fwd_mask, whose bit 3 lets the PAE group pass."""

    __slots__ = ()


def listen(names: list[str], seconds: float) -> list[Heard]:
    """Listens on the interfaces for so long; returns who spoke where.

    Raises:
        OSError: raw sockets take root or CAP_NET_RAW.
    """
    ports, poll = {}, select.epoll()
    for name in names:
        port = link.Port()
        try:
            port.bind(name, promiscuous=True)
        except OSError:
            continue  # it is down or has just gone
        ports[port.socket.fileno()] = port
        poll.register(port.socket.fileno(), select.EPOLLIN)
    heard: dict[tuple[str, bytes], Heard] = {}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            _note(ports[number], heard)
    for port in ports.values():
        port.socket.close()
    return list(heard.values())


def _note(port: link.Port, heard: dict[tuple[str, bytes], Heard]) -> None:
    raw = port.receive()
    if not raw:
        return
    key = (port.name, raw[6:12])
    count = heard[key].count if key in heard else 0
    if count or len(heard) < MOST:
        heard[key] = Heard(port.name, frames.mac_text(raw[6:12]), count + 1, decode.line(raw))


def bridges() -> list[Bridge]:
    """Returns all bridges of this machine."""
    found = []
    for name in link.interfaces():
        try:
            with open(f"{link.SYSFS}/{name}/bridge/group_fwd_mask", encoding="ascii") as file:
                found.append(Bridge(name, link.ports_of(name), int(file.read(), 16)))
        except (OSError, ValueError):
            continue
    return found


def other_clients() -> list[tuple[int, str]]:
    """Returns (process, name) of programs that speak 802.1X themselves."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            name = link.read_text(f"/proc/{entry}/comm")
            if name.startswith(OTHERS):
                found.append((int(entry), name))
    return sorted(found)


def advice(
    wan: str | None, lan: str | None, heard: list[Heard], found: list[Bridge], others: list[tuple[int, str]]
) -> list[str]:
    """Returns what to do, a line each.

    Args:
        wan: interface towards the switch, or None.
        lan: interface or bridge towards the PC, or None.
        heard: from `listen`.
        found: from `bridges`.
        others: from `other_clients`.
    """
    lines = [
        f"{name} (process {pid}) also speaks 802.1X; stop it, or it answers for us" for pid, name in others
    ]
    ports = {bridge.name: bridge.ports for bridge in found}
    for bridge in found:
        if wan in bridge.ports:
            lines.append(f"{wan} is a port of {bridge.name}; take it out: ip link set {wan} nomaster")
        if wan == bridge.name:
            lines.append(
                f"{wan} is a bridge, which swallows the PAE group; give its port: {' '.join(bridge.ports)}"
            )
    quiet = {"--wan": wan and [wan], "--lan": lan and ports.get(lan, [lan])}
    for flag, names in quiet.items():
        if names and not any(one.port in names for one in heard):
            lines.append(f"nothing heard on {flag} {' '.join(names)}; {HINTS[flag]}")
    if not wan and not lan and not heard:
        lines.append(
            "no EAPOL on any interface; start a login on the PC meanwhile, or the network has a web login"
        )
    return lines or ["all looks well"]


HINTS = {
    "--wan": "is the cable in? A network with a web login speaks no 802.1X. Start a login and look again",
    "--lan": "start a login on the PC; a switch between PC and router may swallow the PAE group",
}


def check(wan: str | None, lan: str | None) -> None:
    """Looks whether there are such interfaces.

    Raises:
        SettingError: there are not.
    """
    for flag, name in (("--wan", wan), ("--lan", lan)):
        if name and not os.path.exists(f"{link.SYSFS}/{name}"):
            raise SettingError(
                f"{flag} {name}: no such interface; there are: {' '.join(link.interfaces()) or 'none'}"
            )


def examine(wan: str | None, lan: str | None, seconds: float) -> dict[str, object]:
    """Returns everything the doctor found, ready for JSON.

    Raises:
        OSError: raw sockets take root or CAP_NET_RAW.
    """
    found, others = bridges(), other_clients()
    names = [name for name in (wan, lan) if name]
    names = [port for name in names for port in link.ports_of(name)] or [
        name for name in link.interfaces() if name not in [bridge.name for bridge in found]
    ]
    heard = listen(names, seconds)
    return {
        "listened": names,
        "links": {name: link.is_up(name) for name in names},
        "heard": [one._asdict() for one in heard],
        "bridges": [bridge._asdict() for bridge in found],
        "other clients": others,
        "advice": advice(wan, lan, heard, found, others),
    }


def text(found: dict) -> str:
    """Returns what `examine` found, for people."""
    lines = [f"{name}: {'link' if up else 'no link'}" for name, up in found["links"].items()]
    lines += [
        f"{one['port']}: {one['count']} frames of {one['mac']}, last: {one['last']}" for one in found["heard"]
    ]
    for bridge in found["bridges"]:
        passes = "passes" if bridge["mask"] & 8 else "swallows"
        lines.append(
            f"bridge {bridge['name']} ({' '.join(bridge['ports']) or 'no port'}) {passes} the PAE group"
        )
    return "\n".join(lines + [f"-> {line}" for line in found["advice"]])
