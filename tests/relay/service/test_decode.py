"""Every kind of capture is read, and every frame has its words and fields, those seen in the field above all."""

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoestring.relay import frames
from shoestring.relay.service import capture, decode, pcap
from shoestring.relay.service.capture import CaptureError, read
from shoestring.relay.vendors import dialects

from ..field import eap, load, names

RECORDS = st.lists(st.tuples(st.integers(0, 2**31).map(float), st.binary(max_size=100)), max_size=5)
ETHERNET, COOKED, COOKED_2 = 1, 113, 276

# What a reader of the frame must be told; frames/README.md says how each is known.
WORDS = {
    "att-identity-request-prompt": ["Request id 1 Identity 'User Name:'"],
    "cernet-identity-response": ["Identity '200000000001'", "address: 192.0.2.56", "version: 03.02.05"],
    "drcom-md5-response": ["name '200000000001'", "address: 192.0.2.56"],
    "drcom-notification": ["Notification 'userid error3'"],
    "h3c-account-words": ["EAP code 10 id 5", "account: 您的帐户余额为4.20元 剩余上网时长100小时"],
    "h3c-response-20-token": ["token: 32 bytes", "address: 192.0.2.56", "user: 200000000001"],
    "cernet-echo": ["EAPOL type 0x06", "42 more bytes a5a5"],
    "drcom-failure-08-fcs": ["Failure id 2", "08 state: 05", "FCS 144dd784 ok"],
    "drcom-gdufs-identity-ruijie-trailer": ["Identity 'user0000001'", "program: 8021x.exe 02320000",
                                            "18 DHCP, not counted", "40 bytes"],
    "drcom-identity-response": ["'200000000001'", "address: 192.0.2.56"],
    "drcom-md5-request-fcs": ["id 0 MD5 challenge of 16 bytes v1", "extra: 10800000", "FCS 233d5f0c"],
    "h3c-code10-skeleton": ["EAP code 10 id 4 37 bytes v1 | h3c | token: 32 bytes"],
    "h3c-failure-08-lengths-differ": ["Failure id 5", "08 state: 05"],
    "h3c-failure-09-text": ["E63018: 用户不存在或者用户没有申请该服务。"],
    "h3c-identity-response-online": ["Identity '200000000001'", "address: 192.0.2.56",
                                     "version: TF4kYAQqIj8+HEMgOkpYNoRCrvQ="],
    "h3c-notification-response-0231": ["client version: CH V2.20-0231", "Windows version: 2483?1957"],
    "h3c-request-20": ["Request id 5 on-line question"],
    "h3c-response-20": ["user: 20000000000", "address: 192.0.2.56", "more bytes 31"],
    "huawei-vlan200-identity-request": ["vlan 200 Request id 96 Identity"],
    "linkage-start": ["broadcast Start", "12 more bytes 6c696e6b616765"],
    "plain-eapol-key": ["Key v1"],
    "plain-md5-response": ["MD5 answer of 16 bytes, name 'user.example'"],
    "plain-mka": ["MKA v3"],
    "plain-priority-tag-start": ["vlan 0 Start"],
    "plain-sim-request": ["Request id 16 SIM"],
    "plain-success-other-id": ["Success id 0 v1"],
    "plain-v3-start": ["Start v3"],
    "plain-vlan4091-identity-response": ["vlan 4091", "Identity 'user'"],
    "ruijie-18-success-cut": ["Success id 2", "cut at 80 bytes of 282"],
    "ruijie-58-success-in-eap": ["东校区，西校区，Sam+系统升级！", "69: 105 zeros", "01 echo key: 32764ae1",
                                 "alive: 300 s", "您当前使用的服务为学生Web包月计费"],
    "ruijie-bistu-failure-ip-binding": ["00 message: 'IP地址绑定错误!'"],
    "ruijie-bistu-success": ["请用户登陆wsus.bistu.edu.cn重新下载", "01 echo key: 0000284c", "alive: 20 s"],
    "ruijie-echo": ["key: 0000540c", "number: 0x102b"],
    "ruijie-identity-request-dirty-padding": ["Request id 1 Identity v1 | 37 more bytes"],
    "ruijie-linux-start": ["Ruijie-group Start", "6F client version: 'RG-SU For Linux V1.30'",
                           "2F password hash: empty"],
    "ruijie-linux-logoff": ["Logoff", "address: 192.0.2.8", "flag 01"],
    "ruijie-md5-request-records-inside": ["challenge of 16 bytes v1", "2E: 01",
                                          "移动宽带接入@教育网接入@联通宽带接入@电信宽带接入"],
    "ruijie-sysu-success-plain": ["Success id 3 v1 | FCS 3d9f916e"],
    "ruijie-win-md5-response": ["name '200000000001'", "program: 8021x.exe 05000300 flag 69", "联通宽带接入"],
    "ruijie-win-start": ["17 v2 checksum: '28AC238370FA2491740ECCCCCCCC3884'", "6B flag 6B: 00",
                         "4D vendor hash: 128 zeros"],
}  # fmt: skip


@pytest.mark.parametrize("name", names())
def test_every_frame_of_the_field_survives_the_round_trip_and_has_its_words(name):
    raw = load(name)
    frame = frames.decode(raw)
    assert frames.encode(frame) == raw
    assert frame.eap is None or frames.encode_eap(frame.eap) == frame.body
    line = decode.line(raw)
    for words in WORDS.get(name, []):
        assert words in line
    assert "broken" not in line


@pytest.mark.parametrize("code", [5, 6, 9, 11, 200])
def test_a_code_of_nobody_is_no_vendors(code):
    """RFC 6696 has codes 5 and 6; only 10 is H3C's."""
    assert "vendor" not in decode.describe(eap(code, 1, "您好".encode("gbk")))


@given(st.binary(min_size=32, max_size=32))
@example(b"\t" * 4 + b" " * 25 + b"\x81@\0")  # would be a word in GBK
def test_a_token_is_never_taken_for_words(token):
    for mark in (b"#D#1", b"\x19+D+5", b"\x19+D+2"):
        frame = frames.decode(eap(10, 4, mark + token))
        assert dialects.accounting(frame, frame.eap) == ""


@pytest.mark.parametrize("name", names())
def test_json_has_fields_and_no_sentence(name):
    found = json.loads(json.dumps(decode.describe(load(name))))
    assert found["bytes"] == len(load(name))
    assert isinstance(found["eapol_length"], int)
    assert all(set(field) == {"name", "value"} for field in found.get("vendor", {}).get("fields", []))


@pytest.mark.parametrize("name", names())
def test_hashes_are_shown_by_length_alone(name):
    line = decode.line(load(name))
    assert "a0a0a0a0" not in line
    assert "b0b0b0b0" not in line


@given(st.binary(max_size=400))
def test_any_bytes_have_one_printable_line(data):
    for raw in (data, bytes(12) + frames.ETHERTYPE + data, bytes(12) + b"\x88\x8e\1\0\0\x20\2" + data):
        line = decode.line(raw)
        assert "\n" not in line
        assert line.isprintable()


@given(st.sampled_from(names()), st.data())
def test_a_frame_cut_anywhere_has_a_line_that_says_so(name, data):
    raw = load(name)
    cut = data.draw(st.integers(18, len(raw)))
    line = decode.line(raw[:cut], len(raw))
    assert line.isprintable()
    assert (f"cut at {cut} bytes" in line) or cut == len(raw) or "not EAPOL" in line


# Files


@given(RECORDS)
def test_what_is_written_is_read(records):
    assert [(when, raw) for when, raw, _ in read(pcap.write(records))] == records


@pytest.mark.parametrize("order", "<>")
def test_foreign_byte_orders_and_nanoseconds_are_read(order):
    header = struct.pack(order + "IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(order + "IIII", 5, 500_000_000, 3, 9) + b"abc"
    assert list(read(header + record)) == [(5.5, b"abc", 9)]


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def pcapng(order: str, link: int, raw: bytes, resolution: bytes = b"", kind: int = 6) -> bytes:
    section = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(order, 1, struct.pack(order + "HHI", link, 0, 65535) + resolution)
    if kind == 3:
        packet = block(order, 3, struct.pack(order + "I", len(raw)) + raw)
    else:
        fields = "IIIII" if kind == 6 else "HHIIII"
        head = (0,) if kind == 6 else (0, 0)
        packet = block(
            order, kind, struct.pack(order + fields, *head, 0, 5_500_000, len(raw), len(raw) + 4) + raw
        )
    return section + interface + block(order, 0xBAD, b"unknown") + packet


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [2, 3, 6])
def test_pcapng_is_read(order, kind):
    ((when, raw, size),) = read(pcapng(order, 1, b"frame!", kind=kind))
    assert (when, raw, size) == ((0.0, b"frame!", 6) if kind == 3 else (5.5, b"frame!", 10))


@pytest.mark.parametrize(("value", "when"), [(9, 0.0055), (6, 5.5), (0x80 | 20, 5_500_000 / 2**20)])
def test_pcapngs_clocks(value, when):
    option = struct.pack("<HHBxxxHH", 9, 1, value, 0, 0)
    ((found, _, _),) = read(pcapng("<", 1, b"frame", option))
    assert found == pytest.approx(when)


@pytest.mark.parametrize(
    "name", ["ruijie-echo", "plain-vlan4091-identity-response", "ruijie-58-success-in-eap"]
)
@pytest.mark.parametrize("link", [COOKED, COOKED_2])
def test_captures_of_any_interface_are_read(name, link):
    raw = load(name)
    if link == COOKED:
        cooked = struct.pack(">HHH", 0, 1, 6) + raw[6:12] + bytes(2) + raw[12:]
    else:
        cooked = raw[12:14] + bytes(2) + struct.pack(">IHBB", 3, 1, 0, 6) + raw[6:12] + bytes(2) + raw[14:]
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    ((_, frame, size),) = read(header + struct.pack("<IIII", 1, 0, len(cooked), len(cooked)) + cooked)
    assert frame == bytes(6) + raw[6:]
    assert size == len(raw)


@given(st.binary(max_size=200))
def test_broken_files_are_an_error_not_a_crash(data):
    good = pcap.write([(1.0, b"frame")])
    ng = pcapng("<", 1, b"frame")
    for broken in (data, good[:24] + data, good[:-1], ng[:28] + data, ng + data, ng[:-3]):
        with suppress(CaptureError):
            list(read(broken))


def test_other_link_types_are_named():
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105)
    with pytest.raises(CaptureError, match="link type 105; allowed: 1"):
        list(capture.read(header))
