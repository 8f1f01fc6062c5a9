"""A relay that is killed goes on where it stood; its file tells no secret and destroys nobody's."""

import json
import os
from pathlib import Path

import pytest

from shoestring.relay import frames
from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, World
from shoestring.relay.lab.switch import Rules
from shoestring.relay.service import pcap
from shoestring.relay.service.state_file import StateError, StateFile
from shoestring.relay.session.effects import LAN, WAN, State
from shoestring.relay.session.session import Session
from shoestring.relay.session.table import Proof
from shoestring.relay.settings.settings import Settings
from shoestring.relay.vendors import ruijie

from ..field import PC, SWITCH, Desk, eap, from_switch, load

PASSWORD = Settings(password=b"secret")


def kill(world: World, path: str, pause: float) -> None:
    """kill -9: all that is left is the file; a new process begins after a pause."""
    StateFile(path).save({"pair": world.session}, world.now)
    world.run(0.0)
    data = json.loads(Path(path).read_text())
    data["saved"] -= pause  # the file's clock is the world's
    Path(path).write_text(json.dumps(data))
    world.session = Session(world.session.settings, WAN_MAC, LAN_MAC, world.now)
    world.run(pause)
    StateFile(path).restore("pair", world.session, world.now)


@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        (Rules(), Settings()),
        (Rules(reauth=900.0), PASSWORD),
        (Rules(layout="bistu", alive=20.0), Settings()),
        (Rules(dialect="h3c"), Settings()),
        (Rules(dialect="plain", reauth=900.0), PASSWORD),
    ],
    ids=["ruijie", "ruijie, reauthentication", "ruijie, alive 20", "h3c", "plain, reauthentication"],
)
def test_a_hundred_kills_lose_no_session(rules, settings, tmp_path):
    pc = Pc(rules.dialect, interval=8.0) if rules.alive < 60 else None
    world = World(settings, rules, pc)
    world.switch_on()
    world.run(70)
    world.switch_off()
    for number in range(100):
        world.run(10 + 7.3 * (number % 11))
        assert world.online
        kill(world, str(tmp_path / "state"), pause=2.0)
        assert world.session.state == State.ONLINE
    world.run(600)
    assert world.online
    assert world.switch.counts["lost"] == 0
    assert world.switch.echo_gap < 31
    assert not world.switch.faults


@pytest.mark.parametrize("success", ["ruijie-58-success-in-eap", "plain-success-other-id"])
def test_10_the_next_request_and_echo_are_answered_as_before(success, tmp_path):
    path = str(tmp_path / "state")
    before = Desk(Session(PASSWORD, WAN_MAC, LAN_MAC))
    before.login(success=from_switch(success))
    before.leave(2)
    before.until(100)
    StateFile(path).save({"pair": before.session}, 100)
    after = Desk(Session(PASSWORD, WAN_MAC, LAN_MAC, 7.0))
    StateFile(path).restore("pair", after.session, 7.0)
    (answer,) = after.feed(WAN, eap(1, 9, b"\1"), 8)
    assert answer.eap.data == b"\1alice"
    (challenged,) = after.feed(WAN, eap(1, 10, b"\4\x10" + bytes(16)), 9)
    assert challenged.eap.data[:2] == b"\4\x10"
    after.until(60)
    echoes = [frame for frame in after.to_switch() if frame.type == frames.ECHO]
    assert bool(echoes) is success.startswith("ruijie")
    if echoes:
        assert ruijie.parse_echo(echoes[0].body) == (0x32764AE1, before.session.echo.number + 1)
    assert after.session.state == State.ONLINE
    assert after.hooks == []


def test_the_file_tells_no_password_and_no_hash_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "state"
    relay = Desk(Session(Settings(password=b"wonderland", identity=b"200000000001"), WAN_MAC, LAN_MAC))
    relay.feed(LAN, frames.PAE_GROUP + PC + load("ruijie-win-start")[12:], 1)
    relay.feed(WAN, eap(1, 1, b"\1"), 1)
    relay.feed(LAN, eap(2, 1, b"\1" + b"200000000001", src=PC, dst=SWITCH), 1)
    relay.feed(WAN, eap(1, 2, b"\4\x10" + bytes(16)), 1)
    relay.feed(LAN, SWITCH + PC + load("ruijie-win-md5-response")[12:], 1)
    relay.feed(WAN, eap(1, 3, b"\7"), 1)
    relay.feed(LAN, eap(2, 3, b"\7\x0awonderland200000000001", src=PC, dst=SWITCH), 1)
    relay.feed(WAN, eap(3, 3), 1)
    StateFile(str(path)).save({"pair": relay.session}, 1)
    text = path.read_text()
    for secret in (b"wonderland", b"\xa0" * 8, b"\xb0" * 8):
        assert secret.hex() not in text
        assert secret.decode("latin-1") not in text
    assert b"200000000001".hex() in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_end_is_kept_too(tmp_path):
    path = str(tmp_path / "state")
    relay = Desk(Session(Settings(), WAN_MAC, LAN_MAC))
    file = StateFile(path)
    relay.login()
    file.save({"pair": relay.session}, relay.now)
    relay.feed(WAN, eap(4, 9), 10)
    relay.until(12)
    file.save({"pair": relay.session}, relay.now)
    again = Session(Settings(), WAN_MAC, LAN_MAC)
    assert StateFile(path).restore("pair", again, 0.0) is None
    assert again.state == State.WAITING


def test_nothing_is_written_while_nothing_changes(tmp_path):
    path = tmp_path / "state"
    relay = Desk(Session(Settings(), WAN_MAC, LAN_MAC))
    relay.login()
    file = StateFile(str(path))
    file.save({"pair": relay.session}, 1)
    path.unlink()
    file.save({"pair": relay.session}, 2)
    assert not path.exists()


@pytest.mark.parametrize("text", ["root:x:0:0", "[1]", '{"format": 99}', "\0\xff"])
def test_a_file_that_is_not_ours_is_refused_and_stays(tmp_path, text):
    path = tmp_path / "precious"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(StateError, match="not a state of this relay"):
        StateFile(str(path))
    assert path.read_text(encoding="latin-1") == text


def test_one_that_others_may_change_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_text("{}")
    path.chmod(0o622)
    with pytest.raises(StateError, match="chmod 600"):
        StateFile(str(path))
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    with pytest.raises(OSError, match="link"):
        StateFile(str(tmp_path / "link"))


@pytest.mark.parametrize(
    "broken", [{}, {"frames": 1}, {"switch": "0g"}, {"switch": ""}, {"echo": {"key": "x"}}, []]
)
def test_a_broken_entry_is_left_out_and_the_relay_begins_afresh(tmp_path, broken):
    path = tmp_path / "state"
    relay = Desk(Session(Settings(), WAN_MAC, LAN_MAC))
    relay.login(success=from_switch("ruijie-58-success-in-eap"))
    StateFile(str(path)).save({"pair": relay.session}, 1)
    whole = json.loads(path.read_text())
    good = whole["pairs"]["pair"]
    whole["pairs"]["pair"] = {**good, **broken} if broken else broken
    path.write_text(json.dumps(whole))
    session = Session(Settings(), WAN_MAC, LAN_MAC)
    assert "left out" in StateFile(str(path)).restore("pair", session, 0.0)
    assert session.machine.proof == Proof.NONE
    assert session.echo is None
    assert session.server is None


def test_a_snapshot_is_plain_values():
    relay = Desk(Session(Settings(), WAN_MAC, LAN_MAC))
    assert relay.session.snapshot(0.0, pcap.redact) is None
    relay.login(success=from_switch("ruijie-58-success-in-eap"))
    assert json.loads(json.dumps(relay.session.snapshot(1.0, pcap.redact)))["echo"]["key"] == 0x32764AE1
