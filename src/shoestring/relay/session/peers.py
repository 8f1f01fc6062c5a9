"""Who is served: one PC and one switch at a time; what a Success has proven is not replaced by what it has not.

- While nothing is proven, a PC is let in by a Start or a response when no other is being served, and a switch by a
  request, or by a Failure where a login has just begun.
- While something is proven, another PC is a guest at most and another switch a rival, and both only where the caller
  allows it. Their own Success makes them the proven ones; anything else leaves things as they were.
"""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import PAE_GROUP, REQUEST, RESPONSE, START, Frame

SERVER_SILENCE = 60.0  # seconds after which another switch may ask for an identity


class Peers:
    """Those that are locked.

    Args:
        client_timeout: seconds of silence after which another PC may log in.
        now: seconds on the session's clock.
        only: the one PC that is ever served, or None.
    """

    def __init__(self, client_timeout: float, now: float, only: bytes | None = None) -> None:
        self.client: bytes | None = None  # that is served now
        self.server: bytes | None = None  # proven, or of the login that goes on
        self.proven_client: bytes | None = None
        self.rival: bytes | None = None  # a switch that asks while another one is proven
        self.client_left = True  # said goodbye, so that anyone may follow
        self.client_tags: bytes | None = None  # as the PC sends them; None until it has spoken
        self.server_tags: bytes | None = None
        self._timeout = client_timeout
        self._only = only
        self._client_at = self._server_at = now

    def hear_client(self, frame: Frame, now: float, proven: bool, guests: bool) -> bool:
        """Takes a frame from the LAN side; returns whether its sender is the PC that is served.

        Args:
            frame: any.
            now: seconds.
            proven: a session stands.
            guests: another PC may log in although it does.
        """
        if frame.src != self.client and not self._may_be_client(frame, now, proven, guests):
            return False
        self.client, self.client_left, self._client_at = frame.src, False, now
        self.client_tags = frame.tags
        return True

    def _may_be_client(self, frame: Frame, now: float, proven: bool, guests: bool) -> bool:
        if frames.is_group(frame.src) or (self._only is not None and frame.src != self._only):
            return False
        if proven and frame.src in (self.proven_client, self._only):
            return True
        eap = frame.eap
        speaks = frame.type == START or (eap is not None and eap.code == RESPONSE and not proven)
        free = self.client is None or self.client_left or now - self._client_at >= self._timeout
        return speaks and free and (guests or not proven)

    def hear_server(self, frame: Frame, now: float, proven: bool, logging_in: bool) -> bool:
        """Takes a frame from the WAN side; returns whether its sender is a switch that is listened to.

        Args:
            frame: any.
            now: seconds.
            proven: a session stands.
            logging_in: a login goes on.
        """
        if frame.src == self.server:
            self.rival, self.server_tags, self._server_at = None, frame.tags, now
            return True
        if frame.src == self.rival:
            return True
        if not self._may_be_server(frame, now, proven, logging_in):
            return False
        if proven and self.server is not None:
            self.rival = frame.src
        else:
            self.server, self.server_tags, self._server_at = frame.src, frame.tags, now
        return True

    def _may_be_server(self, frame: Frame, now: float, proven: bool, logging_in: bool) -> bool:
        eap = frame.eap
        if eap is None or frames.is_group(frame.src):
            return False
        asks = eap.code == REQUEST
        if self.server is None:
            return asks or (eap.code == frames.FAILURE and logging_in)
        return asks and eap.type == frames.IDENTITY and now - self._server_at >= SERVER_SILENCE

    def prove(self, client: bytes | None, frame: Frame) -> None:
        """A Success has come: who took part in it is proven.

        Args:
            client: the PC that answered, or None where the relay did.
            frame: the Success.
        """
        if client is not None:
            self.proven_client = client
        self.server, self.rival, self.server_tags = frame.src, None, frame.tags

    def forget_server(self) -> None:
        """The session or the login is over: whoever asks next is the switch."""
        self.server = self.rival = None

    def dismiss_guest(self) -> None:
        """A guest's login has come to nothing: the proven PC is served again, though it may not be there."""
        if self.proven_client is not None and self.client != self.proven_client:
            self.client, self.client_left, self.client_tags = self.proven_client, True, None

    def doubt_server(self, now: float) -> None:
        """Lets another switch ask from now on: the cable was pulled."""
        self._server_at = now - SERVER_SILENCE

    def towards_server(self, group: bytes | None = None) -> bytes:
        """Returns where a frame to the switch goes: to the group it was sent to, the switch, or the PAE group."""
        return group or self.rival or self.server or PAE_GROUP

    def towards_client(self) -> bytes:
        """Returns where a frame to the PC goes: to the PAE group while none is there."""
        return PAE_GROUP if self.client is None or self.client_left else self.client
