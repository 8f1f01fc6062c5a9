"""Where settings come from: flags first, then the file, then the defaults. One table names them all.

The file is `name = value` lines, with `#` comments and one `[section]` per WAN/LAN pair; what stands above
the first
section holds for all of them. Quotes around a value are allowed, so that a flat TOML file reads the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from shoestring.relay.settings.options import Option, convert
from shoestring.relay.settings.settings import (
    EVENTS,
    KEEPALIVES,
    LOGOFFS,
    PASSWORD,
    PAYLOADS,
    Pair,
    Process,
    SettingError,
    Settings,
)

LARGEST = 1 << 20  # bytes of a settings file


PAIR_OPTIONS = {
    "keepalive": Option(str, "what may keep the session alive (auto)", tuple(KEEPALIVES)),
    "echo_interval": Option(float, "seconds between Ruijie echoes (learned from the PC, else 30)"),
    "successes": Option(int, "logins that make one session; 2 for double authentication (1)"),
    "logoff": Option(str, "what happens to the PC's goodbye (drop)", LOGOFFS),
    "logoff_on_exit": Option(bool, "end the session when the relay stops"),
    "keep_source": Option(bool, "show the PC the switch's own address instead of the router's"),
    "payload": Option(str, "rewrite MAC, or MAC and addresses, inside the vendor's trailer (off)", PAYLOADS),
    "client_timeout": Option(float, "seconds of silence after which another PC may log in (30)"),
    "identity": Option(str, "user name, to log in without any PC"),
    "password_file": Option(str, f"file of mode 0600 with the password for EAP-MD5; or ${PASSWORD}"),
    "no_relogin": Option(bool, "do not log in again by ourselves after a failure"),
}
PROCESS_OPTIONS = {
    "socket": Option(str, "status socket (/run/shoestring-relay.sock)"),
    "log": Option(str, "where lines go (stderr)", ("stderr", "syslog")),
    "level": Option(str, "least level of them (info)", ("debug", "info", "warning")),
    "frames": Option(int, "how many of the last frames to remember (256)"),
    "user": Option(str, "become this user once the sockets are open"),
}
HOOK_OPTIONS = {f"on_{event}": Option(str, f"command on {event}") for event in EVENTS}
OPTIONS = {
    "wan": Option(str, "interface towards the switch"),
    "lan": Option(str, "interface or bridge towards the PC"),
    **PAIR_OPTIONS,
    **PROCESS_OPTIONS,
    **HOOK_OPTIONS,
}


def plan(
    path: str | None, flags: Mapping[str, object], pairs: list[tuple[str, str]]
) -> tuple[list[Pair], Process]:
    """Returns what to relay and how.

    Args:
        path: of the settings file, or None.
        flags: values of `OPTIONS` from the command line; they win over the file.
        pairs: (WAN, LAN) from the command line; where there are none, the file's.

    Raises:
        SettingError: a value is not allowed, or there is nothing to relay.
        OSError: a file cannot be read.
    """
    common, sections = parse(_text(path)) if path else ({}, [])
    if pairs:
        sections = [{"wan": wan, "lan": lan} for wan, lan in pairs]
    elif not sections and "wan" in common and "lan" in common:
        sections = [{}]
    if not sections:
        raise SettingError("nothing to relay; type: relay run --wan eth0 --lan br-lan")
    made = [_pair({**common, **section, **flags}) for section in sections]
    if len({pair.wan for pair in made}) < len(made):
        raise SettingError("the same --wan twice; every pair has its own")
    shared = {**common, **flags}
    return made, Process(**{name: shared[name] for name in PROCESS_OPTIONS if name in shared})


def parse(text: str) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Returns what holds for all pairs, and what each section says.

    >>> parse("log = syslog\\n[campus]\\nwan = 'eth0'\\nlan = br-lan  # the bridge")
    ({'log': 'syslog'}, [{'wan': 'eth0', 'lan': 'br-lan'}])

    Raises:
        SettingError: a line cannot be understood.
        UsageError: a value is not allowed.
    """
    common: dict[str, object] = {}
    sections: list[dict[str, object]] = []
    current = common
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line.partition("#")[0].rstrip()[-1] == "]":
            current = {}
            sections.append(current)
            continue
        name, equals, value = line.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in OPTIONS:
            raise SettingError(f"line {number}: {line[:60]!r}; allowed: {', '.join(OPTIONS)}")
        current[name] = convert(f"line {number}: {name}", OPTIONS[name], _unquote(value.strip()))
    return common, sections


def _unquote(value: str) -> str:
    if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
        return value[1 : value.find(value[0], 1)]
    return value.partition(" #")[0].rstrip()


def _pair(values: Mapping[str, object]) -> Pair:
    for name in ("wan", "lan"):
        if name not in values:
            raise SettingError(f"a section without {name} = INTERFACE")
    kept = {name: values[name] for name in Settings._fields if name in values}
    identity = values.get("identity")
    if isinstance(identity, str):
        kept["identity"] = identity.encode()
    kept["password"] = password_of(values.get("password_file"))
    kept["rewrite_source"] = not values.get("keep_source", False)
    kept["relogin"] = not values.get("no_relogin", False)
    hooks = {event: values[f"on_{event}"] for event in EVENTS if values.get(f"on_{event}")}
    return Pair(values["wan"], values["lan"], Settings(**kept), hooks, bool(values.get("logoff_on_exit")))


def password_of(path: object) -> bytes | None:
    """Returns the password of the file, else of the environment, else None.

    Raises:
        SettingError: others may read the file, or it is empty.
        OSError: it cannot be read.
    """
    if path is None:
        return os.environb.get(PASSWORD.encode())
    with open(str(path), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingError(f"{path}: mode {mode & 0o777:o}, others may read it; type: chmod 600 {path}")
        password = file.readline(1024).rstrip(b"\r\n")
    if not password:
        raise SettingError(f"{path}: empty; its first line is the password")
    return password


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise SettingError(f"{path}: longer than {LARGEST} bytes; that is no settings file")
    return text
