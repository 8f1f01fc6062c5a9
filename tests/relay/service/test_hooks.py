"""Hooks get their values, hold nothing up and die like any child; the log names events without flooding."""

import time

from shoestring.relay.service import hooks
from shoestring.relay.service.journal import BURST, Journal


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


def test_hooks_of_a_pair_run_in_order_and_another_pairs_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = hooks.Hooks()
    runner.run("sleep 0.3; echo success >> out", {}, "a")
    runner.run("echo offline >> out", {}, "a")
    runner.run("echo other >> out", {}, "b")
    finish(runner)
    assert (tmp_path / "out").read_text().split() == ["other", "success", "offline"]


def test_a_hook_that_hangs_holds_up_the_next_only_so_long(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hooks, "PATIENCE", 0.1)
    runner = hooks.Hooks()
    runner.run("sleep 1", {}, "a")
    runner.run("echo next > out", {}, "a")
    assert runner.deadline is not None
    lines = finish(runner)
    assert any("still runs" in line for line in lines)
    assert (tmp_path / "out").read_text() == "next\n"


def test_a_hook_dies_of_a_broken_pipe_like_any_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = hooks.Hooks()
    runner.run("(yes; echo $? > status) | head -1 > /dev/null; sleep 0.1", {})
    finish(runner)
    assert (tmp_path / "status").read_text().strip() == "141"


def test_one_pairs_noise_hides_no_warning_of_its_own_or_another(capsys):
    journal = Journal()
    for number in range(1000):
        journal.say("noisy", "info", f"line {number}")
    journal.say("noisy", "warning", "off line")
    journal.say("other", "info", "on line")
    text = capsys.readouterr().err
    assert "noisy: off line" in text
    assert "other: on line" in text
