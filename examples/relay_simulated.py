"""A PC logs in through the relay, leaves, and the session lasts. Simulated: no root, no network.

Run: python examples/relay_simulated.py        (ten seconds)
"""

from shoestring.relay import frames
from shoestring.relay.lab.simulate import World, soak
from shoestring.relay.lab.switch import Rules
from shoestring.relay.service.decode import line
from shoestring.relay.settings.settings import Settings


def story() -> None:
    """One session against a strict Ruijie switch, hour by hour."""
    world = World(Settings(), Rules(dialect="ruijie"))
    world.switch_on()  # the PC's official client starts a login
    world.run(120)
    world.switch_off()  # it says goodbye; the switch is not told
    world.run(3600)
    world.switch_on()  # it comes back and logs in again
    world.run(600)
    world.switch_off(logoff=False)  # somebody pulls the plug
    world.run(86400)
    for when, _, text in world.said:
        print(f"{when:9.1f} s  {text}")
    counts = world.switch.counts
    print(f"still on line: {world.online}; echoes {counts['echoes']}, put off line {counts['lost']} times")


def months() -> None:
    """Thirty days without the PC, by each way of keeping a session."""
    variants = [
        (Rules(dialect="ruijie"), Settings()),
        (Rules(dialect="h3c", handshake=60.0), Settings()),
        (Rules(dialect="plain", reauth=3600.0), Settings(password=b"secret")),
    ]
    for rules, settings in variants:
        result = soak(30, rules, settings)
        kept = f"{result.echoes} echoes, {result.handshakes} handshakes, {result.reauths} re-authentications"
        print(f"{result.dialect:7} by {result.strategy:12} on line: {result.online}; {kept}")


if __name__ == "__main__":
    story()
    months()
    print(line(frames.build(frames.PAE_GROUP, frames.mac_bytes("02:11:22:33:44:55"), frames.START)))

# Output:
#       0.0 s  PC 02:11:22:33:44:55 starts a login
#       0.0 s  the switch says of the account: 您当前使用的服务为学生包月计费
#       0.0 s  on line, kept by ruijie-echo: 欢迎使用校园网
#     120.0 s  PC gone: it logged off, which the switch was not told; keeping the session by ruijie-echo
#    3720.0 s  PC 02:11:22:33:44:55 starts a login
#    3720.0 s  the switch says of the account: 您当前使用的服务为学生包月计费
#    3720.0 s  on line, kept by ruijie-echo: 欢迎使用校园网
#    4366.3 s  PC gone: its echo has stopped; keeping the session by ruijie-echo
# still on line: True; echoes 4539, put off line 0 times
# ruijie  by ruijie-echo  on line: True; 129739 echoes, 0 handshakes, 0 re-authentications
# h3c     by identity     on line: True; 0 echoes, 43199 handshakes, 0 re-authentications
# plain   by md5          on line: True; 0 echoes, 0 handshakes, 719 re-authentications
# 02:11:22:33:44:55 > PAE-group Start v1
