"""What a restart needs to keep a session, as plain values for JSON: who, to whom, and where the echo stands."""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import CLEAR, Frame, Junk
from shoestring.relay.session.core import DOUBT, Core
from shoestring.relay.session.keepalive import Echo
from shoestring.relay.session.table import HELD, Event

TYPE_CHECKING = False
if TYPE_CHECKING:  # `collections` takes 0.5 MB
    from collections.abc import Callable


class Remembered(Core):
    """The part of a session that outlives its process."""

    def snapshot(self, now: float, redact: Callable[[bytes], bytes]) -> dict | None:
        """Returns what is proven, or None where nothing is.

        Args:
            now: seconds on the session's clock.
            redact: takes the secrets out of a frame.
        """
        if self.machine.proof not in HELD:
            return None
        proven, peers = self.memory.proven, self.peers
        keep = {str(kind): frame for kind, frame in proven.answers.items() if kind != CLEAR}
        if proven.start is not None:
            keep["start"] = proven.start
        return {
            "frames": {name: redact(frames.encode(frame)).hex() for name, frame in keep.items()},
            "client": _hex(peers.proven_client),
            "switch": _hex(peers.server),
            "tags": _hex(peers.server_tags),
            "steps": self.steps,
            "dialect": self.dialect.name,
            "message": self.last_message,
            "online_for": now - (self.online_since if self.online_since is not None else now),
            "echo": self.echo.snapshot(now) if self.echo is not None and self.echo.key is not None else None,
        }

    def restore(self, found: dict, now: float, elapsed: float) -> None:
        """Begins with what an earlier process knew; the switch is to show that it still holds.

        Args:
            found: from `snapshot`.
            now: seconds on the session's clock.
            elapsed: seconds since then.

        Raises:
            KeyError, TypeError, ValueError: it is no such thing.
        """
        answers = {name: _frame(text) for name, text in found["frames"].items()}
        server = bytes.fromhex(found["switch"])
        if len(server) != 6:
            raise ValueError(f"switch {found['switch']!r} is no address")
        client = bytes.fromhex(found["client"]) if found["client"] else None
        tags, start = bytes.fromhex(found["tags"] or ""), answers.pop("start", None)
        known = {int(kind): frame for kind, frame in answers.items()}
        echo = Echo.restored(found["echo"], now, elapsed) if found["echo"] is not None else None
        steps, since = int(found["steps"]), now - float(found["online_for"]) - elapsed
        # All of it could be read: from here on nothing raises.
        self.memory.proven.start, self.memory.proven.answers = start, known
        identity = self.memory.proven.identity
        if identity is not None and (eap := identity.eap) is not None:
            self.memory.proven.md5_trailer = eap.trailer
        peers = self.peers
        peers.client = peers.proven_client = client
        peers.server, peers.server_tags = server, tags
        self.steps, self.online_since, self.echo = steps, since, echo
        self.dialect.name, self.last_message = str(found.get("dialect")), str(found.get("message"))
        self.machine.on(Event.SUCCESS if self.steps >= self.settings.successes else Event.STEP)
        self.machine.on(Event.UNANSWERED)
        if self.machine.may_run("doubt"):
            self.machine.set("doubt", now + DOUBT)
        self._flapped = True
        self._done()


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _frame(text: str) -> Frame:
    frame = frames.decode(bytes.fromhex(text))
    if isinstance(frame, Junk):
        raise ValueError(f"{text[:40]} is no frame")
    return frame
