"""Log lines reach a real datagram socket as syslog has it, and stderr while nobody listens there."""

import os
import socket

import pytest

from shoestring.relay.service import journal


@pytest.fixture
def syslogd(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SYSLOG", str(tmp_path / "log"))

    def listen() -> socket.socket:
        (tmp_path / "log").unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(str(tmp_path / "log"))
        server.settimeout(5)
        return server

    return listen


def test_a_line_has_priority_name_and_process(syslogd):
    with syslogd() as server:
        journal.Journal("syslog").say("eth0<>br-lan", "warning", "the switch refused: 密码错误\n<0>forged")
        priority = 3 * 8 + 4  # daemon, warning: RFC 3164, 4.1.1
        text = server.recv(4096).decode()
    assert text.startswith(f"<{priority}>shoestring-relay[{os.getpid()}]: eth0<>br-lan: the switch refused")
    assert "\n" not in text


def test_stderr_takes_over_while_syslogd_is_away(syslogd, capsys):
    log = journal.Journal("syslog")
    log.say("pair", "info", "before it starts")
    with syslogd() as server:
        log.say("pair", "info", "while it runs")
        assert server.recv(4096).endswith(b"while it runs")
    log.say("pair", "info", "after it ended")
    heard = capsys.readouterr().err
    assert "before it starts" in heard
    assert "while it runs" not in heard
    assert "after it ended" in heard


def test_no_line_is_lost_when_syslogd_is_restarted(syslogd):
    with syslogd() as server:
        log = journal.Journal("syslog")
        log.say("pair", "info", "one")
        assert server.recv(4096).endswith(b"one")
    with syslogd() as server:
        log.say("pair", "info", "two")
        assert server.recv(4096).endswith(b"two")


def test_less_important_lines_are_left_out(syslogd):
    with syslogd() as server:
        log = journal.Journal("syslog", level="info")
        log.say("pair", "debug", "small talk")
        log.say("pair", "info", "news")
        assert server.recv(4096).endswith(b"news")
