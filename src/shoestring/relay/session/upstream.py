"""What the switch's frames do to a session, and the link towards it."""

from __future__ import annotations

from shoestring.relay import frames
from shoestring.relay.frames import REQUEST, RESPONSE, SUCCESS, Eap, Frame
from shoestring.relay.session.core import LOGIN_PAUSE, STABLE, Core
from shoestring.relay.session.keepalive import Echo
from shoestring.relay.session.table import HELD, PROVEN, Event, Login, Proof
from shoestring.relay.vendors import dialects

PATIENCE = 2.0  # seconds for a PC that is there to answer a request, before the relay does
LOGIN_PATIENCE = 4.0  # the same while it logs in anew; switches in the field give up after 6
GRACE = 1.0  # seconds after a Failure in which a switch that goes on asks again
REPRIEVE = 30.0  # seconds that the login which it asks for may take
LINK_PATIENCE = 60.0  # seconds without WAN link before the hooks are told
STARTS = (1.0, 3.0, 9.0, 27.0, 60.0)  # pauses between our own Starts once the link is back


class Upstream(Core):
    """The half of a session that listens to the WAN side."""

    def _from_switch(self, frame: Frame) -> None:
        eap, machine = frame.eap, self.machine
        if frame.dst != self.wan_mac and not frames.is_group(frame.dst):
            self.counters["unexpected"] += 1
            return
        logging_in = machine.login in (Login.PC, Login.OWN)
        if not self.peers.hear_server(frame, self.now, machine.proof in PROVEN, logging_in):
            self._out.stranger("switch", frame)
            return
        self.dialect.hear(frame)
        if eap is None or eap.code not in (REQUEST, RESPONSE, SUCCESS, frames.FAILURE):
            self._out.pass_to_client(frame, self.lan_mac)
            if self._hear_account(dialects.accounting(frame, eap)):
                self._hook("account")
        elif eap.code == REQUEST:
            self._request(frame, eap)
        elif eap.code == RESPONSE or not self._result_is_due(frame):
            self.counters["unexpected"] += 1
        else:
            self._out.pass_to_client(frame, self.lan_mac)
            (self._success if eap.code == SUCCESS else self._failure)(frame, eap)

    def _result_is_due(self, frame: Frame) -> bool:
        """Whether a Success or Failure may mean us; one may come after a login has been given up."""
        if self.machine.proof in PROVEN:
            return (
                frame.src in (self.server, self._answered) or frame.eap is None or frame.eap.code != SUCCESS
            )
        return self._answered is not None or self.machine.login in (Login.PC, Login.OWN)

    # Requests

    def _request(self, frame: Frame, eap: Eap) -> None:
        machine = self.machine
        self._starts = 0
        machine.stop("start")
        self.memory.ask(eap)
        text = self._notice = dialects.message(frame, eap)
        if text:
            self.last_message = text
            self._say("info", f"the switch says: {text}")
        if machine.proof in HELD:
            self.dialect.asked_online(eap)
        elif machine.proof == Proof.REFUSED:
            machine.set("grace", self.now + REPRIEVE)
        if self.present:
            self._ask_pc(frame)
        else:
            self._answer_alone(frame, eap)

    def _ask_pc(self, frame: Frame) -> None:
        """Passes a request on; where the relay could answer it too, the PC has only so much time."""
        self._out.pass_to_client(frame, self.lan_mac)
        machine = self.machine
        if machine.proof in PROVEN or machine.login == Login.OWN:
            patience = LOGIN_PATIENCE if machine.login == Login.PC else PATIENCE
            self._pending = frame
            if "answer" not in machine.timers:
                machine.set("answer", self.now + patience)

    def _answer_alone(self, frame: Frame, eap: Eap) -> None:
        """Answers a request while no PC is there; where that is not to be, a PC that is back may hear it."""
        if not self._may_answer(eap) or not self._answer(frame, eap):
            self._out.pass_to_client(frame, self.lan_mac)

    def _may_answer(self, eap: Eap) -> bool:
        """Whether an answer of ours keeps the back-off: a switch that has just refused us asks on."""
        machine = self.machine
        if machine.proof in HELD or machine.login == Login.OWN:
            return True
        if machine.proof == Proof.REFUSED:
            return self._failures == 0 or self.now - (self.online_since or self.now) >= STABLE
        known = eap.type == frames.IDENTITY and self.memory.user is not None
        return machine.login == Login.IDLE and known and self.now >= self._quiet_until

    # Results

    def _success(self, frame: Frame, eap: Eap) -> None:
        machine, wanted = self.machine, self.settings.successes
        fresh = (
            machine.proof in (Proof.NONE, Proof.PARTIAL)
            or self._told_offline
            or (machine.proof != Proof.REFUSED and machine.login in (Login.PC, Login.OWN))
        )
        anew = fresh or machine.proof == Proof.REFUSED
        full = machine.proof in HELD and machine.proof != Proof.PARTIAL
        self.steps = wanted if full else min(self.steps + 1, wanted)
        self._prove(frame)
        machine.stop("answer", "link", "grace", "start", "calm", "doubt")
        machine.on(Event.SUCCESS if self.steps == wanted else Event.STEP)
        self._pending, self._answered, self._told_offline, self._flapped = None, None, False, False
        if self.online_since is None or fresh:
            self.online_since = self.now
        self._complained.clear()
        self.last_message, self.accounting = dialects.message(frame, eap), self._news
        self._notice = self._news = ""
        self._take_key(frame, eap, anew)
        self.dialect.logged_in()
        if machine.proof == Proof.PARTIAL:
            machine.set("next", self.now + LOGIN_PAUSE)
        self._hear_account(dialects.accounting(frame, eap))
        self._tell_success(fresh)

    def _hear_account(self, text: str) -> bool:
        """Takes words on the account, which come with a Success, before or after it; returns whether there are any."""
        if text:
            self.accounting = self._news = text
            self._say("info", f"the switch says of the account: {text}")
        return bool(text)

    def _prove(self, frame: Frame) -> None:
        if self.machine.proof in PROVEN and not self.memory.was_asked:
            self.memory.forget_heard()  # the Success is that of the session that stands
        identity = self.memory.heard.identity
        unasked = self.machine.login == Login.PC and self.machine.proof == Proof.NONE
        client = self.client if unasked else None  # some are let in without a word
        self.peers.prove(identity.src if identity is not None else client, frame)
        self.memory.prove()
        self.peers.dismiss_guest()
        self.revision += 1

    def _take_key(self, frame: Frame, eap: Eap, anew: bool) -> None:
        found = dialects.keepalive(frame, eap) if "ruijie-echo" in self._allowed else None
        if found is not None:
            interval = self.settings.echo_interval or (self.echo.learned if self.echo is not None else None)
            self.echo = Echo(self.now, *found, interval, self.present)
        elif anew:
            self.echo = None  # where the switch says nothing, the PC's own echoes will tell

    def _tell_success(self, fresh: bool) -> None:
        message = f": {self.last_message}" if self.last_message else ""
        if not fresh:
            self._say("info", f"authenticated again{message}")
            return
        steps = f" (step {self.steps} of {self.settings.successes})" if self.settings.successes > 1 else ""
        self._say("info", f"on line{steps}, kept by {self.strategy}{message}")
        if self.strategy == "none":
            self._say("warning", "nothing was learned that could keep the session; the PC must stay")
        self._hook("success")

    def _failure(self, frame: Frame, eap: Eap) -> None:
        machine = self.machine
        said = dict.fromkeys(
            (self._notice, dialects.message(frame, eap), "")
        )  # some say why before they refuse
        text = "; ".join(filter(None, said)) or "no reason given"
        self._notice = self._news = ""
        self._say("warning", f"the switch refused: {text}")
        self._answered, self._pending = None, None
        machine.stop("answer")
        if machine.proof in PROVEN and frame.src != self.peers.server:
            self._login_failed()  # a rival's word ends no session of another switch
            return
        self.last_message = text
        if machine.proof in HELD:
            machine.on(Event.FAILURE)
            self.steps = 0
            self.memory.forget_heard()
            self.peers.dismiss_guest()
            machine.set("grace", self.now + GRACE)
        elif machine.proof == Proof.REFUSED:
            self._refused()
        else:
            self._login_failed()
            self.peers.forget_server()
            self._hook("failure")

    def _refused(self) -> None:
        """A Failure that nothing has followed, or that was followed by another one."""
        self._hook("failure")
        self._lose(f"the switch refused: {self.last_message}")

    # The link

    def _wan_link(self, up: bool) -> None:
        if up == self._out.wan_up:
            return
        self._out.wan_up = up
        self._say("info", f"link towards the switch is {'up' if up else 'down'}")
        machine = self.machine
        if not up:
            if machine.proof in PROVEN:
                machine.set("link", self.now + LINK_PATIENCE)
            return
        machine.stop("link")
        self.peers.doubt_server(self.now)
        if machine.proof in HELD:
            self._flapped = True
            self._doubt()
        if self.echo is not None:
            self.echo.due = self.now + 1.0
        if machine.may_run("start") and (self._can_login or self.present):
            self._starts = 0
            machine.set("start", self.now + 1.0)

    def _link_lost(self) -> None:
        if not self._told_offline:
            why = "the link towards the switch is down"
            self._say("warning", f"off line: {why}")
            self._tell_offline(why, after=Event.LAPSE)

    def _own_start(self) -> None:
        """After the link came back: ask the switch to begin again, until it does or a login takes over."""
        if self._starts == len(STARTS):
            self._say("warning", "the switch does not answer since the link came back")
            if self._can_login:
                self._back_off()
                return
        self._send_start()
        self.machine.set("start", self.now + STARTS[min(self._starts, len(STARTS) - 1)])
        self._starts = min(self._starts + 1, len(STARTS))
