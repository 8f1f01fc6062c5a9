"""A simulated month: no session lost, no echo late, no handshake missed, whatever the switch."""

import pytest

from shoestring.relay.lab.pc import Pc
from shoestring.relay.lab.simulate import LAN_MAC, WAN_MAC, Trouble, World, soak
from shoestring.relay.lab.switch import Rules
from shoestring.relay.session.session import Session
from shoestring.relay.settings.settings import Settings

DAYS = 30
VARIANTS = {
    "ruijie, long success": (Rules(), Settings()),
    "ruijie, another layout": (Rules(layout="minieap-18"), Settings()),
    "ruijie, bare success": (Rules(layout="sysu"), Settings()),
    "ruijie, short alive time": (Rules(alive=60.0), Settings()),
    "ruijie, reauthentication": (Rules(reauth=7200.0), Settings(password=b"secret")),
    "ruijie, to the group": (Rules(group=True), Settings()),
    "h3c": (Rules(dialect="h3c", handshake=60.0), Settings()),
    "plain": (Rules(dialect="plain"), Settings()),
    "plain, reauthentication": (Rules(dialect="plain", reauth=3600.0), Settings(password=b"secret")),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_month_without_the_pc(variant):
    rules, settings = VARIANTS[variant]
    result = soak(DAYS, rules, settings, seed=7)
    assert result.online
    assert (result.lost, result.late) == (0, 0)
    if rules.dialect == "ruijie" and rules.layout != "sysu":
        assert result.echoes > DAYS * 86400 / 31
        assert result.longest_gap <= 31
    if rules.dialect == "h3c":
        assert result.handshakes >= DAYS * 86400 / rules.handshake - 2
    if rules.reauth:
        assert result.reauths >= DAYS * 86400 / rules.reauth - 2


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("dialect", ["plain", "ruijie", "h3c"])
def test_a_year_of_reauthentications(dialect, steps):
    rules = Rules(dialect=dialect, reauth=3600.0, handshake=300.0, steps=steps)
    settings = Settings(password=b"secret", successes=steps, identity=b"student" if steps > 1 else None)
    result = soak(365, rules, settings, seed=11)
    assert result.online
    assert (result.lost, result.late) == (0, 0)
    assert result.reauths >= 365 * 24 - 2


@pytest.mark.slow
def test_a_month_of_h3cs_usual_handshakes():
    assert soak(DAYS, Rules(dialect="h3c")).online


def test_a_month_with_the_pc_coming_and_going():
    world = World(Settings(), Rules(), seed=3)
    for day in range(DAYS):
        world.switch_on()
        world.run(3 * 3600)
        world.switch_off(logoff=day % 2 == 0)
        world.run(21 * 3600)
        assert world.online
    assert world.switch.counts["lost"] == 0


def test_the_count_wraps_at_two_to_the_32nd():
    world = World(Settings(), Rules(), pc=Pc(first_number=2**32 - 100))
    world.switch_on()
    world.run(60)
    world.switch_off()
    world.run(86400)
    assert world.online
    assert world.session.echo.number < 2**31
    assert not world.switch.faults


def test_duplicated_frames_change_nothing_for_a_tolerant_switch():
    world = World(Settings(), Rules(strict=False), trouble=Trouble(duplicates=0.5))
    world.switch_on()
    world.run(86400)
    assert world.online


def test_the_same_seed_gives_the_same_month():
    assert soak(1, seed=5) == soak(1, seed=5)


def test_an_idle_session_has_no_deadline():
    assert Session(Settings(), WAN_MAC, LAN_MAC).deadline is None
