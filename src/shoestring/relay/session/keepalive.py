"""What the relay can say in the PC's place: the Ruijie echo, the identity, an EAP-MD5 answer. Pure values.

- One writer at a time: while the PC echoes, its echoes pass and are learned; once the relay has written, only
  it does.
- A cached identity is repeated with the new id, as switches with an on-line handshake expect.
- An MD5 answer is computed from a password for this very challenge. An old hash is never sent again.

Source: RFC 3748 sections 5.1 to 5.4; RFC 1994 section 4.1 (the MD5 value); Ruijie's echo in `ruijie`.
"""

from __future__ import annotations

from collections import namedtuple

from shoestring.relay import frames
from shoestring.relay.frames import MD5, NAK, NOTIFICATION, RESPONSE, Eap, Frame
from shoestring.relay.vendors import ruijie

FIRST_NUMBER = 0x102B  # of a sequence that the relay starts itself
USUAL_INTERVAL = 30.0
PATIENCE = 65.0  # seconds for a PC that is there to send its first echo; clients use 20 to 60


class Echo:
    """The echo sequence of one login: who writes it, where it stands and when the next one is due.

    Args:
        now: seconds.
        key: from the Success trailer, or None until the PC has echoed.
        alive: seconds after which the switch drops a silent client; 0 where it did not say.
        interval: seconds between echoes; None learns it from the PC, or takes 30.
        pc_present: the PC is expected to write; the relay takes over when it stops.
    """

    def __init__(
        self,
        now: float,
        key: int | None = None,
        alive: float = 0,
        interval: float | None = None,
        pc_present: bool = False,
    ) -> None:
        self.key = key
        self.number = FIRST_NUMBER - 1
        self.ours = False  # the relay has become the writer
        self.heard_at: float | None = None
        self._fixed = interval is not None
        self._learned = False
        self._longest = alive / 2 if alive >= 10 else 300.0
        self.interval = min(interval or USUAL_INTERVAL, self._longest)
        self.due = now + (min(PATIENCE, self._longest) if pc_present else self.interval)

    @property
    def learned(self) -> float | None:
        """Seconds between echoes as the PC or the settings have it, or None where 30 was assumed."""
        return self.interval if self._fixed or self._learned else None

    def hear(self, key: int, number: int, now: float) -> bool:
        """Takes note of an echo from the PC; returns whether it may pass to the switch."""
        if self.ours:
            return False
        if self.heard_at is not None and not self._fixed and 1 <= now - self.heard_at <= 300:
            gap = min(now - self.heard_at, self._longest)
            self.interval = (self.interval + gap) / 2 if self._learned else gap
            self._learned = True
        self.key, self.number, self.heard_at = key, number, now
        self.due = now + self.interval + max(1.0, self.interval / 4)
        return True

    def pc_left(self, now: float) -> None:
        """The PC said goodbye or is known to be gone: the next echo is due when its next would have been."""
        if not self.ours:
            start = now if self.heard_at is None else self.heard_at
            self.due = max(now, min(self.due, start + self.interval))

    def write(self, now: float) -> bytes:
        """Returns the body of the next echo, which is ours from now on; needs a key."""
        self.ours = True
        self.number = (self.number + 1) & 0xFFFFFFFF
        self.due = max(self.due, now - self.interval / 2) + self.interval
        return ruijie.echo_body(self.key or 0, self.number)


class Answer(namedtuple("Answer", "eap why")):
    """An EAP response, or None and the reason why there is none."""

    __slots__ = ()


class Memory:
    """What the PC has said in its login, and the answers that follow from it.

    Args:
        identity: configured name, used when the PC has not given one.
        password: for EAP-MD5; None leaves challenges unanswered.
    """

    def __init__(self, identity: bytes | None = None, password: bytes | None = None) -> None:
        self.start: Frame | None = None
        self.response: Frame | None = None  # the PC's Response/Identity as the switch saw it
        self.identity = identity
        self.password = password
        self._user: bytes | None = None  # as in the PC's MD5 response, which may differ from the identity
        self._trailer = b""

    def hear(self, frame: Frame, eap: Eap) -> None:
        """Remembers an identity; of an MD5 response only the name and what the trailer is made of."""
        if eap.type == frames.IDENTITY:
            self.response, self._trailer, self._user = frame, eap.trailer, None
        elif eap.type == MD5 and len(eap.data) > 18:
            self._user, self._trailer = eap.data[18:], eap.trailer

    @property
    def user(self) -> bytes | None:
        """The name to log in with, or None while nobody has given one."""
        if self.response is not None and (eap := self.response.eap) is not None:
            return eap.data[1:]
        return self.identity

    def answer(self, request: Eap, allowed: frozenset[str]) -> Answer:
        """Returns the answer to a request.

        Args:
            request: an EAP request.
            allowed: which of `identity` and `md5` may be used.
        """
        kind = request.type
        if kind == frames.IDENTITY:
            return self._identity(request, allowed)
        if kind == NOTIFICATION:
            return Answer(Eap(RESPONSE, request.id, bytes([NOTIFICATION]), b""), "")
        if "md5" not in allowed or self.password is None:
            asked = "EAP-MD5" if kind == MD5 else f"EAP type {kind}"
            return Answer(None, f"the switch asks for {asked}; the PC must stay, or give --password-file")
        if kind != MD5:
            return Answer(Eap(RESPONSE, request.id, bytes([NAK, MD5]), b""), "")
        return self._md5(request)

    def _identity(self, request: Eap, allowed: frozenset[str]) -> Answer:
        if "identity" not in allowed:
            return Answer(None, "answering for the PC is switched off by --keepalive")
        if self.response is not None and (eap := self.response.eap) is not None:
            return Answer(eap._replace(id=request.id), "")
        if self.identity is not None:
            return Answer(Eap(RESPONSE, request.id, bytes([frames.IDENTITY]) + self.identity, b""), "")
        return Answer(None, "the PC has not given its identity yet")

    def _md5(self, request: Eap) -> Answer:
        user = self._user if self._user is not None else self.user
        size = request.data[1] if len(request.data) > 1 else 0
        challenge = request.data[2 : 2 + size]
        if user is None or not size or len(challenge) < size:
            return Answer(
                None, "no user name for EAP-MD5; give --identity" if user is None else "empty challenge"
            )
        trailer = self._md5_trailer(user, challenge)
        if trailer is None:
            return Answer(
                None, "the switch wants the vendor's client hash, which only the official client computes"
            )
        value = md5_value(request.id, self.password or b"", challenge)
        return Answer(Eap(RESPONSE, request.id, bytes([MD5, len(value)]) + value + user, trailer), "")

    def _md5_trailer(self, user: bytes, challenge: bytes) -> bytes | None:
        parsed = ruijie.parse_trailer(self._trailer)
        if parsed is None:
            return b""
        if any(type == ruijie.VENDOR_HASH and data for type, data, _ in parsed.properties):
            return None
        hashed = ruijie.password_hash(user, challenge, self.password or b"")
        properties = [
            (type, hashed if type == ruijie.PASSWORD_HASH else data) for type, data, _ in parsed.properties
        ]
        return ruijie.build_trailer(parsed.header, properties)

    def frame(self, answer: Eap, request: Frame, mac: bytes) -> bytes:
        """Returns the whole frame of an answer, as like the PC's own as can be.

        Args:
            answer: from `answer`.
            request: the frame that it answers.
            mac: our address.
        """
        cached = self.response
        if answer.type == frames.IDENTITY and cached is not None:
            dst = cached.dst if frames.is_group(cached.dst) else request.src
            body = frames.encode_eap(answer)
            return frames.encode(cached._replace(dst=dst, src=mac, tags=request.tags, body=body))
        body = frames.encode_eap(answer._replace(trailer=b""))
        return frames.build(
            request.src,
            mac,
            frames.EAP,
            body,
            tags=request.tags,
            version=request.version,
            beyond=answer.trailer,
        )


def md5_value(id: int, password: bytes, challenge: bytes) -> bytes:
    """Returns MD5(id + password + challenge), 16 bytes.

    >>> md5_value(1, b"secret", bytes(16)).hex()
    '7570c653cdf4755ccffcaa80f29268d1'
    """
    return ruijie.md5(bytes([id]) + password + challenge)
