"""Frames survive the round trip, whatever their bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import Eap, Frame, FrameError, Junk

MACS = st.binary(min_size=6, max_size=6)
TAGS = st.lists(
    st.tuples(st.sampled_from(frames.TAG_TYPES), st.binary(min_size=2, max_size=2)).map(b"".join), max_size=3
).map(b"".join)
FRAMES = st.builds(
    Frame,
    MACS,
    MACS,
    TAGS,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.binary(max_size=1200),
)
START = bytes.fromhex("0180c2000003 021122334455 888e 01010000") + bytes(42)
TAGGED = bytes.fromhex("0180c2000003 021122334455 81000064 888e 01010000") + bytes(42)


@given(FRAMES)
def test_decode_undoes_encode(frame):
    assert frames.decode(frames.encode(frame)) == frame


@given(st.binary(max_size=200) | FRAMES.map(frames.encode))
@example(b"")
@example(START)
@example(TAGGED)
@example(START[:17])
def test_encode_undoes_decode(raw):
    assert frames.encode(frames.decode(raw)) == raw


@given(st.integers(1, 4), st.integers(0, 255), st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_eap_round_trip(code, id, data, trailer):
    eap = Eap(code, id, data, trailer)
    assert frames.decode_eap(frames.encode_eap(eap)) == eap


@given(st.binary(max_size=60))
def test_an_eap_that_decodes_encodes_back(body):
    eap = frames.decode_eap(body)
    assert eap is None or frames.encode_eap(eap) == body


def test_fields_of_a_tagged_start():
    frame = frames.decode(TAGGED)
    assert frame == Frame(frames.PAE_GROUP, TAGGED[6:12], b"\x81\0\0\x64", 1, frames.START, 0, bytes(42))


def test_a_four_byte_success_has_no_type():
    frame = frames.decode(bytes(12) + bytes.fromhex("888e 01000004 03070004"))
    assert frame.eap == Eap(frames.SUCCESS, 7, b"", b"")
    assert frame.eap.type == 0


@pytest.mark.parametrize("length", ["0000", "0001", "0003"])
@pytest.mark.parametrize("code", [frames.SUCCESS, frames.FAILURE])
def test_a_result_is_one_by_its_code_though_its_length_does_not_count_its_header(code, length):
    body = bytes([code, 7]) + bytes.fromhex(length) + b"words"
    eap = frames.decode_eap(body)
    assert (eap.code, eap.id, eap.data + eap.trailer) == (code, 7, b"words")
    assert frames.encode_eap(eap) == body


def test_a_trailer_beyond_the_eapol_length_is_kept():
    raw = bytes(12) + bytes.fromhex("888e 01000009 02070009 01 616c6963 ffff3777 aa")
    assert frames.decode(raw).eap == Eap(2, 7, b"\1alic", bytes.fromhex("ffff3777aa"))


@pytest.mark.parametrize(
    "body", ["", "0301", "01070003", "01070004", "0a07000901", "01070009016162", "0007000501"]
)
def test_lying_lengths_and_codes_make_no_eap(body):
    assert frames.decode_eap(bytes.fromhex(body)) is None


@pytest.mark.parametrize(
    "raw", [b"", bytes(14), bytes(12) + b"\x88\x8e\1", bytes(12) + b"\x81\0\0\1\x88\x8e\1"]
)
def test_what_is_cut_short_is_junk(raw):
    assert frames.decode(raw) == Junk(raw)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b"short", bytes(6), b"", 1, 0, 0, b""),
        Frame(bytes(6), bytes(6), b"\x81\0\1", 1, 0, 0, b""),
        Frame(bytes(6), bytes(6), b"\x08\0\1\1", 1, 0, 0, b""),
        Frame(bytes(6), bytes(6), b"", 256, 0, 0, b""),
        Frame(bytes(6), bytes(6), b"", 1, 0, 65536, b""),
    ],
)
def test_what_does_not_fit_is_refused(frame):
    with pytest.raises(FrameError):
        frames.encode(frame)


def test_built_frames_are_padded_and_count_only_the_body():
    raw = frames.build(frames.PAE_GROUP, bytes(6), frames.EAP, b"\2\1\0\5\1", beyond=b"trailer")
    frame = frames.decode(raw)
    assert len(raw) == 60
    assert frame.length == 5
    assert frame.eap.trailer.startswith(b"trailer")


def test_addresses_as_text():
    assert frames.mac_text(frames.mac_bytes("00:1A-a9:00:00:01")) == "00:1a:a9:00:00:01"
    with pytest.raises(FrameError, match="00:11:22:33:44:55"):
        frames.mac_bytes("nonsense")
