"""Who is served: one PC and one switch at a time.

- A PC is let in by a Start or a response, when no other one is being served.
- A switch is let in by a request, by a Failure too where a login has just begun; a silent one may be replaced.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import PAE_GROUP, REQUEST, RESPONSE, START, Frame

SERVER_SILENCE = 60.0  # seconds after which another switch may ask for an identity


class Peers:
    """The two that are locked.

    Args:
        client_timeout: seconds of silence after which another PC may log in.
        now: seconds on the session's clock.
    """

    def __init__(self, client_timeout: float, now: float) -> None:
        self.client: bytes | None = None
        self.server: bytes | None = None
        self.client_left = True  # said goodbye, so that anyone may follow
        self.server_tags = b""
        self._timeout = client_timeout
        self._client_at = self._server_at = now

    def hear_client(self, frame: Frame, now: float) -> bool:
        """Takes a frame from the LAN side; returns whether its sender is the PC that is served."""
        if frame.src != self.client and not self._may_be_client(frame, now):
            return False
        self.client, self.client_left, self._client_at = frame.src, False, now
        return True

    def _may_be_client(self, frame: Frame, now: float) -> bool:
        eap = frame.eap
        speaks = frame.type == START or (eap is not None and eap.code == RESPONSE)
        free = self.client_left or now - self._client_at >= self._timeout
        return speaks and free and not frames.is_group(frame.src)

    def hear_server(self, frame: Frame, now: float, logging_in: bool) -> bool:
        """Takes a frame from the WAN side; returns whether its sender is the switch that is trusted."""
        if frame.src != self.server and not self._may_be_server(frame, now, logging_in):
            return False
        self.server, self.server_tags, self._server_at = frame.src, frame.tags, now
        return True

    def _may_be_server(self, frame: Frame, now: float, logging_in: bool) -> bool:
        eap = frame.eap
        if eap is None or frames.is_group(frame.src):
            return False
        asks = eap.code == REQUEST
        if self.server is None:
            return asks or (eap.code == frames.FAILURE and logging_in)
        return asks and eap.type == frames.IDENTITY and now - self._server_at >= SERVER_SILENCE

    def doubt_server(self, now: float) -> None:
        """Lets another switch in from now on: the cable was pulled."""
        self._server_at = now - SERVER_SILENCE

    def towards_server(self, group: bytes | None = None) -> bytes:
        """Returns where a frame to the switch goes: to the group it was sent to, the switch, or the PAE group."""
        return group or self.server or PAE_GROUP

    def towards_client(self) -> bytes:
        """Returns where a frame to the PC goes: to the PAE group while none is there."""
        return PAE_GROUP if self.client is None or self.client_left else self.client
