"""Flags win over the file, the file over the defaults; what is wrong is named in one line."""

import re
import subprocess
from pathlib import Path

import pytest

from shoestring.relay.settings.apart import apart
from shoestring.relay.settings.config import OPTIONS, parse, plan
from shoestring.relay.settings.options import UsageError
from shoestring.relay.settings.settings import Pair, SettingError

FILE = """
# for all pairs
log = syslog
keepalive = "identity"
[campus]
wan = eth0
lan = br-lan          # the bridge
payload = 'mac'       # quoted, with a comment
on_success = ifup wan
echo-interval = 25
no_relogin = yes
[second]
wan = 'eth1'
lan = br-guest
keepalive = none
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "relay.conf"
    file.write_text(FILE)
    return str(file)


def test_sections_are_pairs_and_what_stands_above_holds_for_all(path):
    (campus, second), process = plan(path, {}, [])
    assert (campus.wan, campus.lan, campus.hooks) == ("eth0", "br-lan", {"success": "ifup wan"})
    assert campus.settings.keepalive == "identity"
    assert campus.settings.echo_interval == 25
    assert not campus.settings.relogin
    assert second.settings.keepalive == "none"
    assert process.log == "syslog"


def test_flags_win(path):
    pairs, process = plan(path, {"keepalive": "auto", "log": "stderr"}, [])
    assert {pair.settings.keepalive for pair in pairs} == {"auto"}
    assert process.log == "stderr"


def test_pairs_on_the_command_line_replace_the_files(path):
    pairs, _ = plan(path, {}, [("wan", "lan")])
    assert [(pair.wan, pair.settings.keepalive) for pair in pairs] == [("wan", "identity")]


def test_a_flat_file_is_one_pair(tmp_path):
    (tmp_path / "flat.toml").write_text(
        'wan = "eth0"\nlan = "br-lan"\nsuccesses = 2\nlogoff_on_exit = true\n'
    )
    (pair,), _ = plan(str(tmp_path / "flat.toml"), {}, [])
    assert (pair.settings.successes, pair.logoff_on_exit) == (2, True)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("wan eth0", "line 1: 'wan eth0'"),
        ("\nwam = eth0", "above the first section: 'wam'; allowed: wan"),
        ("keepalive = magic", "above the first section: keepalive magic; allowed: auto"),
        (
            "[a]\nwan = eth0\nlan = b\nuser = nobody",
            r"\[a\]: user has no meaning here; .* above the first section",
        ),
        ("wan = eth0\n[a]\nlan = b", "wan has no meaning here"),
        ("wan = eth0\nwan = eth1", "line 2: 'wan = eth1'; it stands there twice"),
        ("echo-interval = 9\necho_interval = 8", "stands there twice"),
        ("[a]\nwan=x\nlan=y\n[a]\nwan=z\nlan=q", "stands there twice"),
        ("wan = eth0\n  lan = br-lan", "begin each setting at the margin"),
        ("on_success = ifup wan\n  no_relogin = yes", "begin each setting at the margin"),
        ("identity = 'ali'ce", "one pair of quotes"),
        ("identity = 'alice", "one pair of quotes"),
        ("echo_interval = nan", "a number is needed"),
        ("wan = a\nlan = b\nclient = 02:00", "write it as 00:11:22:33:44:55"),
        ("successes = two", "a number is needed"),
        ("no_relogin = perhaps", "allowed: yes, no"),
        ("[a]\nwan = eth0", "a section without lan"),
        ("wan = eth0\nlan = eth0", "the two must differ"),
        ("[a]\nwan = eth0\nlan = a\n[b]\nwan = eth0\nlan = b", "the same --wan twice"),
        ("wan = ../etc\nlan = a", "interface '../etc'"),
        ("frames = 99999999\nwan = a\nlan = b", "0 to 65536"),
        ("", "relay run --wan eth0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, hint):
    (tmp_path / "relay.conf").write_text(text)
    with pytest.raises((SettingError, UsageError), match=hint) as caught:
        plan(str(tmp_path / "relay.conf"), {}, [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        '[ "$RELAY_STEP" = 1 ] && udhcpc -i "$RELAY_WAN"',
        '"/opt/my scripts/up" eth0',
        "'a b' && 'c d'",
        'logger "a # b"',
        "logger 100%",
        "echo a=b; echo c",
        "logger x # said by the shell",
    ],
)
def test_a_command_is_the_shells_from_its_first_sign_to_its_last(command):
    assert parse(f"on_success = {command}")[0]["on_success"] == command
    if '"' not in command:
        assert parse(f'on_success = "{command}"')[0]["on_success"] == command


@pytest.mark.parametrize("value", ["a#b", "a # b", "a;b", " a ", "用户", "100%"])
def test_quotes_keep_every_sign_of_a_value(value):
    assert parse(f"identity = '{value}'")[0]["identity"] == value
    assert parse(f'identity = "{value}"  # who')[0]["identity"] == value


def test_a_process_setting_above_the_sections_is_taken(tmp_path):
    (tmp_path / "conf").write_text(
        "user = nobody\nstate = /run/x\n[a]\nwan = b\nlan = c\nclient = 02:00:00:00:00:01\n"
    )
    (pair,), process = plan(str(tmp_path / "conf"), {}, [])
    assert (process.user, process.state) == ("nobody", "/run/x")
    assert pair.settings.client == bytes.fromhex("020000000001")


def test_a_pair_of_the_command_line_takes_the_section_of_its_wan(path):
    (pair,), _ = plan(path, {}, [("eth0", "lan7")])
    assert (pair.lan, pair.settings.echo_interval) == ("lan7", 25)


def test_a_password_file_that_others_may_read_is_refused(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("wonder\nsecond line\n")
    secret.chmod(0o644)
    with pytest.raises(SettingError, match="chmod 600"):
        plan(None, {"password_file": str(secret)}, [("a", "b")])
    secret.chmod(0o600)
    (pair,), _ = plan(None, {"password_file": str(secret)}, [("a", "b")])
    assert pair.settings.password == b"wonder"


def test_a_file_read_apart_gives_the_same_and_the_same_errors(path):
    assert plan(path, {}, [], apart(parse)) == plan(path, {}, [])
    for text, error in (("wam = 1", SettingError), ("frames = x", UsageError)):
        with pytest.raises(error) as here:
            parse(text)
        with pytest.raises(error) as there:
            apart(parse)(text)
        assert str(here.value) == str(there.value)


def test_the_password_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "wonder")
    (pair,), _ = plan(None, {}, [("a", "b")])
    assert pair.settings.password == b"wonder"


CONTRIB = Path(__file__).resolve().parents[3] / "contrib"


def test_contributed_settings_file_is_valid():
    (pair,), _ = plan(str(CONTRIB / "relay" / "relay.conf"), {}, [])
    assert pair == Pair("eth0", "br-lan")


UCI = """
. "$1"
config_get() { eval "$1=\\"\\$uci_$2_$3\\""; }
config_foreach() { pair campus; pair second; }
uci_relay_log=syslog
uci_relay_state=/var/run/relay.state
uci_campus_wan=eth0 uci_campus_lan=br-lan uci_campus_identity='a # b' uci_campus_no_relogin=1
uci_campus_on_success='[ "$RELAY_STEP" = 1 ] && echo "a # b"'
uci_second_wan=eth1 uci_second_lan=br-guest uci_second_successes=2
settings
"""


def test_openwrts_settings_become_ours(tmp_path):
    script = CONTRIB / "openwrt" / "shoestring-relay" / "files" / "relay.init"
    done = subprocess.run(["sh", "-ec", UCI, "sh", script], check=True, capture_output=True, text=True)
    (tmp_path / "conf").write_text(done.stdout)
    (campus, second), process = plan(str(tmp_path / "conf"), {}, [])
    assert (campus.wan, campus.lan, campus.settings.identity) == ("eth0", "br-lan", b"a # b")
    assert not campus.settings.relogin
    assert campus.hooks == {"success": '[ "$RELAY_STEP" = 1 ] && echo "a # b"'}
    assert (second.wan, second.settings.successes) == ("eth1", 2)
    assert (process.log, process.state) == ("syslog", "/var/run/relay.state")


def test_openwrts_script_knows_every_setting():
    text = (CONTRIB / "openwrt" / "shoestring-relay" / "files" / "relay.init").read_text()
    known = set(" ".join(re.findall(r'^(?:OF_PROCESS|OF_PAIR|HOOKS)="([^"]*)"', text, re.MULTILINE)).split())
    assert known == set(OPTIONS)
