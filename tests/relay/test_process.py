"""Hooks, log, status socket and command line, as a user meets them; nothing here needs root."""

import ast
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shoestring.relay.commands.main import VERBS
from shoestring.relay.frames import PAE_GROUP, START, build
from shoestring.relay.service import hooks, link, pcap, status
from shoestring.relay.service.doctor import Bridge, Heard, advice
from shoestring.relay.service.journal import BURST, Journal

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "shoestring" / "relay"
# What OpenWrt packs apart from python3-light, and what costs too much memory.
UNWANTED = {
    "asyncio", "logging", "ctypes", "multiprocessing", "urllib", "email", "unittest", "sqlite3", "xml",
    "uuid",
    "decimal", "argparse", "re", "dataclasses", "inspect", "typing", "threading", "subprocess", "click",
    "rich", "numpy", "torch",
}  # fmt: skip


# Hooks and log


def test_hooks_get_values_by_environment_and_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "wonder")
    evil = '"; touch pwned; $(touch pwned) \n`touch pwned`'
    runner = hooks.Hooks()
    monkeypatch.chdir(tmp_path)
    assert runner.run("env > out; echo $RELAY_MESSAGE", {"MESSAGE": evil, "EVENT": "success"}) is None
    finish(runner)
    text = (tmp_path / "out").read_text()
    assert 'RELAY_MESSAGE="; touch pwned; $(touch pwned) `touch pwned`\n' in text
    assert "wonder" not in text
    assert not (tmp_path / "pwned").exists()


def finish(runner: hooks.Hooks) -> list[str]:
    lines = []
    end = time.monotonic() + 10
    while runner._running and time.monotonic() < end:
        lines += runner.reap()
        time.sleep(0.01)
    return lines


def test_hooks_do_not_block_and_are_bounded():
    runner = hooks.Hooks()
    begin = time.monotonic()
    problems = [runner.run("sleep 0.5; exit 3", {}) for _ in range(hooks.MOST + 2)]
    assert time.monotonic() - begin < 0.4
    assert problems.count(None) == hooks.MOST
    assert finish(runner) == ["hook ended with 3: sleep 0.5; exit 3"] * hooks.MOST


def test_values_are_bounded():
    assert len(hooks.environment({"MESSAGE": "x" * 10_000})["RELAY_MESSAGE"]) == hooks.LONGEST


def test_a_flood_of_events_is_not_a_flood_of_lines(capsys):
    journal = Journal()
    for number in range(10_000):
        journal.say("eth0", "info", f"line {number}\nwith \x1b[31m escape")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == BURST
    assert lines[0].endswith("eth0: line 0 with [31m escape")


# Status socket


@pytest.fixture
def desk(tmp_path):
    """A desk that is attended by a thread."""
    poll = select.epoll()
    path = str(tmp_path / "socket")
    desk = status.Desk(path, poll, {b"status": lambda: b'{"pairs": []}', b"frames": lambda: bytes(3_000_000)})
    poll.register(desk.fileno(), select.EPOLLIN)
    stop = threading.Event()

    def attend():
        while not stop.is_set():
            for number, _ in poll.poll(0.02):
                if number == desk.fileno():
                    desk.welcome()
                elif desk.serves(number):
                    desk.attend(number)

    thread = threading.Thread(target=attend)
    thread.start()
    yield path
    stop.set()
    thread.join()
    desk.close()
    assert not os.path.exists(path)


def test_questions_are_answered_whole(desk):
    assert status.describe(status.ask(desk, "status")) == {"pairs": []}
    assert len(status.ask(desk, "frames")) == 3_000_000
    assert os.stat(desk).st_mode & 0o777 == 0o600


def test_silent_and_rude_visitors_do_no_harm(desk):
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for visitor in silent:
        visitor.connect(desk)
    assert status.ask(desk, "nonsense") == b""
    hasty = socket.socket(socket.AF_UNIX)
    hasty.connect(desk)
    hasty.send(b"frames\n")
    hasty.close()
    assert status.ask(desk, "status") == b'{"pairs": []}'
    for visitor in silent:
        visitor.close()


def test_a_second_relay_on_the_same_socket_is_refused(desk):
    with pytest.raises(status.StatusError, match="another relay is running"):
        status.Desk(desk, select.epoll(), {})


def test_a_dead_relays_socket_is_taken_over(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    status.Desk(path, select.epoll(), {}).close()


# Doctor


def test_the_doctor_says_what_to_do():
    heard = [Heard("lan1", "02:00:00:00:00:01", 3, "Start")]
    bridge = Bridge("br-lan", ["lan1", "wan0"], 0)
    lines = "\n".join(advice("wan0", "br-lan", heard, [bridge], [(7, "wpa_supplicant")]))
    assert "wpa_supplicant (process 7) also speaks 802.1X" in lines
    assert "ip link set wan0 nomaster" in lines
    assert "nothing heard on --wan wan0" in lines
    assert "nothing heard on --lan" not in lines
    assert advice(None, None, heard, [], []) == ["all looks well"]


def test_the_filter_jumps_within_itself():
    for at, (code, yes, no, _) in enumerate(link.FILTER):
        if code == 0x15:
            assert at + 1 + max(yes, no) < len(link.FILTER)
    assert [line[3] for line in link.FILTER[-2:]] == [0x40000, 0]


# Command line


def relay(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "shoestring.relay", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False, timeout=60)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    done = relay(verb, "--help")
    assert done.returncode == 0
    assert b"--debug" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["rum"], 2, "relay: no command 'rum'; allowed: run"),
        (["run"], 1, "SettingError: nothing to relay; type: relay run --wan eth0 --lan br-lan"),
        (["run", "--wan", "a"], 1, "SettingError: 1 --wan, 0 --lan; give them in pairs"),
        (
            ["run", "--wan", "a", "--lan", "b", "--on", "fire", "x"],
            1,
            "SettingError: --on fire; allowed: success",
        ),
        (["run", "--wam", "a"], 2, "relay run: no flag --wam; allowed: --wan --lan"),
        (["run", "--keepalive", "magic"], 2, "relay run: --keepalive magic; allowed: auto, ruijie-echo"),
        (["run", "--successes=two"], 2, "relay run: --successes two; a number is needed"),
        (["run", "--wan", "--lan", "b"], 2, "relay run: --wan needs IF"),
        (["run", "eth0"], 2, "relay run: expected flags only, got eth0"),
        (["decode"], 2, "relay decode: expected one FILE.pcap|-, got none"),
        (["status", "--socket", "/nowhere/socket"], 1, "StatusError: /nowhere/socket: no relay answers"),
        (["decode", "/nowhere.pcap"], 1, "FileNotFoundError: /nowhere.pcap: No such file"),
        (["decode", "-"], 1, "CaptureError: not a pcap file: begins with nothing"),
    ],
)
def test_errors_are_one_line(arguments, code, line):
    done = relay(*arguments)
    assert done.returncode == code
    assert done.stderr.decode().startswith(line)
    assert done.stderr.count(b"\n") == 1


def test_decode_reads_a_pipe_as_text_and_json():
    data = pcap.write([(0.5, build(PAE_GROUP, b"\2PC-PC", START))])
    assert (
        relay("decode", "-", stdin=data).stdout.decode().endswith("02:50:43:2d:50:43 > PAE-group Start v1\n")
    )
    assert json.loads(relay("decode", "-", "--json", stdin=data).stdout)["bytes"] == 60


def test_simulate_prints_a_day(shoestring):
    done = shoestring("relay", "simulate", "--days", "1", "--json")
    result = json.loads(done.stdout)
    assert result["online"] is True
    assert result["lost"] == result["late"] == 0


def test_run_loads_nothing_that_a_bare_router_lacks():
    code = (
        "import sys; from shoestring.relay import command, daemon; command._run_options();"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert set(done.stdout.split()) & UNWANTED == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_sources_parse_as_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def old_python() -> str | None:
    found = shutil.which("python3.9")
    return (
        found
        if found and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0
        else None
    )


@pytest.mark.parametrize("python", [sys.executable, old_python()], ids=["this", "3.9"])
def test_one_file_runs_isolated_and_without_site(tmp_path, python):
    if python is None:
        pytest.skip("there is no python3.9")
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", copy)
    subprocess.run(["make", "-s", "relay-pyz", f"PYTHON={sys.executable}"], check=True, cwd=copy)
    command = [python, "-I", "-S", copy / "relay.pyz", "simulate", "--days", "0.1", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert json.loads(done.stdout)["online"] is True
