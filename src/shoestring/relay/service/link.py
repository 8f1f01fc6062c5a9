"""Packet sockets on Ethernet interfaces, and the kernel's news about links.

- A bridge is opened port by port and with ETH_P_ALL: the bridge itself swallows the PAE group, and a socket
  for one
  EtherType never sees what the bridge forwards. A kernel filter keeps everything but EAPOL from waking us.
- VLAN tags, which the kernel strips into auxiliary data, are put back where they were.
- A socket is bound again when its interface returns, which takes no privilege; only making one does.

Source: packet(7), netlink(7), rtnetlink(7), linux/if_packet.h, linux/filter.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from shoestring.relay import frames
from shoestring.relay.service import sockets
from shoestring.relay.vendors import ruijie_client

ETH_P_ALL = 3
SOL_PACKET, ADD_MEMBERSHIP, AUXDATA = 263, 1, 8
MULTICAST, PROMISCUOUS = 0, 1  # kinds of membership
ATTACH_FILTER = 26
VLAN_VALID, TPID_VALID = 0x10, 0x40
LARGEST = 2048  # bytes of a frame; longer ones are dropped
GET_ADDRESS, GET_MASK = 0x8915, 0x891B  # ioctls
SYSFS = "/sys/class/net"
AUXILIARY = struct.Struct("=I12xHH")  # status, VLAN tag and its EtherType of struct tpacket_auxdata

# (code, jump if true, jump if false, operand): EAPOL behind up to two tags, not sent by ourselves.
FILTER = (
    (0x20, 0, 0, 0xFFFFF004),  # packet type
    (0x15, 9, 0, 4),  # outgoing: drop
    (0x28, 0, 0, 12),
    (0x15, 6, 0, 0x888E),
    (0x15, 1, 0, 0x8100),
    (0x15, 0, 5, 0x88A8),
    (0x28, 0, 0, 16),
    (0x15, 2, 0, 0x888E),
    (0x28, 0, 0, 20),
    (0x15, 0, 1, 0x888E),
    (0x06, 0, 0, 0x40000),  # take it whole
    (0x06, 0, 0, 0),  # drop
)


def address_of(data: bytes) -> int:
    """Returns where CPython keeps the bytes; `array` would say it too, and load `collections`."""
    return id(data) + bytes.__basicsize__ - 1


class Port:
    """One packet socket, bound to one interface at a time; needs root or CAP_NET_RAW to be made."""

    def __init__(self) -> None:
        self.name = ""
        self.index = 0
        self.socket = sockets.Socket(sockets.AF_PACKET, sockets.SOCK_RAW, 0)
        self.socket.setblocking(False)
        code = b"".join(struct.pack("HBBI", *line) for line in FILTER)
        program = struct.pack("HP", len(FILTER), address_of(code))
        self.socket.setsockopt(sockets.SOL_SOCKET, ATTACH_FILTER, program)
        self.socket.setsockopt(SOL_PACKET, AUXDATA, 1)

    def bind(self, name: str, promiscuous: bool) -> None:
        """Listens on the interface: to both 802.1X groups and, if promiscuous, to every address.

        Raises:
            OSError: there is no such interface.
        """
        self.index = sockets.if_nametoindex(name)
        self.socket.bind((name, ETH_P_ALL))
        self.name = name
        wanted = [(MULTICAST, frames.PAE_GROUP), (MULTICAST, frames.RUIJIE_GROUP)]
        for kind, group in wanted + [(PROMISCUOUS, b"")] * promiscuous:
            request = struct.pack("iHH8s", self.index, kind, len(group), group)
            self.socket.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)

    def unbind(self) -> None:
        """Stops listening and forgets what has not been read; the socket can be bound again."""
        self.name, self.index = "", 0
        self.socket.bind(("lo", 0))  # protocol 0: nothing at all
        while self.receive() is not None:
            pass

    def receive(self) -> bytes | None:
        """Returns the next frame with its VLAN tag, or None when there is none for now."""
        try:
            raw, extra, flags, _ = self.socket.recvmsg(LARGEST, 64)
        except OSError:  # none, or the interface went away, which netlink tells too
            return None
        if flags & sockets.MSG_TRUNC:
            return b""
        for level, kind, data in extra:
            if level == SOL_PACKET and kind == AUXDATA and len(data) >= AUXILIARY.size:
                status, tci, tpid = AUXILIARY.unpack_from(data)
                if status & VLAN_VALID:
                    tag = struct.pack(">HH", tpid if status & TPID_VALID else 0x8100, tci)
                    raw = raw[:12] + tag + raw[12:]
        return raw

    def send(self, frame: bytes) -> bool:
        """Sends a whole frame; returns whether the kernel took it."""
        try:
            self.socket.send(frame)
        except OSError:  # the link is down or the queue full: as if lost on the wire
            return False
        return True


class News:
    """A netlink socket that becomes readable when an interface changes, appears or disappears."""

    def __init__(self) -> None:
        self.socket = sockets.Socket(sockets.AF_NETLINK, sockets.SOCK_RAW, 0)
        self.socket.setblocking(False)
        self.socket.bind((0, 1))  # RTMGRP_LINK

    def drain(self) -> None:
        """Forgets what was told: after it, look at the interfaces themselves."""
        for _ in range(1000):
            try:
                self.socket.recv(65536)
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # too much news is news too
                    return


def ports_of(name: str) -> list[str]:
    """Returns the ports of a bridge, or the interface itself where it is none."""
    try:
        return sorted(os.listdir(f"{SYSFS}/{name}/brif"))
    except OSError:
        return [name] if os.path.exists(f"{SYSFS}/{name}") else []


def index_of(name: str) -> int:
    """Returns the interface's number, which a re-created one does not share; 0 where there is none."""
    try:
        return sockets.if_nametoindex(name)
    except OSError:
        return 0


def mac_of(name: str) -> bytes | None:
    """Returns the interface's own address, or None."""
    text = read_text(f"{SYSFS}/{name}/address")
    try:
        return frames.mac_bytes(text)
    except frames.FrameError:
        return None


def is_up(name: str) -> bool:
    """Returns whether the interface is up and has a link."""
    return read_text(f"{SYSFS}/{name}/carrier") == "1"


def interfaces() -> list[str]:
    """Returns the names of all Ethernet interfaces."""
    return [name for name in sorted(os.listdir(SYSFS)) if read_text(f"{SYSFS}/{name}/type") == "1"]


def addresses_of(name: str) -> ruijie_client.Header:
    """Returns the interface's IPv4 address, mask and gateway, and the DNS server; zeros where unknown."""
    address, mask = (_ask(name, request) for request in (GET_ADDRESS, GET_MASK))
    return ruijie_client.Header(0, address, mask, _gateway(name), _dns())


def _ask(name: str, request: int) -> bytes:
    with sockets.Socket(sockets.AF_INET, sockets.SOCK_DGRAM) as asker:
        try:
            return fcntl.ioctl(asker, request, struct.pack("256s", name.encode()))[20:24]
        except OSError:
            return bytes(4)


def _gateway(name: str) -> bytes:
    for line in read_text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and fields[0] == name and fields[1] == "00000000":
            return struct.pack("=I", int(fields[2], 16))
    return bytes(4)


def _dns() -> bytes:
    for line in read_text("/etc/resolv.conf").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[0] == "nameserver":
            try:
                return sockets.inet_aton(fields[1])
            except OSError:
                continue
    return bytes(4)


def read_text(path: str) -> str:
    """Returns the text of a small file, empty where it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65536).strip()
    except OSError:
        return ""
