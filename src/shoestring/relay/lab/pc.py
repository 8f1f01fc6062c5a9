"""A simulated PC with the vendor's client: logs in, answers, echoes, says goodbye."""

from __future__ import annotations

import random

from shoestring.relay import frames
from shoestring.relay.frames import (
    FAILURE,
    IDENTITY,
    MD5,
    ONLINE,
    PAE_GROUP,
    REQUEST,
    RESPONSE,
    SUCCESS,
    Eap,
    Frame,
)
from shoestring.relay.vendors import dialects, h3c, ruijie, ruijie_client
from shoestring.relay.vendors.digest import md5_value

RETRY = 5.0  # seconds after which a Start without an answer is sent again
PAUSE = 30.0  # seconds after a Failure
ADDRESS = bytes([192, 168, 1, 2])


class Pc:
    """A client that wants to be on line while it is switched on.

    Args:
        dialect: `ruijie` adds the vendor's trailer and echoes, `h3c` address and version; else plain EAP-MD5.
        mac: its address.
        user: in bytes.
        password: in bytes.
        interval: seconds between its echoes.
        first_number: of its echo sequence.
        group: where its Starts go.
        seed: of its small delays.
    """

    def __init__(
        self,
        dialect: str = "ruijie",
        mac: bytes = bytes.fromhex("021122334455"),
        *,
        user: bytes = b"student",
        password: bytes = b"secret",
        interval: float = 20.0,
        first_number: int = 0x2ADB,
        group: bytes = PAE_GROUP,
        seed: int = 0,
    ) -> None:
        self.dialect = dialect
        self.mac, self.user, self.password, self.interval = mac, user, password, interval
        self.group = group
        self.on = False
        self.online = False
        self.number = first_number
        self.key: int | None = None
        self.server: bytes | None = None
        self.now = 0.0
        self._jitter = random.Random(seed)
        self._timers: dict[str, float] = {}
        self._out: list[bytes] = []

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        return min(self._timers.values()) if self._timers else None

    def switch_on(self, now: float) -> tuple[list[bytes], float | None]:
        """Begins a login."""
        self.now, self.on = now, True
        self._start()
        return self._done()

    def switch_off(self, now: float, logoff: bool = True) -> tuple[list[bytes], float | None]:
        """Stops, with a Logoff or, as when the plug is pulled, without."""
        self.now = now
        if self.on and logoff:
            self._send(frames.LOGOFF, b"", self._trailer(b""))
        self.on, self.online, self.server = False, False, None
        self._timers.clear()
        return self._done()

    def feed(self, raw: bytes, now: float) -> tuple[list[bytes], float | None]:
        """Takes a frame; returns frames to send and the next deadline."""
        self.now = now
        frame = frames.decode(raw)
        if self.on and isinstance(frame, Frame) and frame.dst in (self.mac, PAE_GROUP):
            eap = frame.eap
            if eap is not None:
                self._take(frame, eap)
        return self._done()

    def tick(self, now: float) -> tuple[list[bytes], float | None]:
        """Does what is due: a Start again, or an echo."""
        if not self._timers or min(self._timers.values()) > now:
            return [], self.deadline
        self.now = now
        for name in [name for name, when in self._timers.items() if when <= now]:
            if self._timers.pop(name, None) is not None:
                (self._start if name == "start" else self._echo)()
        return self._done()

    def _done(self) -> tuple[list[bytes], float | None]:
        out, self._out = self._out, []
        return out, self.deadline

    def _take(self, frame: Frame, eap: Eap) -> None:
        if eap.code == REQUEST:
            self.server = frame.src
            if not self.online:
                self._timers["start"] = self.now + PAUSE
            self._respond(eap)
        elif eap.code == SUCCESS:
            self.online = True
            self._timers.pop("start", None)
            found = dialects.keepalive(frame, eap)
            if self.dialect == "ruijie" and found is not None:
                self.key = found[0]
                self._timers["echo"] = self.now + self.interval
        elif eap.code == FAILURE:
            self.online, self.server = False, None
            self._timers.clear()
            self._timers["start"] = self.now + PAUSE

    def _respond(self, eap: Eap) -> None:
        if eap.type == IDENTITY:
            data, hashed = bytes([IDENTITY]) + self._identity(), b""
        elif eap.type == ONLINE and self.dialect == "h3c":
            data, hashed = bytes([ONLINE, 0]) + h3c.ADDRESS + ADDRESS + self.user, b""
        elif eap.type == MD5 and len(eap.data) > 17:
            challenge = eap.data[2 : 2 + eap.data[1]]
            data = bytes([MD5, 16]) + md5_value(eap.id, self.password, challenge) + self.user
            hashed = ruijie_client.password_hash(self.user, challenge, self.password)
        else:
            return
        self._send(
            frames.EAP,
            frames.encode_eap(Eap(RESPONSE, eap.id, data, b"")),
            self._trailer(hashed),
            self.server,
        )

    def _identity(self) -> bytes:
        if self.dialect != "h3c":
            return self.user
        return h3c.ADDRESS + ADDRESS + h3c.VERSION + b"V" * h3c.VERSION_SIZE + b"  " + self.user

    def _start(self) -> None:
        self.online, self.server = False, None
        self._timers.pop("echo", None)
        self._send(frames.START, b"", self._trailer(b""))
        self._timers["start"] = self.now + RETRY

    def _echo(self) -> None:
        if self.key is not None and self.server is not None:
            frame = Frame(
                self.server, self.mac, b"", 1, frames.ECHO, 0x1E, ruijie.echo_body(self.key, self.number)
            )
            self._out.append(frames.encode(frame).ljust(frames.SHORTEST, b"\0"))
            self.number = (self.number + 1) & 0xFFFFFFFF
        self._timers["echo"] = self.now + self.interval + self._jitter.uniform(-0.2, 0.2)

    def _trailer(self, hashed: bytes) -> bytes:
        if self.dialect != "ruijie":
            return b""
        header = ruijie_client.Header(
            1, ADDRESS, bytes([255, 255, 255, 0]), bytes([192, 168, 1, 1]), bytes(4)
        )
        properties = [(0x18, b"\0\0\0\1"), (0x2D, self.mac), (0x2F, hashed), (0x35, b"\1"),
                      (0x39, b"internet".ljust(32, b"\0")), (0x54, bytes(64)), (0x55, b""), (0x62, b"\0"),
                      (0x6F, b"RG-SU For Linux V1.0\0")]  # fmt: skip
        return ruijie_client.build_trailer(header, properties)

    def _send(self, type: int, body: bytes, beyond: bytes, to: bytes | None = None) -> None:
        self._out.append(frames.build(to or self.group, self.mac, type, body, beyond=beyond))
