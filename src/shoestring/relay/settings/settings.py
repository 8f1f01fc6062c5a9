"""What a session and the process around it can be told; every value is checked when it is made.

Named tuples rather than dataclasses: importing `dataclasses` costs 3 MB, a quarter of what the relay may
take.
"""

from __future__ import annotations

from shoestring.relay.containers import namedtuple

PASSWORD = "RELAY_PASSWORD"  # in the environment: for EAP-MD5
KEEPALIVES = {
    "auto": frozenset(["ruijie-echo", "identity", "md5"]),
    "ruijie-echo": frozenset(["ruijie-echo"]),
    "identity": frozenset(["identity"]),
    "md5": frozenset(["identity", "md5"]),
    "none": frozenset(),
}
PAYLOADS = ("off", "mac", "all")
LOGOFFS = ("drop", "forward")
STARTS = ("pc", "none", "all")
EVENTS = ("success", "failure", "offline", "doubt", "account")


class SettingError(ValueError):
    """A setting is out of range or contradicts another; one line for the user."""


class Settings(
    namedtuple(
        "Settings",
        "keepalive echo_interval successes logoff rewrite_source payload client_timeout "
        "identity password relogin client starts",
        defaults=("auto", None, 1, "drop", True, "off", 30.0, None, None, True, None, "pc"),
    )
):
    """How one session behaves.

    Args:
        keepalive: `auto` does all it can; a name of `KEEPALIVES` restricts it.
        echo_interval: seconds between Ruijie echoes, 5 to 300; None learns it from the PC, or takes 30.
        successes: how many logins in a row make one on-line session (2 for double authentication).
        logoff: `drop` keeps the session when the PC says goodbye, `forward` ends it.
        rewrite_source: the PC sees the router's address as the switch's.
        payload: `mac` or `all` (addresses too) also rewrites the vendor's trailer; `off` leaves it alone.
        client_timeout: seconds of silence, 2 to 3600, after which another PC may take over.
        identity: user name in bytes, for logging in without any PC; wins over what a PC says.
        password: for EAP-MD5 without the PC.
        relogin: log in again by ourselves after a failure; takes a password.
        client: the address of the only PC that may log in, 6 bytes; None takes any.
        starts: whose Start is passed on while on line: of the `pc` that logged in, of `none`, of `all`.
    """

    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        """Checks the values.

        Raises:
            SettingError: a value is not allowed.
        """
        self = super().__new__(cls, *args, **kwargs)
        _among("--keepalive", self.keepalive, KEEPALIVES)
        _among("--payload", self.payload, PAYLOADS)
        _among("--logoff", self.logoff, LOGOFFS)
        _among("--starts", self.starts, STARTS)
        _between("--successes", self.successes, 1, 9)
        _between("--client-timeout", self.client_timeout, 2, 3600)
        if self.echo_interval is not None:
            _between("--echo-interval", self.echo_interval, 5, 300)
        if self.keepalive == "md5" and self.password is None:
            raise SettingError(
                "--keepalive md5 needs --password-file FILE or RELAY_PASSWORD in the environment"
            )
        return self


class Pair(namedtuple("Pair", "wan lan settings hooks logoff_on_exit")):
    """One WAN interface, the LAN interface or bridge it serves, and how.

    Args:
        wan: name of the interface towards the switch.
        lan: name of the interface or bridge towards the PC.
        settings: the session's `Settings`.
        hooks: event of `EVENTS` -> shell command.
        logoff_on_exit: end the session on the switch when the process ends.
    """

    __slots__ = ()

    def __new__(cls, wan, lan, settings=None, hooks=None, logoff_on_exit=False):
        """Checks the names.

        Raises:
            SettingError: a name cannot be an interface's, or both are the same.
        """
        for name in (wan, lan):
            if (
                not 0 < len(name) < 16
                or "/" in name
                or any(char.isspace() for char in name)
                or name[0] == "."
            ):
                raise SettingError(
                    f"interface {name!r}: 1 to 15 characters without space or slash; see: ip link"
                )
        if wan == lan:
            raise SettingError(f"--wan {wan} --lan {lan}: the two must differ")
        return super().__new__(cls, wan, lan, settings or Settings(), hooks or {}, logoff_on_exit)


class Process(
    namedtuple(
        "Process",
        "socket log level frames user state",
        defaults=("/run/shoestring-relay.sock", "stderr", "info", 256, None, None),
    )
):
    """What all pairs of one process share.

    Args:
        socket: path of the status socket.
        log: `stderr` or `syslog`.
        level: `debug`, `info` or `warning`.
        frames: how many of the last frames to remember, 0 to 65536.
        user: whom to become once the sockets are open; None stays.
        state: file with what a restart needs to keep the sessions; None keeps nothing.
    """

    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        """Checks the values.

        Raises:
            SettingError: a value is not allowed.
        """
        self = super().__new__(cls, *args, **kwargs)
        _among("--log", self.log, ("stderr", "syslog"))
        _among("--level", self.level, ("debug", "info", "warning"))
        _between("--frames", self.frames, 0, 65536)
        if len(self.socket.encode()) > 100:
            raise SettingError(
                f"--socket {self.socket}: longer than the 100 bytes that a socket's path may have"
            )
        return self


def _among(option: str, value: str, allowed) -> None:
    if value not in allowed:
        raise SettingError(f"{option} {value}; allowed: {', '.join(allowed)}")


def _between(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingError(f"{option} {value:g}; allowed: {low} to {high}")
