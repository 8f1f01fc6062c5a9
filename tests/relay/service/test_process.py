"""Hooks, log, status socket and command line, as a user meets them; nothing here needs root."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from glob import glob
from pathlib import Path

import pytest

from shoestring.relay.commands.main import VERBS
from shoestring.relay.frames import PAE_GROUP, START, build
from shoestring.relay.service import link, pcap
from shoestring.relay.service.doctor import Bridge, Heard, advice

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "src" / "shoestring" / "relay"
# What OpenWrt packs apart from python3-light, and what costs too much memory.
UNWANTED = {
    "asyncio", "logging", "ctypes", "multiprocessing", "urllib", "email", "unittest", "sqlite3", "xml",
    "uuid",
    "decimal", "argparse", "re", "dataclasses", "inspect", "typing", "threading", "subprocess", "click",
    "rich", "numpy", "torch", "enum", "socket", "signal", "collections", "json",
}  # fmt: skip


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
    assert all(flag in done.stdout for flag in (b"--debug", b"--json", b"--quiet", b"(-q)"))


def test_status_and_doctor_take_the_flags_of_every_command(tmp_path):
    for arguments in (["status", "--socket", tmp_path / "none"], ["doctor", "--wan", "no-such-interface"]):
        done = relay(*arguments, "-q", "--json")
        assert done.returncode == 1, done.stderr
        assert relay(*arguments, "--debug").stderr.startswith(b"Traceback")


def test_a_capture_and_json_do_not_share_stdout(tmp_path):
    done = relay("status", "--socket", tmp_path / "none", "--pcap", "-", "--json")
    assert done.stderr.startswith(b"SettingError: --pcap - writes the capture to stdout")


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
        (["simulate", "--days", "nan"], 2, "relay simulate: --days nan; a number is needed"),
        (["simulate", "--days", "-1"], 2, "relay simulate: --days -1; allowed: 0.01 to 36500"),
        (["simulate", "--reauth", "inf"], 2, "relay simulate: --reauth inf; a number is needed"),
        (
            ["simulate", "--seconds", "5"],
            1,
            "SettingError: --seconds is for --interface IF; a simulation takes --days",
        ),
        (
            ["simulate", "--interface", "x", "--days", "5"],
            1,
            "SettingError: --days is for a simulation; --interface x",
        ),
        (
            ["simulate", "--interface", "x", "--seed", "0"],
            1,
            "SettingError: --seed is for a simulation; --interface x",
        ),
        (
            ["simulate", "--dialect", "plain", "--layout", "sysu"],
            1,
            "SettingError: --layout is of Ruijie's Success",
        ),
        (["doctor", "--seconds", "inf"], 2, "relay doctor: --seconds inf; a number is needed"),
        (["doctor", "--wan", "nowhere0"], 1, "SettingError: --wan nowhere0: no such interface"),
        (["decode"], 2, "relay decode: expected one FILE.pcap|-, got none"),
        (["status", "--socket", "/nowhere/socket"], 1, "StatusError: /nowhere/socket: no relay answers"),
        (["decode", "/nowhere.pcap"], 1, "FileNotFoundError: /nowhere.pcap: No such file"),
        (["decode", "-"], 1, "CaptureError: not a pcap or pcapng file: begins with nothing"),
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


def test_run_status_and_state_load_nothing_that_a_router_lacks_or_that_takes_its_memory(tmp_path):
    code = (
        "import sys; from shoestring.relay.service import daemon, state_file; "
        "from shoestring.relay.commands import run; from shoestring.relay.session.session import Session; "
        "from shoestring.relay.settings.settings import Process, Settings; "
        "run.options(); work = daemon.Daemon([], Process(socket=sys.argv[1] + '/s', state=sys.argv[1] + '/state'));"
        "work.status(); work._state.save({'a<>b': Session(Settings(), bytes(6), bytes(6))}, 0.0);"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}", str(tmp_path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert set(done.stdout.split()) & UNWANTED == set()


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_sources_parse_as_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


PYTHONS = [sys.executable, *sorted(glob(str(Path.home() / ".pyenv/versions/3.*/bin/python3.[0-9]*[0-9]")))]


def runs(python: str) -> bool:
    return (
        subprocess.run(
            [python, "-c", "import sys; sys.exit(sys.version_info < (3, 9))"], check=False
        ).returncode
        == 0
    )


@pytest.fixture(scope="module")
def one_file(tmp_path_factory) -> Path:
    """relay.pyz for this Python."""
    return packed(tmp_path_factory.mktemp("pyz"), sys.executable)


def packed(folder: Path, python: str) -> Path:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "setup.py"):
        shutil.copy(ROOT / name, folder)
    subprocess.run(["make", "-s", "relay-pyz", f"PYTHON={python}"], check=True, cwd=folder)
    return folder / "relay.pyz"


def isolated(python: str, pyz: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [python, "-I", "-S", str(pyz), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)


def test_one_file_is_small_and_has_neither_sources_nor_the_lab(one_file):
    assert one_file.stat().st_size < 150_000
    with zipfile.ZipFile(one_file) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    assert [name for name in names if name.endswith(".py")] == ["__main__.py"]
    assert not any("/lab/" in name for name in names)
    assert all(member.compress_type == zipfile.ZIP_DEFLATED for member in members if member.file_size > 100)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "simulate"])
def test_one_file_runs_isolated_and_without_site(one_file, verb):
    done = isolated(sys.executable, one_file, verb, "--help")
    assert done.returncode == 0, done.stderr
    data = pcap.write([(0.5, build(PAE_GROUP, b"\2PC-PC", START))])
    assert b"PAE-group Start" in isolated(sys.executable, one_file, "decode", "-", stdin=data).stdout


def test_what_the_one_file_lacks_is_said_in_one_line(one_file):
    done = isolated(sys.executable, one_file, "simulate")
    assert done.returncode == 1
    assert done.stderr.startswith(b"relay simulate: not in this one file; type: pip install shoestring")
    assert done.stderr.count(b"\n") == 1


def test_another_python_is_told_so_and_one_as_old_as_3_9_can_pack_it(one_file, tmp_path):
    others = [python for python in PYTHONS[1:] if runs(python)]
    other = next((python for python in others if not python.endswith(f"3.{sys.version_info[1]}")), None)
    if other is None:
        pytest.skip("there is no other Python")
    done = isolated(other, one_file, "decode", "--help")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"make relay-pyz PYTHON=" in done.stderr
    oldest = min(others, key=lambda python: int(python.rpartition(".")[2]))
    assert isolated(oldest, packed(tmp_path, oldest), "run", "--help").returncode == 0
