"""Beam search over several prompts at once, on a cache.

A beam's score is the sum of its log-probabilities, divided by length ** length_penalty; at the default of 0 the
search can stop as soon as no open beam is better than the best finished one. Width 1 is greedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch

from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine, log_chances, require_several
from shoestring.lm.generation.generation import Sample, Token, ends_of, fitting
from shoestring.lm.generation.sampling import Sampling, prepared
from shoestring.lm.generation.text_stream import TextStream

_COUNT = ("max_tokens", "min_tokens", "repetition_penalty", "stop", "min_ends")  # settings that beams have


@dataclass(frozen=True)
class _Beam:
    tokens: tuple[Token, ...] = ()
    finish: str | None = None

    def score(self, length_penalty: float) -> float:
        return sum(token.logprob for token in self.tokens) / max(1, len(self.tokens)) ** length_penalty


@dataclass
class _Search:
    """One prompt's beams."""

    prompt: list[int]
    open: list[_Beam] = field(default_factory=lambda: [_Beam()])
    done: list[_Beam] = field(default_factory=list)


def beam_search(
    engine: Engine,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    sampling: Sampling | None = None,
    *,
    beams: int = 4,
    length_penalty: float = 0.0,
    truncate: str | None = None,
) -> list[list[Sample]]:
    """Returns the best continuations of each prompt, the best first.

    Args:
        engine: from `load`.
        prompts: texts, or rows of ids.
        sampling: max_tokens, min_tokens, repetition_penalty, stop and min_ends; no others.
        beams: how many are kept.
        length_penalty: above 0 favours longer texts.
        truncate: cut a prompt that is too long on the "left" or the "right".

    Raises:
        OptionError: a setting that beams do not have.
    """
    sampling = sampling or Sampling()
    require_several(prompts, "prompts")
    if beams < 1:
        raise OptionError(f"--beams {beams}: must be 1 or more")
    for each in fields(Sampling):
        value = getattr(sampling, each.name)
        if each.name not in _COUNT and value != each.default and (each.name, value) != ("temperature", 0):
            raise OptionError(f"--{each.name.replace('_', '-')}: not with beams; draw samples instead")
    searches = [_Search(fitting(engine, prompt, sampling, truncate)) for prompt in prompts]
    session = engine.open([search.prompt for search in searches])
    try:
        places = list(range(len(searches)))  # of each search's first row in the session
        for _ in range(sampling.max_tokens):
            rows, tokens = [], []
            for search, place in zip(searches, places, strict=True):
                for parent, token in _grown(engine, search, session, place, sampling, beams, length_penalty):
                    rows.append(place + parent)
                    tokens.append(token)
            if not rows:
                break
            places = _starts(searches)
            session.select(rows)
            session.step(tokens)
    finally:
        session.close()
    return [_finished(engine, search, sampling, beams, length_penalty) for search in searches]


def _grown(
    engine: Engine,
    search: _Search,
    session,
    place: int,
    sampling: Sampling,
    beams: int,
    length_penalty: float,
) -> list[tuple[int, int]]:
    """Replaces the open beams by their best continuations; returns (old beam, token) of each."""
    found = []
    for index, beam in enumerate(search.open):
        logits = session.logits[place + index]
        chances = log_chances(logits.float())
        allowed = prepared(
            logits, sampling, session.ids[place + index], len(beam.tokens), list(ends_of(engine))
        )
        scores = allowed.log_softmax(-1) if sampling.repetition_penalty != 1 else chances
        scores = scores.masked_fill(allowed == -torch.inf, -torch.inf)
        values, ids = scores.topk(min(beams + 1, len(scores)))
        for value, token in zip(values.tolist(), ids.tolist(), strict=True):
            if value > -torch.inf:
                grown = _Beam((*beam.tokens, Token(token, value)))
                found.append((grown.score(length_penalty), index, token, grown))
    found.sort(key=lambda each: -each[0])
    search.open, chosen = [], []
    for _, parent, token, beam in found[:beams]:
        finish = _finish(engine, search, beam, sampling)
        if finish:
            search.done.append(_Beam(beam.tokens, finish))
        else:
            search.open.append(beam)
            chosen.append((parent, token))
    if _settled(search, beams, length_penalty):
        search.open, chosen = [], []
    return chosen


def _finish(engine: Engine, search: _Search, beam: _Beam, sampling: Sampling) -> str | None:
    text = TextStream(engine.texts, sampling.stop, sampling.min_ends, search.prompt)
    ends = ends_of(engine)
    for token in beam.tokens:
        text.push(token.id, token.id in ends)
    if text.ended:
        return "stop"
    room = engine.positions - len(search.prompt)
    return "length" if len(beam.tokens) >= min(sampling.max_tokens, room) else None


def _settled(search: _Search, beams: int, length_penalty: float) -> bool:
    if not search.done or not search.open:
        return not search.open
    best = max(beam.score(length_penalty) for beam in search.done)
    hope = max(beam.score(length_penalty) for beam in search.open)
    return (hope <= best) if length_penalty <= 0 else len(search.done) >= beams


def _starts(searches: list[_Search]) -> list[int]:
    starts, total = [], 0
    for search in searches:
        starts.append(total)
        total += len(search.open)
    return starts


def _finished(
    engine: Engine, search: _Search, sampling: Sampling, beams: int, length_penalty: float
) -> list[Sample]:
    ends, samples = ends_of(engine), []
    for beam in sorted(search.done, key=lambda each: -each.score(length_penalty))[:beams]:
        stream = TextStream(engine.texts, sampling.stop, sampling.min_ends, search.prompt)
        text = "".join(stream.push(token.id, token.id in ends) for token in beam.tokens) + stream.finish()
        samples.append(Sample(text, beam.tokens, beam.finish or "length"))
    return samples
