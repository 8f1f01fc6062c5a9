"""The last frames are kept and saved; secrets never leave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import Eap
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.switch import Rules, Switch
from shoestring.relay.service import capture, pcap
from shoestring.relay.vendors import ruijie_client

from ..field import load, names


def login() -> list[bytes]:
    """The frames of one Ruijie login and an echo."""
    pc, switch = Pc(password=b"MyPassword"), Switch(Rules(password=b"MyPassword"))
    seen, todo = [], pc.switch_on(0.0)[0]
    while todo:
        seen += todo
        answers = [raw for frame in todo for raw in switch.feed(frame, 0.0)[0]]
        seen += answers
        todo = [raw for frame in answers for raw in pc.feed(frame, 0.0)[0]]
    return seen + pc.tick(30.0)[0]


def test_the_ring_is_bounded():
    ring = pcap.Ring(10)
    for number in range(100):
        ring.add((float(number), b"frame"))
    assert [when for when, _, _ in capture.read(ring.pcap())] == [float(number) for number in range(90, 100)]


def test_no_hash_leaves_with_a_capture():
    ring = pcap.Ring(100)
    secrets = []
    for raw in login():
        ring.add((0.0, raw))
        eap = frames.decode(raw).eap
        if eap is not None and eap.code == frames.RESPONSE and eap.type == frames.MD5:
            secrets.append(eap.data[2:18])
            secrets += [
                data for type, data, _ in ruijie_client.parse_trailer(eap.trailer).properties if type == 0x2F
            ]
    data = ring.pcap()
    assert len(secrets) == 2
    assert all(len(secret) == 16 and secret not in data for secret in secrets)
    assert b"student" in data, "what is no secret stays readable"


@given(st.integers(1, 255).filter(lambda type: type not in pcap.HARMLESS), st.binary(min_size=8, max_size=60))
def test_responses_of_unknown_types_are_blanked_out(type, secret):
    body = frames.encode_eap(Eap(frames.RESPONSE, 1, bytes([type]) + b"\x08" + secret, b"\1" + secret))
    raw = frames.build(bytes(6), bytes(6), frames.EAP, body)
    redacted = pcap.redact(raw)
    assert len(redacted) == len(raw)
    assert not any(redacted[14 + 4 + 4 + 2 : 14 + 4 + 4 + 2 + min(8, len(secret))])


@given(st.binary(max_size=300))
def test_redaction_keeps_every_length_and_every_other_frame(data):
    raw = bytes(12) + frames.ETHERTYPE + data
    assert len(pcap.redact(raw)) == len(raw)
    assert pcap.redact(data) == data or data[12:14] in (frames.ETHERTYPE, *frames.TAG_TYPES)


def test_a_clock_beyond_2106_costs_no_capture():
    ((when, raw, _),) = capture.read(pcap.write([(2.0**33 + 5, b"frame")]))
    assert (when, raw) == (5.0, b"frame")


@pytest.mark.parametrize("name", [name for name in names() if "response" in name or "start" in name])
def test_no_secret_of_the_corpus_leaves(name):
    raw = load(name)
    redacted = pcap.redact(raw)
    assert len(redacted) == len(raw)
    assert b"\xa0" * 8 not in redacted
    assert b"\xb0" * 8 not in redacted
