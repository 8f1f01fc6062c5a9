"""Where settings come from: flags first, then the file, then the defaults. One table names them all.

- The file is `name = value` lines, read by the standard library's configparser, with `#` comments and one
  `[section]` per WAN/LAN pair; what stands above the first section holds for all of them.
- Quotes around a whole value are allowed, so that a flat TOML file reads the same. A hook's command is the shell's:
  what it quotes and comments stays as it is.
- A setting that stands where it has no meaning is an error, never ignored.
"""

from __future__ import annotations

import os
import stat

from shoestring.relay.frames import FrameError, mac_bytes
from shoestring.relay.settings.options import Option, convert
from shoestring.relay.settings.settings import (
    EVENTS,
    KEEPALIVES,
    LOGOFFS,
    PASSWORD,
    PAYLOADS,
    STARTS,
    Pair,
    Process,
    SettingError,
    Settings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # `collections` takes 0.5 MB
    from collections.abc import Callable

LARGEST = 1 << 20  # bytes of a settings file
ABOVE, NOWHERE = "above the first section", "\0"  # configparser wants a name for every place

PAIR_OPTIONS = {
    "keepalive": Option(str, "what may keep the session alive (auto)", tuple(KEEPALIVES)),
    "echo_interval": Option(float, "seconds between Ruijie echoes (learned from the PC, else 30)"),
    "successes": Option(int, "logins that make one session; 2 for double authentication (1)"),
    "logoff": Option(str, "what happens to the PC's goodbye (drop)", LOGOFFS),
    "logoff_on_exit": Option(bool, "end the session when the relay stops"),
    "keep_source": Option(bool, "show the PC the switch's own address instead of the router's"),
    "payload": Option(str, "rewrite MAC, or MAC and addresses, inside the vendor's trailer (off)", PAYLOADS),
    "starts": Option(
        str, "whose Start is passed on while on line: the PC that logged in, none, all (pc)", STARTS
    ),
    "client": Option(str, "address of the only PC that may log in", metavar="MAC"),
    "client_timeout": Option(float, "seconds of silence after which another PC may log in (30)"),
    "identity": Option(str, "user name, to log in without any PC; wins over what a PC says"),
    "password_file": Option(str, f"file of mode 0600 with the password for EAP-MD5; or ${PASSWORD}"),
    "no_relogin": Option(bool, "do not log in again by ourselves after a failure"),
}
PROCESS_OPTIONS = {
    "socket": Option(str, "status socket (/run/shoestring-relay.sock)"),
    "log": Option(str, "where lines go (stderr)", ("stderr", "syslog")),
    "level": Option(str, "least level of them (info)", ("debug", "info", "warning")),
    "frames": Option(int, "how many of the last frames to remember (256)"),
    "state": Option(str, "file of mode 0600 with what a restart needs to keep the session", metavar="FILE"),
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
    path: str | None,
    flags: dict[str, object],
    pairs: list[tuple[str, str]],
    understand: Callable[[str], tuple[dict, list]] | None = None,
) -> tuple[list[Pair], Process]:
    """Returns what to relay and how.

    Args:
        path: of the settings file, or None.
        flags: values of `OPTIONS` from the command line; they win over the file.
        pairs: (WAN, LAN) from the command line; where there are none, the file's.
        understand: what reads the file's text; None is `parse`.

    Raises:
        SettingError: a value is not allowed, or there is nothing to relay.
        OSError: a file cannot be read.
    """
    common, sections = (understand or parse)(_text(path)) if path else ({}, [])
    if pairs:  # of the file's sections, those of the same WAN say how
        named = {section.get("wan"): section for section in sections}
        sections = [{**named.get(wan, {}), "wan": wan, "lan": lan} for wan, lan in pairs]
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
        SettingError: a line cannot be understood, or stands where it has no meaning.
        UsageError: a value is not allowed.
    """
    first, *rest = read_ini(text)
    common = _values(first, {*OPTIONS} - {"wan", "lan"} if rest else {*OPTIONS})
    return common, [_values(section, {*OPTIONS} - {*PROCESS_OPTIONS}) for section in rest]


def read_ini(text: str) -> list[tuple[str, dict[str, str]]]:
    """Returns (name, settings) of each section; the first is what stands above them all.

    Raises:
        SettingError: a line is no setting, or stands there twice.
    """
    import configparser

    parser = configparser.RawConfigParser(
        delimiters=("=",), default_section=NOWHERE, empty_lines_in_values=False, strict=True
    )
    try:
        parser.read_string(f"[{ABOVE}]\n{text}", "the file")
    except configparser.Error as error:
        raise SettingError(_explain(error, text)) from None
    return [(name, dict(parser[name])) for name in parser.sections()]


def _explain(error: Exception, text: str) -> str:
    """Returns what configparser found wrong as one line, with the line's number in the file."""
    number = getattr(error, "lineno", None)
    if number is None:
        number = error.errors[0][0] if getattr(error, "errors", None) else 1
    lines = text.splitlines()
    line = lines[number - 2].strip()[:60] if 2 <= number < len(lines) + 2 else ""
    twice = (
        "; it stands there twice" if "already exists" in str(error) else f"; allowed: {', '.join(OPTIONS)}"
    )
    return f"line {number - 1}: {line!r}{twice}"


def _values(section: tuple[str, dict[str, str]], allowed: set[str]) -> dict[str, object]:
    name, settings = section
    where = "above the first section" if name == ABOVE else f"[{name}]"
    found = {}
    for written, text in settings.items():
        key = written.replace("-", "_")
        if key in found:
            raise SettingError(f"{where}: {written!r} stands there twice")
        if key not in OPTIONS:
            raise SettingError(
                f"{where}: {key!r}; allowed: {', '.join(name for name in OPTIONS if name in allowed)}"
            )
        if key not in allowed:
            raise SettingError(f"{where}: {key} has no meaning here; {_PLACE[key in PROCESS_OPTIONS]}")
        option = OPTIONS[key]
        found[key] = convert(
            f"{where}: {key}", option, _unquoted(f"{where}: {key}", text, key in HOOK_OPTIONS)
        )
    return found


_PLACE = {
    True: "it holds for the whole process: put it above the first section",
    False: "every section has its own",
}


def _unquoted(name: str, text: str, command: bool) -> str:
    """Returns a value without the quotes around all of it, and, unless it is a command, without its comment."""
    if "\n" in text and (not command or any(_is_setting(line) for line in text.splitlines()[1:])):
        raise SettingError(
            f"{name}: goes on over indented lines: {text[:60]!r}; begin each setting at the margin"
        )
    quote = text[:1] if text[:1] in ("'", '"') else ""
    if command:  # for the shell, which knows quotes and comments itself
        whole = bool(quote) and len(text) > 1 and text.find(quote, 1) == len(text) - 1
        return text[1:-1] if whole else text
    if not quote:
        return text.replace("\t#", " #").partition(" #")[0].rstrip()
    value, end, rest = text[1:].partition(quote)
    if not end or (rest.strip() and not rest.strip().startswith("#")):
        raise SettingError(f"{name}: {text[:60]}; one pair of quotes around the whole value, or none")
    return value


def _is_setting(line: str) -> bool:
    return line.partition("=")[0].strip().replace("-", "_") in OPTIONS


def _pair(values: dict[str, object]) -> Pair:
    for name in ("wan", "lan"):
        if name not in values:
            raise SettingError(f"a section without {name} = INTERFACE")
    kept = {name: values[name] for name in Settings._fields if name in values}
    if values.get("client") is not None:
        try:
            kept["client"] = mac_bytes(str(values["client"]))
        except FrameError as error:
            raise SettingError(f"client: {error}") from None
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
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(LARGEST + 1)
    except UnicodeDecodeError:
        raise SettingError(f"{path}: not UTF-8; save it so") from None
    if len(text) > LARGEST:
        raise SettingError(f"{path}: longer than {LARGEST} bytes; that is no settings file")
    return text
