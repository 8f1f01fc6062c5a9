"""Ruijie's bytes, against golden values from the field, and what must not break on others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.frames import Eap, Frame
from shoestring.relay.vendors import dialects, ruijie, ruijie_client
from shoestring.relay.vendors.digest import md5
from shoestring.relay.vendors.ruijie_client import Header
from shoestring.relay.vendors.texts import readable

HEADER = Header(1, bytes([10, 0, 0, 2]), bytes([255, 0, 0, 0]), bytes([10, 0, 0, 1]), bytes([8, 8, 8, 8]))
KEY_RECORD = bytes.fromhex("ffff3777 af7f b391ad78 ffff7fcb ff")  # of a switch in the field
PROPERTIES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=247)), max_size=12)


@given(st.binary(max_size=100))
def test_the_code_undoes_itself(data):
    assert ruijie.code(ruijie.code(data)) == data


def test_golden_echo():
    body = ruijie.echo_body(0x29526F8B, 0x2ADB)
    assert ruijie.code(body).hex() == "00001311010629529a6600001311010600002adb00001311010300"
    assert ruijie.parse_echo(body) == (0x29526F8B, 0x2ADB)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_every_echo_parses_back_also_where_the_sum_wraps(key, number):
    assert ruijie.parse_echo(ruijie.echo_body(key, number)) == (key, number)


def success(inside: bytes = b"", beyond: bytes = b"", length: int | None = None) -> Frame:
    """A Success with records within and beyond the EAP packet."""
    body = frames.encode_eap(Eap(frames.SUCCESS, 7, inside, beyond))
    return Frame(bytes(6), bytes(6), b"", 1, frames.EAP, len(body) if length is None else length, body)


def parts(record: bytes) -> bytes:
    message = "欢迎".encode("gbk")
    records = [
        b"\0" + bytes([len(message)]) + message,
        record,
        b"\1\0",
        b"\1\1" + KEY_RECORD,
        b"\x3c\6" + message,
    ]
    return b"".join(ruijie.MAGIC + part for part in records)


@pytest.mark.parametrize("record", ["6900" + "00" * 105, "0049" + "00" * 105, "6900"])
@pytest.mark.parametrize(
    "place",
    ["within EAP", "beyond EAP", "beyond EAPOL", "split", "claims more", "claims less", "claims nothing"],
)
def test_records_are_found_wherever_the_lengths_put_them(record, place):
    data = parts(bytes.fromhex(record))
    if place == "within EAP":
        frame = success(data)
    elif place == "split":
        frame = success(data[:31], data[31:])
    else:
        frame = success(beyond=data, length=4 if place == "beyond EAPOL" else None)
    if place.startswith("claims"):
        claimed = {"more": b"\xff\xff", "less": b"\0\5", "nothing": b"\0\0"}[place.split()[1]]
        frame = frame._replace(body=frame.body[:2] + claimed + frame.body[4:])
    assert dialects.keepalive(frame, frame.eap) == (0x32764AE1, 300)
    assert dialects.message(frame, frame.eap) == "欢迎"
    assert dialects.accounting(frame, frame.eap) == "欢迎"


def test_a_bare_success_has_no_key():
    assert ruijie.echo_key(b"") is None
    assert ruijie.echo_key(ruijie.MAGIC + b"\1\1") is None
    assert dialects.message(success(), success().eap) == ""


def test_crc_is_xmodem():
    assert ruijie.crc16(b"123456789") == 0x31C3


@given(PROPERTIES, st.binary(max_size=20).filter(lambda rest: rest[:1] != b"\x1a"))
def test_client_trailer_round_trip(properties, rest):
    built = ruijie_client.build_trailer(HEADER, properties)
    parsed = ruijie_client.parse_trailer(built + rest)
    assert parsed.header == HEADER
    assert [(type, data) for type, data, _ in parsed.properties] == properties
    assert (built + rest)[parsed.start :] == parsed.rest == rest


@given(st.integers(0, 22), st.integers(1, 255))
def test_a_header_with_one_wrong_byte_is_no_trailer_and_is_not_rewritten(at, change):
    built = bytearray(ruijie_client.build_trailer(HEADER, [(0x2D, bytes(6))]))
    built[at] ^= change
    assert ruijie_client.parse_trailer(bytes(built)) is None
    assert ruijie_client.rewrite(bytes(built), b"router", HEADER) == bytes(built)


@given(st.binary(max_size=600))
def test_no_bytes_break_the_parsers(data):
    for trailer in (
        data,
        ruijie.CODED_MAGIC + data,
        ruijie_client.build_header(HEADER) + ruijie.MAGIC + data,
    ):
        ruijie_client.parse_trailer(trailer)
        ruijie.echo_key(trailer)
        dialects.message(success(trailer), success(trailer).eap)
        ruijie.parse_echo(trailer)
        assert len(ruijie_client.rewrite(trailer, b"router", HEADER)) == len(trailer)


def test_rewriting_changes_mac_and_addresses_and_nothing_else():
    properties = [(0x18, b"\0\0\0\1"), (0x2D, b"\2PC-PC"), (0x39, b"internet")]
    ours = Header(0, bytes([172, 16, 0, 9]), bytes([255, 255, 0, 0]), bytes([172, 16, 0, 1]), bytes(4))
    new = ruijie_client.rewrite(ruijie_client.build_trailer(HEADER, properties) + b"\0\0", b"\2route", ours)
    expected = [(0x18, b"\0\0\0\1"), (0x2D, b"\2route"), (0x39, b"internet")]
    assert new == ruijie_client.build_trailer(ours._replace(dhcp=1), expected) + b"\0\0"


def test_password_hash_gives_the_password_back_to_who_knows_the_challenge():
    hashed = ruijie_client.password_hash(b"user", b"challenge", b"secret")
    mask = md5(b"userchallenge")
    assert bytes(a ^ b for a, b in zip(hashed, mask, strict=True)) == b"secret".ljust(16, b"\0")


def test_gbk_text_without_the_codec_names_the_package(monkeypatch):
    class Bytes(bytes):
        def decode(self, encoding="utf-8", errors="strict"):
            if encoding == "gbk":
                raise LookupError("unknown encoding: gbk")
            return super().decode(encoding, errors)

        def split(self, *arguments):
            return [Bytes(part) for part in super().split(*arguments)]

        def __getitem__(self, index):
            part = super().__getitem__(index)
            return Bytes(part) if isinstance(index, slice) else part

    text = readable(Bytes("密码 wrong".encode("gbk")))
    assert text.isascii()
    assert "wrong" in text
    assert "python3-codecs" in text


@given(st.binary(max_size=2000))
def test_messages_are_printable_and_short(data):
    text = readable(data)
    assert text.isprintable()
    assert len(text) <= 300
