"""A simulated switch: plain 802.1X, Ruijie or H3C, as strict as the real ones or stricter.

- Pure like the session: `feed(frame, now) -> frames, next deadline`; randomness comes from the caller's seed.
- Ruijie: both groups, trailer CRC and MAC property, MD5 and password hash, Successes as seen in the field, GBK
  Failure;
  every echo must bear key + number, the number one more than the last, and come before the alive time is
  over.
- H3C: an on-line handshake by Request/Identity, and now and then a Request of type 20, which only a Nak spoils; misses
  put the client off line; EAP code 10 before a Success, reasons within a Failure.
- All: periodic re-authentication, double authentication, Logoff, retransmission, a first silence, link loss.
"""

from __future__ import annotations

import random

from shoestring.relay import frames
from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import (
    FAILURE,
    IDENTITY,
    MD5,
    ONLINE,
    PAE_GROUP,
    REQUEST,
    RESPONSE,
    START,
    Eap,
    Frame,
)
from shoestring.relay.lab.layouts import LAYOUTS, success
from shoestring.relay.vendors import dialects, h3c, ruijie, ruijie_client
from shoestring.relay.vendors.digest import md5_value

WELCOME = "欢迎使用校园网"
REFUSED = "用户名或密码错误"
LOST = "用户长时间未响应，已被强制下线"
DIALECTS = ("plain", "ruijie", "h3c")
ACCOUNT = "您当前使用的服务为学生包月计费"
CODE_10 = 10  # EAP code of H3C's packet before a Success
QUESTION = 4  # every so many handshakes, a Request of type 20
RETRANSMIT = (3.0, 6.0, 12.0, 20.0, 20.0)  # pauses between copies of a request; hostapd's, measured


class Rules(
    namedtuple(
        "Rules",
        "dialect layout alive handshake reauth steps silent_starts group user password strict check_mac",
        defaults=("ruijie", "minieap-58", 300.0, 15.0, 0.0, 1, 0, False, b"student", b"secret", True, False),
    )
):
    """What one simulated switch demands.

    Args:
        dialect: `plain`, `ruijie` or `h3c`.
        layout: of a Ruijie Success, a name of `LAYOUTS`.
        alive: seconds without an echo after which a Ruijie client is put off line.
        handshake: seconds between H3C's requests to an on-line client; three misses put it off line.
        reauth: seconds between full re-authentications; 0 for none.
        steps: successful logins in a row that open the port.
        silent_starts: that many Starts are ignored at first.
        group: answers go to the PAE group instead of the client's address.
        user: the only user, in bytes.
        password: its password, in bytes.
        strict: an echo whose number is not one more than the last puts the client off line.
        check_mac: the address in a Ruijie trailer must be the frame's.
    """

    __slots__ = ()


class Switch:
    """One switch port.

    Args:
        rules: what it demands.
        mac: the switch's address.
        seed: of the challenges, ids and keys.
    """

    def __init__(self, rules: Rules, mac: bytes = bytes.fromhex("001aa9000001"), seed: int = 0) -> None:
        self.rules = rules
        self.mac = mac
        self.online = False
        self.steps = 0
        self.key = 0
        self.number: int | None = None
        self.faults: list[str] = []  # why clients were refused or put off line, at most 100
        self.counts = {
            "logins": 0,
            "echoes": 0,
            "late": 0,
            "handshakes": 0,
            "reauths": 0,
            "logoffs": 0,
            "lost": 0,
        }
        self.echo_gap = 0.0  # the longest pause between two echoes, seconds
        self._random = random.Random(seed)
        self._client = b""
        self._tags = b""
        self._stage = ""  # identity, challenge or handshake: what the next response must be
        self._id = 0
        self._challenge = b""
        self._copies = 0
        self._request: Frame | None = None
        self._silent = rules.silent_starts
        self._timers: dict[str, float] = {}
        self._heard_at = 0.0
        self._out: list[bytes] = []
        self.now = 0.0

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        return min(self._timers.values()) if self._timers else None

    def feed(self, raw: bytes, now: float) -> tuple[list[bytes], float | None]:
        """Takes a frame from the client's side; returns frames to send and the next deadline."""
        self.now = now
        frame = frames.decode(raw)
        if isinstance(frame, Frame) and frame.dst in (PAE_GROUP, frames.RUIJIE_GROUP, self.mac):
            self._take(frame)
        return self._done()

    def tick(self, now: float) -> tuple[list[bytes], float | None]:
        """Does what is due."""
        if not self._timers or min(self._timers.values()) > now:
            return [], self.deadline
        self.now = now
        due = {"retransmit": self._retransmit, "alive": self._echo_missed, "handshake": self._handshake,
               "reauth": self._reauthenticate}  # fmt: skip
        for name in [name for name, when in self._timers.items() if when <= now]:
            if self._timers.pop(name, None) is not None:
                due[name]()
        return self._done()

    def link(self, up: bool, now: float) -> tuple[list[bytes], float | None]:
        """A port that loses its link forgets its client; one that gets a link asks who is there."""
        self.now = now
        self._forget()
        if up and self._client and not self._silent:
            self._ask("identity", bytes([IDENTITY]))
        return self._done()

    def _done(self) -> tuple[list[bytes], float | None]:
        out, self._out = self._out, []
        return out, self.deadline

    def _take(self, frame: Frame) -> None:
        eap = frame.eap
        if frame.type == START:
            self._started(frame)
        elif frame.src != self._client:
            return
        elif frame.type == frames.LOGOFF and (self.online or self._stage):
            self.counts["logoffs"] += 1
            self._forget()
        elif frame.type == frames.ECHO and self.rules.dialect == "ruijie" and self.online:
            self._echoed(frame)
        elif (
            eap is not None
            and eap.code == RESPONSE
            and eap.type == frames.NAK
            and self.rules.dialect == "h3c"
        ):
            self._put_off("a Nak where H3C asked an on-line client")
        elif eap is not None and eap.code == RESPONSE and self._stage and eap.id == self._id:
            self._responded(frame, eap)

    def _started(self, frame: Frame) -> None:
        if self._silent:
            self._silent -= 1
            return
        if self._stage == "identity" and frame.src == self._client and self._copies == 0:
            self._send_request()  # the same request again: a Start sent twice must not make two logins
            return
        self._client, self._tags = frame.src, frame.tags
        if self._trailer_is_right(frame, frame.body):
            self._ask("identity", bytes([IDENTITY]))

    def _responded(self, frame: Frame, eap: Eap) -> None:
        stage, self._stage = self._stage, ""
        self._timers.pop("retransmit", None)
        if stage == "handshake":
            self._shaken(eap)
        elif not self._trailer_is_right(frame, eap.trailer):
            return
        elif stage == "identity":
            if eap.type != IDENTITY or dialects.user(eap.data[1:]) != self.rules.user:
                self._refuse(f"unknown user {eap.data[1:]!r}", REFUSED)
            else:
                self._challenge = self._random.randbytes(16)
                self._ask("challenge", bytes([MD5, 16]) + self._challenge + b"switch")
        else:
            self._verify(eap)

    def _verify(self, eap: Eap) -> None:
        expected = md5_value(self._id, self.rules.password, self._challenge)
        if eap.type != MD5 or eap.data[1:18] != b"\x10" + expected:
            self._refuse("wrong MD5 answer", REFUSED)
            return
        parsed = ruijie_client.parse_trailer(eap.trailer) if self.rules.dialect == "ruijie" else None
        if parsed is not None:
            hashed = ruijie_client.password_hash(self.rules.user, self._challenge, self.rules.password)
            if {type: data for type, data, _ in parsed.properties}.get(ruijie_client.PASSWORD_HASH) != hashed:
                self._refuse("wrong password hash", REFUSED)
                return
        self._admit()

    def _admit(self) -> None:
        self.steps = min(self.steps + 1, self.rules.steps)
        self.counts["reauths" if self.online else "logins"] += 1
        self.key, self.number = self._random.getrandbits(32), None
        if self.rules.dialect == "h3c":
            self._send(frames.EAP, frames.encode_eap(Eap(CODE_10, self._id, self._random.randbytes(37), b"")))
        self._send(frames.EAP, self._success())
        self.online = self.steps == self.rules.steps
        self._heard_at = self.now
        if self.rules.dialect == "ruijie" and self.rules.layout != "sysu":
            self._timers["alive"] = self.now + self.rules.alive
        if self.rules.dialect == "h3c":
            self._timers["handshake"] = self.now + self.rules.handshake
        if self.rules.reauth:
            self._timers["reauth"] = self.now + self.rules.reauth

    def _success(self) -> bytes:
        layout = LAYOUTS[self.rules.layout] if self.rules.dialect == "ruijie" else None
        text, account = WELCOME.encode("gbk"), ACCOUNT.encode("gbk")
        return frames.encode_eap(success(layout, self._id, self.key, int(self.rules.alive), text, account))

    def _echoed(self, frame: Frame) -> None:
        parsed = ruijie.parse_echo(frame.body)
        if parsed is None or parsed[0] != self.key:
            self._put_off("echo with a wrong key")
            return
        number = parsed[1]
        if self.rules.strict and self.number is not None and number != (self.number + 1) & 0xFFFFFFFF:
            self._put_off(f"echo {number:#x} after {self.number:#x}")
            return
        self.number = number
        self.counts["echoes"] += 1
        self.echo_gap = max(self.echo_gap, self.now - self._heard_at)
        self._heard_at = self.now
        self._timers["alive"] = self.now + self.rules.alive

    def _shaken(self, eap: Eap) -> None:
        if eap.type == IDENTITY and dialects.user(eap.data[1:]) == self.rules.user:
            self.counts["handshakes"] += 1
            if self.counts["handshakes"] % QUESTION == 0:
                question = Eap(REQUEST, self._id, bytes([ONLINE]), b"")
                self._send(frames.EAP, frames.encode_eap(question))
            self._timers["handshake"] = self.now + self.rules.handshake
        else:
            self._put_off("handshake answered wrongly")

    def _echo_missed(self) -> None:
        self.counts["late"] += 1
        self._put_off(f"no echo for {self.rules.alive:g} s")

    def _handshake(self) -> None:
        if self._stage:
            self._timers["handshake"] = self.now + self.rules.handshake
        else:
            self._ask("handshake", bytes([IDENTITY]))

    def _reauthenticate(self) -> None:
        self._ask("identity", bytes([IDENTITY]))

    def _retransmit(self) -> None:
        misses = 2 if self._stage == "handshake" else len(RETRANSMIT) - 1
        if self._copies >= misses:
            stage, self._stage = self._stage, ""
            self._put_off(f"no answer to {stage}") if self.online else self._refuse(
                f"no answer to {stage}", LOST
            )
        else:
            self._copies += 1
            self._send_request()

    def _ask(self, stage: str, data: bytes) -> None:
        self._stage, self._copies = stage, 0
        self._id = (self._id + 1) & 0xFF
        self._request = Frame(
            b"", self.mac, b"", 1, frames.EAP, 0, frames.encode_eap(Eap(REQUEST, self._id, data, b""))
        )
        self._send_request()

    def _send_request(self) -> None:
        if self._request is not None:
            self._send(frames.EAP, self._request.body)
            self._timers["retransmit"] = self.now + RETRANSMIT[self._copies]

    def _send(self, type: int, body: bytes) -> None:
        dst = PAE_GROUP if self.rules.group else self._client
        self._out.append(frames.build(dst, self.mac, type, body, tags=self._tags))

    def _trailer_is_right(self, frame: Frame, trailer: bytes) -> bool:
        """Ruijie refuses a client whose header has a wrong CRC or that lies about its address."""
        if self.rules.dialect != "ruijie" or not trailer.startswith(ruijie.CODED_MAGIC):
            return True
        parsed = ruijie_client.parse_trailer(trailer)
        if parsed is None:
            self._refuse("wrong CRC in the client's header", REFUSED)
            return False
        lies = any(type == 0x2D and data != frame.src for type, data, _ in parsed.properties)
        if self.rules.check_mac and lies:
            self._refuse("the trailer bears another MAC than the frame", REFUSED)
        return not (self.rules.check_mac and lies)

    def _put_off(self, why: str) -> None:
        self.counts["lost"] += 1
        self._refuse(why, LOST)

    def _refuse(self, why: str, text: str) -> None:
        if len(self.faults) < 100:
            self.faults.append(f"{self.now:.3f}: {why}")
        trailer, inside, data = b"", b"", text.encode("gbk")
        if self.rules.dialect == "ruijie":
            trailer = ruijie.MAGIC + b"\0" + bytes([len(data)]) + data
        elif self.rules.dialect == "h3c":
            inside = bytes([h3c.REASON, len(data)]) + data
        self._send(frames.EAP, frames.encode_eap(Eap(FAILURE, self._id, inside, trailer)))
        self._forget()

    def _forget(self) -> None:
        self.online, self.steps, self.number, self._stage = False, 0, None, ""
        self._timers.clear()
