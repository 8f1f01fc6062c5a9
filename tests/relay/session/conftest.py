"""The session that most situations start from."""

import pytest

from shoestring.relay.frames import REQUEST, RESPONSE, SUCCESS
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC
from shoestring.relay.session.effects import LAN, WAN, State
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Settings

from .situations import PC, eap, start


@pytest.fixture
def session() -> Session:
    """A plain session whose PC has logged in and whose switch has said yes."""
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    session.feed(LAN, start(), 1.0)
    session.feed(WAN, eap(REQUEST, 1, b"\1"), 1.1)
    session.feed(LAN, eap(RESPONSE, 1, b"\1alice", src=PC, dst=LAN_MAC), 1.2)
    session.feed(WAN, eap(SUCCESS, 2), 1.3)
    assert session.state == State.ONLINE
    return session
