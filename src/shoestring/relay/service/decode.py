"""A frame as fields, and as one readable line, with every known vendor's data. Hashes are shown by length alone."""

from __future__ import annotations

import time
from binascii import crc32
from collections.abc import Iterable, Iterator

from shoestring.relay import frames
from shoestring.relay.frames import IDENTITY, MD5, NOTIFICATION, REQUEST, Eap, Frame, Junk
from shoestring.relay.vendors import dialects, ruijie
from shoestring.relay.vendors.texts import readable

TYPES = {0: "EAP", 1: "Start", 2: "Logoff", 3: "Key", 4: "Alert", 5: "MKA", 0xBF: "Ruijie echo"}
CODES = {1: "Request", 2: "Response", 3: "Success", 4: "Failure", 5: "Initiate", 6: "Finish"}
METHODS = {
    1: "Identity", 2: "Notification", 3: "Nak", 4: "MD5", 6: "GTC", 7: "password in clear", 13: "TLS", 17: "LEAP",
    18: "SIM", 20: "on-line question", 21: "TTLS", 23: "AKA", 25: "PEAP", 26: "MSCHAPv2", 43: "FAST", 50: "AKA'",
    52: "PWD", 55: "TEAP", 254: "Expanded",
}  # fmt: skip
GROUPS = {
    frames.PAE_GROUP: "PAE-group",
    frames.RUIJIE_GROUP: "Ruijie-group",
    b"\xff" * 6: "broadcast",
    bytes(6): "unknown",
}
FCS = 4  # bytes of the checksum that some cards deliver


def lines(records: Iterable[tuple[float, bytes, int]]) -> Iterator[str]:
    """Yields a line for each (seconds since 1970, frame, bytes that it had on the wire)."""
    for when, raw, size in records:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        yield f"{clock}.{round(when % 1 * 1e6) % 1_000_000:06d} {line(raw, size)}"


def line(raw: bytes, size: int | None = None) -> str:
    """Returns one frame in words.

    >>> line(frames.build(frames.PAE_GROUP, bytes(6), frames.START))
    '00:00:00:00:00:00 > PAE-group Start v1'
    """
    found = describe(raw, size)
    if "eapol" not in found:
        return f"not EAPOL, {len(raw)} bytes: {raw[:20].hex()}"
    parts = [
        f"{found['source']} > {found['destination']}",
        *(f"vlan {vlan}" for vlan in found.get("vlan", ())),
    ]
    parts += [_packet(found), f"v{found['version']}"]
    vendor = found.get("vendor")
    if vendor is not None:
        parts.append(f"| {vendor['name']}")
        parts += [f"| {field['name']}: {field['value']}" for field in vendor["fields"]]
    if "more" in found:
        parts.append(f"| {found['more']['bytes']} more bytes {found['more']['hex']}")
    if "fcs" in found:
        parts.append(f"| FCS {found['fcs']['hex']} {'ok' if found['fcs']['ok'] else 'or the like'}")
    if "cut" in found:
        parts.append(f"| cut at {found['cut']['at']} bytes of {found['cut']['of']}")
    return " ".join(parts)


def _packet(found: dict) -> str:
    eap = found.get("eap")
    if eap is None:
        broken = f" broken EAP {found['broken']}" if "broken" in found else ""
        return found["eapol"] + broken
    words = f"{eap['code']} id {eap['id']}"
    if "method" in eap:
        words += f" {eap['method']}"
    if "challenge" in eap or "answer" in eap:
        kind = "challenge" if "challenge" in eap else "answer"
        words += f" {kind} of {eap[kind]} bytes"
    if "user" in eap:
        words += f" {eap['user']!r}"
    if "text" in eap:
        words += f" {eap['text']!r}"
    if "name" in eap:
        words += f", name {eap['name']!r}"
    return words + (f" {eap['bytes']} bytes" if "bytes" in eap else "")


def describe(raw: bytes, size: int | None = None) -> dict:
    """Returns a frame's fields, ready for JSON; a field that the frame has not got is left out.

    Args:
        raw: the frame, Ethernet header first.
        size: bytes that it had on the wire; None takes those of `raw`.
    """
    frame = frames.decode(raw)
    found: dict = {"bytes": len(raw)}
    missing = max(0, (size or 0) - len(raw), _missing(frame))
    if missing:
        found["cut"] = {"at": len(raw), "of": len(raw) + missing}
    if isinstance(frame, Junk):
        return {**found, "not_eapol": raw[:20].hex()}
    found.update(
        {
            "source": frames.mac_text(frame.src),
            "destination": GROUPS.get(frame.dst) or frames.mac_text(frame.dst),
            "version": frame.version,
            "eapol": TYPES.get(frame.type, f"EAPOL type {frame.type:#04x}"),
            "eapol_length": frame.length,
        }
    )
    if frame.tags:
        tags = [frame.tags[at + 2] << 8 | frame.tags[at + 3] for at in range(0, len(frame.tags), 4)]
        found["vlan"] = [tag & 0xFFF for tag in tags]
        found["priority"] = [tag >> 13 for tag in tags]
    private = dialects.private(frame)
    _add_eap(found, frame)
    if private is not None:
        fields = [{"name": name, "value": value} for name, value in private.fields]
        found["vendor"] = {"name": private.vendor, "fields": fields}
    _add_rest(found, frame, raw, private is not None and private.vendor == "ruijie")
    return found


def _missing(frame: Frame | Junk) -> int:
    """Bytes that the lengths within the frame claim and it has not got."""
    if isinstance(frame, Junk) or frame.type == frames.ECHO:  # an echo's length is always wrong
        return 0
    claimed = frame.length
    if frame.type == frames.EAP and len(frame.body) >= 4:
        claimed = max(claimed, frame.body[2] << 8 | frame.body[3])
    return max(0, claimed - len(frame.body))


def _add_eap(found: dict, frame: Frame) -> None:
    eap = frame.eap
    if eap is None:
        if frame.type == frames.EAP:
            found["broken"] = frame.body[:8].hex()
        return
    entry: dict = {
        "code": CODES.get(eap.code, f"EAP code {eap.code}"),
        "id": eap.id,
        "length": 4 + len(eap.data) + eap.missing,
    }
    if eap.type:
        entry["type"] = eap.type
        entry["method"] = METHODS.get(eap.type, f"EAP type {eap.type}")
        entry.update(_method(eap))
    elif eap.code > frames.FAILURE:
        entry["bytes"] = len(eap.data)
    found["eap"] = entry


def _method(eap: Eap) -> dict:
    data = eap.data[1:]
    if eap.type == IDENTITY and eap.code == REQUEST:
        return {"text": readable(data)} if data else {}
    if eap.type == IDENTITY:
        return {"user": readable(dialects.user(data))}
    if eap.type == NOTIFICATION:
        return {"text": readable(data)} if data and eap.code == REQUEST else {"bytes": len(data)}
    if eap.type == MD5 and data:
        kind = "challenge" if eap.code == REQUEST else "answer"
        name = dialects.user(data[1 + data[0] :].split(ruijie.MAGIC)[0])
        named = name and min(name) >= 0x20  # some put other things where EAP-MD5 has its name
        return {kind: data[0], **({"name": readable(name)} if named else {})}
    return {"bytes": len(data)} if data else {}


def _add_rest(found: dict, frame: Frame, raw: bytes, explained: bool) -> None:
    """Says what follows the packet: a checksum, or bytes that nobody explains."""
    eap = frame.eap
    rest = frame.body[frame.length :] if eap is None else eap.trailer
    if len(rest) < FCS or not any(rest) or frame.type == frames.ECHO:
        return
    ok = crc32(raw[:-FCS]).to_bytes(4, "little") == raw[-FCS:]
    if ok or (
        not any(rest[:-FCS]) and len(rest) > FCS and any(rest[-FCS:]) and len(raw) >= frames.SHORTEST + FCS
    ):
        found["fcs"] = {"hex": raw[-FCS:].hex(), "ok": ok}
        rest = rest[:-FCS]
    if any(rest) and not explained:
        shown = rest.rstrip(b"\0")
        found["more"] = {"bytes": len(rest), "hex": shown[:16].hex()}
