"""The relay between a real hostapd and a real wpa_supplicant, each in its own network namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .rig import MD5, PEAP, SOURCES, Rig

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("group", [0, 1], ids=["unicast", "group"])
@pytest.mark.parametrize("method", [MD5, PEAP], ids=["EAP-MD5", "PEAP-MSCHAPV2"])
def test_login_through_a_bridge_port(rig, method, group):
    rig.hostapd(group=group)
    rig.relay("--on", "success", 'echo "$RELAY_EVENT $RELAY_WAN $RELAY_STATE" > hook')
    rig.succeeded(rig.login(method=method))
    rig.wait(rig.online, "session")
    rig.wait((rig.folder / "hook").exists, "hook")
    rig.wait(lambda: (rig.folder / "hook").read_text() == "success wan0 online\n", "hook's text")
    assert rig.status()["ports"] == ["lan1"]


def test_login_without_a_bridge(rig):
    rig.ip("router", "link set lan1 nomaster")
    rig.hostapd()
    rig.relay(lan="lan1")
    rig.succeeded(rig.login())
    rig.wait(rig.online, "session")


def test_reauthentication_with_the_pc_gone(rig):
    rig.hostapd(reauth=3)
    rig.relay("--password-file", rig.folder / "password")
    pc = rig.login()
    rig.succeeded(pc)
    rig.stop(pc)
    rig.wait(lambda: rig.log("relay").count("authenticated again") >= 3, "third re-authentication", 25)
    assert "unauthorizing port" not in rig.log("hostapd").partition(" authorizing port")[2]
    assert rig.online()
    assert "wonder" not in rig.log("relay") + json.dumps(rig.status())


def test_reauthentication_with_the_pc(rig):
    rig.hostapd(reauth=2)
    rig.relay()
    rig.succeeded(rig.login(method=PEAP))
    rig.wait(lambda: rig.log("relay").count("authenticated again") >= 2, "second re-authentication", 15)
    assert rig.status()["counters"]["answered"] == 0


@pytest.mark.parametrize("logoff", ["drop", "forward"])
def test_logoff(rig, logoff):
    rig.hostapd()
    rig.relay("--logoff", logoff)
    rig.succeeded(rig.login())
    rig.wait(rig.online, "session")
    subprocess.run(
        ["wpa_cli", "-p", rig.folder / "pc-control", "-i", "pc0", "logoff"], check=True, capture_output=True
    )
    rig.wait(lambda: "logged off" in rig.log("relay"), "logoff")
    time.sleep(0.5)
    assert ("received EAPOL-Logoff" in rig.log("hostapd")) is (logoff == "forward")
    assert rig.online() is (logoff == "drop")


SEND_TAGGED = """
from shoestring.relay import frames
from shoestring.relay.service import link
port = link.Port()
port.bind("pc0", False)
port.send(frames.build(frames.PAE_GROUP, link.mac_of("pc0"), frames.START, tags=bytes.fromhex("81006007")))
"""


def test_a_vlan_tag_survives_with_its_priority(rig):
    command = (sys.executable, "-m", "shoestring.relay")
    rig.spawn("switch", "simulator", *command, "simulate", "--interface", "sw0", "--dialect", "plain")
    rig.relay()
    sent = 0

    def heard() -> bool:  # the simulator may not listen yet
        nonlocal sent
        sent += 1
        rig.spawn("pc", "sender", sys.executable, "-c", SEND_TAGGED).wait(10)
        time.sleep(0.1)
        return "vlan 7 Start" in rig.log("simulator")

    rig.wait(heard, "tagged Start")
    capture = subprocess.run(
        [*command, "status", "--socket", rig.folder / "socket", "--pcap", "-"],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(SOURCES)},
    ).stdout  # fmt: skip
    assert capture.count(bytes.fromhex("81006007888e0101")) == 2 * sent


def test_vlan_tags_survive_between_real_peers(rig):
    try:
        rig.ip("switch", "link add link sw0 name sw0.7 type vlan id 7")
    except subprocess.CalledProcessError:
        pytest.skip("this kernel has no VLAN interfaces")
    rig.ip("switch", "link set sw0.7 up")
    rig.ip("pc", "link add link pc0 name pc0.7 type vlan id 7")
    rig.ip("pc", "link set pc0.7 up")
    rig.hostapd("sw0.7", reauth=3)
    rig.relay("--password-file", rig.folder / "password")
    pc = rig.login(interface="pc0.7")
    rig.succeeded(pc)
    rig.stop(pc)
    rig.wait(lambda: "authenticated again" in rig.log("relay"), "tagged answer of our own", 15)


def test_link_down_and_up(rig):
    rig.hostapd()
    rig.relay("--password-file", rig.folder / "password")
    rig.succeeded(rig.login())
    rig.wait(rig.online, "session")
    rig.ip("switch", "link set sw0 down")
    rig.wait(lambda: "switch is down" in rig.log("relay"), "news of the link")
    rig.ip("switch", "link set sw0 up")
    rig.wait(lambda: "authenticated again" in rig.log("relay"), "login after the link came back", 20)
    assert rig.online()


@pytest.mark.parametrize("options", [(), ("--user", "nobody")], ids=["root", "nobody"])
def test_an_interface_deleted_and_made_again(rig, options):
    rig.folder.chmod(0o755)
    switch = rig.hostapd()
    rig.relay("--password-file", rig.folder / "password", "--starts", "all", *options)
    pc = rig.login()
    rig.succeeded(pc)
    rig.wait(rig.online, "session")
    rig.stop(switch)
    rig.ip("router", "link del wan0")
    rig.wait(lambda: "switch is down" in rig.log("relay"), "news of the interface")
    rig.cable("switch", "sw0", "router", "wan0")
    rig.hostapd()
    rig.wait(lambda: "authenticated again" in rig.log("relay"), "login by the new interface", 40)
    rig.stop(pc)
    rig.ip("router", "link del lan1")
    rig.wait(lambda: rig.status()["ports"] == [], "closed port")
    rig.cable("pc", "pc0", "router", "lan1")
    rig.ip("router", "link set lan1 master br-lan")
    rig.wait(lambda: rig.status()["ports"] == ["lan1"], "reopened port")
    rig.succeeded(rig.login())


def test_a_pc_replaced_by_another(rig):
    rig.hostapd()
    rig.relay("--client-timeout", 2, "--starts", "all")
    pc = rig.login()
    rig.succeeded(pc)
    first = rig.status()["client"]
    rig.stop(pc)
    rig.ip("pc", "link set pc0 down")
    rig.ip("pc", "link set pc0 address 02:00:00:00:00:77")
    rig.ip("pc", "link set pc0 up")
    time.sleep(2.1)
    rig.succeeded(rig.login())
    assert rig.status()["client"] == "02:00:00:00:00:77" != first
    assert rig.online()


def test_two_clients_at_once(rig):
    rig.namespace("second")
    rig.cable("second", "pc0", "router", "lan2")
    rig.ip("router", "link set lan2 master br-lan")
    rig.hostapd()
    rig.relay()
    rig.succeeded(rig.login())
    first = rig.status()["client"]
    rig.login("second")
    rig.wait(lambda: rig.status()["counters"]["strangers"] > 0, "told apart")
    assert rig.status()["client"] == first
    assert rig.online()
    assert "which is not the locked client" in rig.log("relay")


def test_several_pairs_in_one_process(rig):
    for name in ("second-switch", "second-pc"):
        rig.namespace(name)
    rig.cable("second-switch", "sw0", "router", "wan1")
    rig.cable("second-pc", "pc0", "router", "lan9")
    command = (
        sys.executable,
        "-m",
        "shoestring.relay",
        "simulate",
        "--interface",
        "sw0",
        "--dialect",
        "plain",
    )
    for where in ("switch", "second-switch"):
        secret = rig.folder / "password"
        rig.spawn(where, f"simulator-{where}", *command, "--user", "alice", "--password-file", secret)
    settings = rig.folder / "relay.conf"
    settings.write_text("level = debug\n[a]\nwan = wan0\nlan = br-lan\n[b]\nwan = wan1\nlan = lan9\n")
    run = (sys.executable, "-m", "shoestring.relay", "run", "--config", settings)
    rig.spawn("router", "relay", *run, "--socket", rig.folder / "socket")
    rig.wait(lambda: rig.log("relay").count("relaying by") == 2, "the relay")
    for where in ("pc", "second-pc"):
        rig.succeeded(rig.login(where))
    rig.wait(lambda: [pair["state"] for pair in rig.pairs()] == ["online", "online"], "both sessions")
    first, second = rig.pairs()
    assert first["client"] != second["client"]
    assert first["counters"]["strangers"] == second["counters"]["strangers"] == 0


def test_the_simulated_switch_admits_a_real_client(rig):
    secret = rig.folder / "password"
    command = (sys.executable, "-m", "shoestring.relay", "simulate", "--interface", "sw0", "--dialect", "h3c")
    rig.spawn("switch", "simulator", *command, "--user", "alice", "--password-file", secret)
    rig.relay()
    rig.succeeded(rig.login())
    rig.wait(rig.online, "session")


KILLS = [5, pytest.param(100, marks=pytest.mark.slow)]


def gone(rig: Rig) -> None:
    """A PC logs in and leaves without a word."""
    pc = rig.login()
    rig.succeeded(pc)
    rig.wait(rig.online, "session")
    rig.stop(pc)
    rig.ip("pc", "link set pc0 down")


def kill(rig: Rig, process: subprocess.Popen, *options: object) -> subprocess.Popen:
    """kill -9, and a new process that must find the session as it was."""
    process.kill()
    process.wait(10)
    process = rig.relay(*options)

    def stands() -> bool:
        try:
            return rig.online()
        except subprocess.CalledProcessError:  # it is still starting
            return False

    rig.wait(stands, "session after kill -9")
    return process


@pytest.mark.parametrize("times", KILLS)
def test_kill_9_with_the_pc_gone_loses_no_echo_of_a_strict_switch(rig, times):
    command = (sys.executable, "-m", "shoestring.relay", "simulate", "--interface", "sw0", "--user", "alice")
    rig.spawn("switch", "simulator", *command, "--password-file", rig.folder / "password")
    options = ("--state", rig.folder / "state", "--echo-interval", 5)
    relay = rig.relay(*options)
    gone(rig)
    for _ in range(times):
        time.sleep(1.3)
        relay = kill(rig, relay, *options)
    heard = rig.log("simulator").count("Ruijie echo")
    rig.wait(lambda: rig.log("simulator").count("Ruijie echo") > heard + 1, "echoes", 12)
    assert "Failure" not in rig.log("simulator")
    assert heard >= times * 1.3 / 5 - 1
    assert (rig.folder / "state").stat().st_mode & 0o777 == 0o600
    assert "wonder" not in (rig.folder / "state").read_text()


@pytest.mark.parametrize("times", KILLS)
def test_kill_9_with_the_pc_gone_loses_no_reauthentication_of_hostapd(rig, times):
    rig.hostapd(reauth=4)
    options = ("--state", rig.folder / "state", "--password-file", rig.folder / "password")
    relay = rig.relay(*options)
    gone(rig)
    for _ in range(times):
        time.sleep(1.3)
        relay = kill(rig, relay, *options)
    done = rig.log("hostapd").count("CTRL-EVENT-EAP-SUCCESS")
    rig.wait(lambda: rig.log("hostapd").count("CTRL-EVENT-EAP-SUCCESS") > done, "re-authentication", 12)
    assert "EAP-FAILURE" not in rig.log("hostapd")
    assert rig.log("hostapd").count("received EAPOL-Start") == 1


def test_more_ports_than_sockets_are_no_end_for_nobody(rig):
    rig.folder.chmod(0o755)
    relay = rig.relay("--user", "nobody")
    for number in range(2, 9):
        rig.namespace(f"pc{number}")
        rig.cable(f"pc{number}", "pc0", "router", f"lan{number}")
        rig.ip("router", f"link set lan{number} master br-lan")
    rig.wait(lambda: "user nobody may not make one" in rig.log("relay"), "warning")
    assert relay.poll() is None
    assert len(rig.status()["ports"]) == 5


def test_a_hang_up_ends_nothing(rig):
    rig.hostapd()
    relay = rig.relay()
    rig.succeeded(rig.login())
    relay.send_signal(signal.SIGHUP)
    rig.wait(lambda: "hang-up" in rig.log("relay"), "line")
    assert rig.online()


def test_the_last_frames_are_saved_without_secrets(rig):
    rig.hostapd()
    rig.relay()
    rig.succeeded(rig.login())
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    relay = [sys.executable, "-m", "shoestring.relay"]
    capture = rig.folder / "last.pcap"
    subprocess.run(
        [*relay, "status", "--socket", rig.folder / "socket", "--pcap", capture], check=True, env=environment
    )
    done = subprocess.run(
        [*relay, "decode", capture], check=True, capture_output=True, text=True, env=environment
    )
    assert capture.stat().st_mode & 0o777 == 0o600
    assert "Response id" in done.stdout
    assert "MD5 answer of 16 bytes" in done.stdout
    answers = [line for line in done.stdout.splitlines() if "MD5 answer" in line]
    assert len(answers) == 2, "as received and as sent"
    assert b"\x04\x10" + bytes(16) in capture.read_bytes()


def test_doctor_names_speakers_bridge_and_rivals(rig):
    rig.hostapd()
    command = (sys.executable, "-m", "shoestring.relay", "doctor", "--wan", "wan0", "--lan", "br-lan")
    doctor = rig.spawn("router", "doctor", *command, "--seconds", 7)
    time.sleep(1)
    rig.login()
    doctor.wait(20)
    text = rig.log("doctor")
    assert "lan1: " in text
    assert "PAE-group Start" in text
    assert "bridge br-lan (lan1) swallows the PAE group" in text
    assert "hostapd" in text
