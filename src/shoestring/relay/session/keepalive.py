"""The Ruijie echo that keeps a session alive, as values: who writes it, where its count stands, when it is due.

- One writer at a time: while the PC echoes, its echoes pass and are learned; once the relay has written, only
  it does.
- A PC counts as there while it has up to 65 s for an echo, whatever small number the switch names as its alive time.

Source: frames of real clients and switches, tests/relay/frames/ruijie-*.
"""

from __future__ import annotations

from shoestring.relay.vendors import ruijie

FIRST_NUMBER = 0x102B  # of a sequence that the relay starts itself
USUAL_INTERVAL = 30.0
LONGEST_INTERVAL = 300.0
PATIENCE = (
    65.0  # seconds for a PC that is there to send an echo while its interval is unknown; clients use 20 to 60
)


class Echo:
    """The echo sequence of one login: who writes it, where it stands and when the next one is due.

    Args:
        now: seconds.
        key: from the Success trailer, or None until the PC has echoed.
        alive: the number that the switch names beside the key; 0 where it names none.
        interval: seconds between echoes; None learns it from the PC, or takes 30, or half of `alive` if that is less.
        pc_present: the PC is expected to write; the relay takes over when it stops.
    """

    def __init__(
        self,
        now: float,
        key: int | None = None,
        alive: float = 0,
        interval: float | None = None,
        pc_present: bool = False,
    ) -> None:
        self.key = key
        self.number = FIRST_NUMBER - 1
        self.ours = False  # the relay has become the writer
        self.heard_at: float | None = None
        self._fixed = interval is not None
        self._learned = False
        self._longest = alive / 2 if alive >= ruijie.SHORTEST_ALIVE else LONGEST_INTERVAL
        usual = min(USUAL_INTERVAL, alive / 2) if alive >= 10 else USUAL_INTERVAL
        self.interval = min(interval or usual, self._longest)
        self.due = now + (self._patience if pc_present else self.interval)

    @property
    def _patience(self) -> float:
        return min(PATIENCE, self._longest)

    @property
    def learned(self) -> float | None:
        """Seconds between echoes as the PC or the settings have it, or None where they were assumed."""
        return self.interval if self._fixed or self._learned else None

    def hear(self, key: int, number: int, now: float) -> bool:
        """Takes note of an echo from the PC; returns whether it may pass to the switch."""
        if self.ours:
            return False
        if self.heard_at is not None and not self._fixed and 1 <= now - self.heard_at <= LONGEST_INTERVAL:
            gap = min(now - self.heard_at, self._longest)
            self.interval = (self.interval + gap) / 2 if self._learned else gap
            self._learned = True
        self.key, self.number, self.heard_at = key, number, now
        wait = self.interval + max(1.0, self.interval / 4)
        self.due = now + (wait if self._learned else max(wait, self._patience))
        return True

    def pc_left(self, now: float) -> None:
        """The PC said goodbye or is known to be gone: the next echo is due when its next would have been."""
        if not self.ours:
            start = now if self.heard_at is None else self.heard_at
            self.due = max(now, min(self.due, start + self.interval))

    def write(self, now: float) -> bytes:
        """Returns the body of the next echo, which is ours from now on; needs a key."""
        self.ours = True
        self.number = (self.number + 1) & 0xFFFFFFFF
        self.due = max(self.due, now - self.interval / 2) + self.interval
        return ruijie.echo_body(self.key or 0, self.number)

    def snapshot(self, now: float) -> dict:
        """Returns what a later process needs to go on with the sequence."""
        return {"key": self.key, "number": self.number, "interval": self.interval, "known": self.learned is not None,
                "longest": self._longest, "wait": self.due - now}  # fmt: skip

    @classmethod
    def restored(cls, found: dict, now: float, elapsed: float) -> Echo:
        """Returns the sequence of a snapshot, written by the relay from now on.

        Args:
            found: from `snapshot`.
            now: seconds on this process's clock.
            elapsed: seconds since the snapshot, as far as is known.
        """
        echo = cls(now, int(found["key"]))
        echo.number, echo.interval = int(found["number"]) & 0xFFFFFFFF, float(found["interval"])
        echo._learned, echo._longest, echo.ours = bool(found["known"]), float(found["longest"]), True
        echo.due = now + max(0.0, min(float(found["wait"]) - elapsed, echo.interval))
        return echo
