"""relay.pyz on machines of other kinds, under qemu-user: a big-endian one, and a router's ARM."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from shoestring.relay.service import decode, pcap

from .field import PC, SWITCH, WAN_MAC, eap, load, names
from .service.test_process import ROOT, packed

FOLDER = ROOT / "build" / "foreign"  # filled by tools/foreign_pythons.sh
MACHINES = {"s390x": "qemu-s390x-static", "armhf": "qemu-arm-static"}
pytestmark = pytest.mark.foreign


@pytest.fixture(params=MACHINES)
def python(request) -> tuple[str, ...]:
    """The command of a foreign Python."""
    emulator, root = shutil.which(MACHINES[request.param]), FOLDER / request.param
    pythons = sorted(root.glob("usr/bin/python3.[0-9]*"))
    if emulator is None or not pythons:
        pytest.skip("not there; type: apt-get install qemu-user-static && make foreign")
    return (emulator, "-L", str(root), str(pythons[0]), "-I", "-S")


@pytest.fixture(scope="module")
def pyz(tmp_path_factory) -> Path:
    """relay.pyz for the version of the foreign Pythons; byte code is the same on every machine."""
    wanted = next((path.name for path in FOLDER.glob("*/usr/bin/python3.[0-9]*")), "python3")
    python = next(
        (path for path in (f"/usr/bin/{wanted}", shutil.which(wanted)) if path and Path(path).exists()), None
    )
    if python is None:
        pytest.skip(f"there is no {wanted} here to pack with")
    return packed(tmp_path_factory.mktemp("foreign"), python)


def test_every_frame_of_the_field_reads_the_same(python, pyz):
    frames = [load(name) for name in names()]
    data = pcap.write((float(at), raw) for at, raw in enumerate(frames))
    done = subprocess.run(
        [*python, pyz, "decode", "--json", "-"], input=data, capture_output=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [{"time": float(at), **decode.describe(raw)} for at, raw in enumerate(frames)]


SESSION = """
import json, sys
sys.path.insert(0, sys.argv[1])
from shoestring.relay.service import pcap
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Settings
session, now = Session(Settings(password=b"wonder"), b"\\2WAN-A", b"\\2LAN-B"), 0.0
for line in sys.stdin:
    side, raw = line.split()
    now += 0.7
    for effects in (session.feed(side, bytes.fromhex(raw), now), session.tick(now + 0.3)):
        for effect in effects[0]:
            print(repr(effect))
print(json.dumps(session.snapshot(now, pcap.redact)))
"""


def test_a_session_says_the_same_bytes_on_every_machine(python, pyz):
    """Echo, MD5 answers, trailers and snapshot; qemu-user has no packet sockets, so no frame is on a wire."""
    lines = []
    for name in names():
        raw = load(name)
        lines += [f"lan {(b'SWITCH' + PC + raw[12:]).hex()}", f"wan {(WAN_MAC + SWITCH + raw[12:]).hex()}"]
    challenge = eap(1, 9, bytes([4, 16]) + bytes(16))
    lines = [*lines, f"wan {challenge.hex()}", f"wan {eap(3, 9).hex()}", *lines]
    command = ["-c", SESSION, str(pyz)]
    here, there = (
        subprocess.run(
            [*who, *command], input="\n".join(lines), text=True, capture_output=True, check=True
        ).stdout
        for who in (("/usr/bin/" + Path(python[3]).name, "-I", "-S"), python)
    )
    assert there == here
    assert here.count("Send(") > 50
