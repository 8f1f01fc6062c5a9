"""Text as it comes, token by token: never half a character, never what may be the beginning of a stop string.

Joined, the pieces are the whole text up to where it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from shoestring.lm.engines.texts import Texts

_BROKEN = "\ufffd"  # what a decoder shows for bytes that are no character (yet)
_WINDOW = 8  # tokens before the new ones that are decoded along, since some decoders look back


class TextStream:
    """Decodes one row's tokens.

    Args:
        texts: decodes.
        stop: strings that end the text; they do not belong to it, but the first `min_ends - 1` of them do.
        min_ends: how many ends, stop strings or end tokens, it takes.
        prompt: ids before the text, which some decoders need in order to place spaces.

    After `push` has returned, `ended` tells whether the text is complete.
    """

    def __init__(
        self, texts: Texts, stop: Sequence[str] = (), min_ends: int = 1, prompt: Sequence[int] = ()
    ) -> None:
        self._texts, self._stop = texts, [each for each in stop if each]
        self._ids: list[int] = list(prompt[-_WINDOW:])
        self._known = len(self._ids)  # tokens whose text has been taken
        self._pending = ""  # decoded, not yet given out
        self._left = min_ends
        self.ended = False

    def push(self, token: int, is_end: bool = False) -> str:
        """Takes a token and returns the text that is certain now."""
        if is_end:
            self._left -= 1
            self.ended = self._left <= 0
            return self._given(flush=self.ended)
        self._ids.append(token)
        self._pending += self._decoded(flush=False)
        return self._given(flush=False)

    def finish(self) -> str:
        """Returns what was held back; the text is complete."""
        if self.ended:
            return ""
        self._pending += self._decoded(flush=True)
        text = self._given(flush=True)
        self.ended = True
        return text

    def _decoded(self, flush: bool) -> str:
        """Returns the text of the new tokens, or nothing while the last character is not whole."""
        start = max(0, self._known - _WINDOW)
        before = self._text(self._ids[start : self._known])
        now = self._text(self._ids[start:])
        if now.endswith(_BROKEN) and not flush and len(self._ids) - self._known < _WINDOW:
            return ""
        self._known = len(self._ids)
        return now[len(before) :]

    def _text(self, ids: list[int]) -> str:
        return self._texts.decode(ids)

    def _given(self, flush: bool) -> str:
        given = ""
        while (found := self._first_stop()) is not None:
            place, stop = found
            self._left -= 1
            if self._left <= 0:
                given, self._pending, self.ended = given + self._pending[:place], "", True
                return given
            end = place + len(stop)
            given, self._pending = given + self._pending[:end], self._pending[end:]
        keep = 0 if flush else self._held()
        cut = len(self._pending) - keep
        given, self._pending = given + self._pending[:cut], self._pending[cut:]
        return given

    def _first_stop(self) -> tuple[int, str] | None:
        places = [(place, stop) for stop in self._stop if (place := self._pending.find(stop)) >= 0]
        return min(places, default=None, key=lambda found: found[0])

    def _held(self) -> int:
        """Returns how many characters at the end may begin a stop string."""
        return max(
            (
                size
                for stop in self._stop
                for size in range(1, len(stop))
                if self._pending.endswith(stop[:size])
            ),
            default=0,
        )
