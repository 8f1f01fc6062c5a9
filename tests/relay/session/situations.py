"""A router, its PC and its switch on a simulated clock, and frames by hand."""

from shoestring.relay import frames
from shoestring.relay.frames import PAE_GROUP, START, Eap
from shoestring.relay.lab.simulate import WAN_MAC, World
from shoestring.relay.lab.switch import Rules
from shoestring.relay.session.effects import Send
from shoestring.relay.settings.settings import Settings

RUIJIE, PLAIN, H3C = Rules(), Rules(dialect="plain"), Rules(dialect="h3c")
SWITCH, PC, OTHER = b"\0SWTCH", b"\2PC-PC", b"\2OTHER"
PASSWORD, USUAL = Settings(password=b"secret"), Settings()


def logged_in(settings=USUAL, rules=RUIJIE, **more) -> World:
    world = World(settings, rules, **more)
    world.switch_on()
    world.run(5)
    assert world.online, world.said
    return world


def events(world: World) -> list[str]:
    return [event for _, event in world.hooks]


def eap(code: int, id: int, data: bytes = b"", trailer: bytes = b"", src=SWITCH, dst=WAN_MAC) -> bytes:
    return frames.build(dst, src, frames.EAP, frames.encode_eap(Eap(code, id, data, trailer)))


def start(src=PC, dst=PAE_GROUP, tags=b"", trailer=b"") -> bytes:
    return frames.build(dst, src, START, tags=tags, beyond=trailer)


def sent(effects: list, side: str) -> list[bytes]:
    return [effect.frame for effect in effects if isinstance(effect, Send) and effect.side == side]
