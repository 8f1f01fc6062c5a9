"""What the PC has said, and the answers that follow from it in the PC's place. Pure values.

- What a Success has proven is kept apart from what was only heard: a stranger who tries to log in and fails leaves
  nothing behind. `identity` of the settings wins over both.
- An answer is the PC's own frame with the new id wherever that is known to be right: identities, H3C's type 20,
  notifications. An address within it becomes the router's.
- An EAP-MD5 answer is computed from a password for this very challenge. An old hash is never sent again.

Source: RFC 3748 sections 5.1 to 5.4.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.containers import namedtuple
from shoestring.relay.frames import CLEAR, IDENTITY, MD5, NAK, NOTIFICATION, ONLINE, RESPONSE, Eap, Frame
from shoestring.relay.vendors import dialects, ruijie_client
from shoestring.relay.vendors.digest import md5_value

REPEATED = (IDENTITY, NOTIFICATION, CLEAR, ONLINE)  # requests whose answer does not depend on the request


class Voice:
    """What one PC has said: its Start, its answers by the type of the request, and what an MD5 answer is made of."""

    def __init__(self) -> None:
        self.start: Frame | None = None
        self.answers: dict[int, Frame] = {}
        self.md5_user: bytes | None = None  # may differ from the identity
        self.md5_trailer = b""

    @property
    def identity(self) -> Frame | None:
        """Its Response/Identity."""
        return self.answers.get(IDENTITY)

    @property
    def user(self) -> bytes | None:
        """The user's bare name, or None."""
        eap = self.identity.eap if self.identity is not None else None
        return dialects.user(eap.data[1:]) if eap is not None else None


class Answer(namedtuple("Answer", "frame why")):
    """An answer as a `Frame`, or None and the reason why there is none; an empty reason is silence on purpose."""

    __slots__ = ()


class Memory:
    """What was heard and what was proven.

    Args:
        identity: configured name, which wins over what is heard.
        password: for EAP-MD5; None leaves challenges unanswered.
    """

    def __init__(self, identity: bytes | None = None, password: bytes | None = None) -> None:
        self.proven = Voice()
        self.heard = Voice()
        self.identity = identity
        self.password = password
        self._asked: tuple[int, int] | None = None  # id and type of the last request

    def ask(self, request: Eap) -> None:
        """Takes note of a request, so that its answer is known for what it is."""
        self._asked = (request.id, request.type)

    def hear(self, frame: Frame, eap: Eap) -> None:
        """Takes note of a PC's response, of an MD5 response only the name and what the trailer is made of."""
        heard = self.heard
        asked = self._asked[1] if self._asked is not None and self._asked[0] == eap.id else eap.type
        kind = asked if asked in REPEATED else eap.type
        if eap.type == MD5 and len(eap.data) > 17:
            heard.md5_user, heard.md5_trailer = eap.data[2 + eap.data[1] :], eap.trailer
        elif kind in REPEATED and eap.type != NAK:
            heard.answers[kind] = frame
        if eap.type == IDENTITY:  # also where a request of another type was answered so
            heard.answers[IDENTITY] = frame
            heard.md5_user, heard.md5_trailer = None, eap.trailer

    @property
    def same_user(self) -> bool:
        """Whether the PC that was heard gave the name that is proven."""
        return self.heard.user is not None and self.heard.user == self.proven.user

    def prove(self) -> None:
        """A Success has come: what was heard counts from now on."""
        if self.heard.identity is None:
            return
        if not self.same_user:
            self.proven = Voice()
        heard, proven = self.heard, self.proven
        proven.answers.update(heard.answers)
        proven.start = heard.start or proven.start
        if heard.md5_trailer or heard.md5_user is not None:
            proven.md5_user, proven.md5_trailer = heard.md5_user, heard.md5_trailer
        self.heard = Voice()

    def confirm(self) -> None:
        """The proven PC has answered a switch that holds the session: its newest words count at once."""
        if self.heard.identity is None or self.same_user:
            self.proven.answers.update(self.heard.answers)

    @property
    def was_asked(self) -> bool:
        """Whether a switch has asked anything since the login began: what is said unasked answers nobody."""
        return self._asked is not None

    def forget_heard(self) -> None:
        """What was heard has come to nothing."""
        self.heard, self._asked = Voice(), None

    @property
    def _voice(self) -> Voice:
        """The proven PC, unless the settings name another user than it does."""
        if self.identity is not None and self.proven.user != dialects.user(self.identity):
            return Voice()
        return self.proven

    @property
    def start(self) -> Frame | None:
        """The Start of the PC in whose place a login is made, or None."""
        return self._voice.start

    @property
    def user(self) -> bytes | None:
        """The name to log in with, or None while nobody has given one."""
        return self.identity if self.identity is not None else self._voice.user

    def answer(
        self, request: Eap, frame: Frame, mac: bytes, allowed: frozenset[str], address: bytes
    ) -> Answer:
        """Returns the answer to a request.

        Args:
            request: an EAP request.
            frame: that it came in.
            mac: our address.
            allowed: which of `identity` and `md5` may be used.
            address: the router's IPv4 address, zeros where it has none.
        """
        kind = request.type
        if kind not in REPEATED:
            return self._prove_knowledge(request, frame, mac, allowed, address)
        if "identity" not in allowed:
            return Answer(None, "answering for the PC is switched off by --keepalive")
        cached = self._voice.answers.get(kind)
        if cached is not None:
            return Answer(_repeated(cached, request, frame, mac, address), "")
        return self._by_settings(request, frame, mac, allowed, address)

    def _by_settings(
        self, request: Eap, frame: Frame, mac: bytes, allowed: frozenset[str], address: bytes
    ) -> Answer:
        """Answers what no PC has answered yet."""
        kind = request.type
        if kind == ONLINE:
            return Answer(None, "")  # the switch asks again; a Nak would end the session
        if kind == CLEAR:
            return self._prove_knowledge(request, frame, mac, allowed, address)
        data = {NOTIFICATION: b"", IDENTITY: self.identity}[kind]
        if data is None:
            return Answer(None, "no PC has logged in yet whose identity could be given")
        return Answer(_made(request, frame, mac, bytes([kind]) + data), "")

    def _prove_knowledge(
        self, request: Eap, frame: Frame, mac: bytes, allowed: frozenset[str], address: bytes
    ) -> Answer:
        """Answers a request that takes a password."""
        kind = request.type
        if "md5" not in allowed or self.password is None:
            asked = {MD5: "EAP-MD5", CLEAR: "the password in clear"}.get(kind, f"EAP type {kind}")
            return Answer(None, f"the switch asks for {asked}; the PC must stay, or give --password-file")
        if kind != MD5:
            return Answer(_made(request, frame, mac, bytes([NAK, MD5])), "")
        return self._md5(request, frame, mac, address)

    def _md5(self, request: Eap, frame: Frame, mac: bytes, address: bytes) -> Answer:
        voice = self._voice
        user = voice.md5_user if voice.md5_user is not None else self.user
        size = request.data[1] if len(request.data) > 1 else 0
        challenge = request.data[2 : 2 + size]
        if user is None or not size or len(challenge) < size:
            why = (
                "no user name for EAP-MD5; give --identity"
                if user is None
                else "its challenge is empty or cut short"
            )
            return Answer(None, why)
        trailer = ruijie_client.rehash(voice.md5_trailer, user, challenge, self.password or b"")
        if trailer is None:
            return Answer(
                None, "the switch wants the vendor's client hash, which only the official client computes"
            )
        value = md5_value(request.id, self.password or b"", challenge)
        name = dialects.readdress(user, address)
        return Answer(_made(request, frame, mac, bytes([MD5, len(value)]) + value + name, trailer), "")


def _repeated(cached: Frame, request: Eap, frame: Frame, mac: bytes, address: bytes) -> Frame:
    """The PC's own frame with the new id; lengths, trailer and oddities stay as the switch knows them."""
    dst = cached.dst if frames.is_group(cached.dst) else frame.src
    eap = cached.eap
    body = bytes([RESPONSE, request.id]) + cached.body[2:]
    if eap is not None:
        body = body[:5] + dialects.readdress(eap.data[1:], address) + eap.trailer
    return cached._replace(dst=dst, src=mac, tags=frame.tags, body=body)


def _made(request: Eap, frame: Frame, mac: bytes, data: bytes, trailer: bytes = b"") -> Frame:
    body = frames.encode_eap(Eap(RESPONSE, request.id, data, trailer))
    return Frame(frame.src, mac, frame.tags, frame.version, frames.EAP, 4 + len(data), body)
