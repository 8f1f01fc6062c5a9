"""Frames seen in the field (frames/README.md tells their sources), and short ways to write what the peers say."""

from pathlib import Path

from shoestring.relay import frames
from shoestring.relay.frames import Eap
from shoestring.relay.lab.simulate import WAN_MAC
from shoestring.relay.session.effects import LAN, WAN, Hook, Say, Send
from shoestring.relay.session.session import Session

FOLDER = Path(__file__).parent / "frames"
SWITCH, PC, OTHER = b"\0SWTCH", b"\2PC-PC", b"\2OTHER"


def load(name: str) -> bytes:
    """One frame of the corpus."""
    text = (FOLDER / f"{name}.hex").read_text(encoding="utf-8")
    return bytes.fromhex("".join(line for line in text.splitlines() if not line.startswith("#")))


def names() -> list[str]:
    """All frames of the corpus."""
    return sorted(path.stem for path in FOLDER.glob("*.hex"))


def from_switch(name: str, tags: bytes = b"") -> bytes:
    """A frame of the corpus as our switch sends it to the router."""
    return WAN_MAC + SWITCH + tags + load(name)[12:]


def eap(code: int, id: int, data: bytes = b"", src=SWITCH, dst=WAN_MAC, tags: bytes = b"") -> bytes:
    """An EAP frame."""
    return frames.build(dst, src, frames.EAP, frames.encode_eap(Eap(code, id, data, b"")), tags=tags)


class Desk:
    """A session, and everything it has given out."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sent: list[tuple[float, str, bytes]] = []
        self.hooks: list[str] = []
        self.said: list[str] = []
        self.now = session.now

    def until(self, now: float) -> None:
        """Lets time pass, with every deadline on the way."""
        while (deadline := self.session.deadline) is not None and deadline <= now:
            self.now = deadline
            self._take(self.session.tick(deadline)[0])
        self.now = now

    def feed(self, side: str, raw: bytes, at: float) -> list[frames.Frame]:
        """Feeds a frame; returns what was sent to the switch at once."""
        self.until(at)
        before = len(self.sent)
        self._take(self.session.feed(side, raw, at)[0])
        return [frames.decode(raw) for _, side, raw in self.sent[before:] if side == WAN]

    def to_switch(self, since: float = 0.0) -> list[frames.Frame]:
        """What the switch was sent."""
        return [frames.decode(raw) for at, side, raw in self.sent if side == WAN and at >= since]

    def login(
        self, at: float = 1.0, success: bytes | None = None, user: bytes = b"alice", pc: bytes = PC
    ) -> None:
        """A PC logs in by EAP-MD5."""
        self.feed(LAN, frames.build(frames.PAE_GROUP, pc, frames.START), at)
        self.feed(WAN, eap(1, 1, b"\1"), at)
        self.feed(LAN, eap(2, 1, b"\1" + user, src=pc, dst=SWITCH), at)
        self.feed(WAN, eap(1, 2, b"\4\x10" + bytes(16)), at)
        self.feed(LAN, eap(2, 2, b"\4\x10" + bytes(16) + user, src=pc, dst=SWITCH), at)
        self.feed(WAN, success or eap(3, 2), at)

    def leave(self, at: float, pc: bytes = PC) -> None:
        """The PC says goodbye."""
        self.feed(LAN, frames.build(frames.PAE_GROUP, pc, frames.LOGOFF), at)

    def _take(self, effects: list) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append((self.now, effect.side, effect.frame))
            elif isinstance(effect, Hook):
                self.hooks.append(effect.event)
            elif isinstance(effect, Say):
                self.said.append(effect.text)
