"""Continues prompts: several samples of several prompts in one batch, as text that comes while it is made.

- A prompt is read once, however many samples it gets; rows that have ended leave the batch.
- What a row draws depends on its seed alone, not on the batch.
- `generate` joins what `stream` gives, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from shoestring._errors import OptionError
from shoestring.lm.engines.base import (
    Engine,
    Progress,
    Session,
    Token,
    reported,
    require_length,
    require_several,
)
from shoestring.lm.generation.grammar import Matcher
from shoestring.lm.generation.sampling import Chooser, Sampling
from shoestring.lm.generation.text_stream import TextStream


@dataclass(frozen=True)
class Piece:
    """What one step adds to one sample.

    Args:
        prompt: number of the prompt.
        sample: number of the sample.
        text: new text; may be empty.
        token: the token, if this piece is one's.
        finish: "stop" or "length" in a sample's last piece.
    """

    prompt: int
    sample: int
    text: str
    token: Token | None = None
    finish: str | None = None


@dataclass(frozen=True)
class Sample:
    """A finished sample."""

    text: str
    tokens: tuple[Token, ...]
    finish: str

    @property
    def logprob(self) -> float:
        """Sum over its tokens."""
        return sum(token.logprob for token in self.tokens)


@dataclass
class Row:
    """One sample that is being made; shared by `stream` and the server.

    Args:
        engine: for its tokenizer and positions.
        prompt: ids.
        sampling: settings.
        place: (number of the prompt, number of the sample).
    """

    engine: Engine
    prompt: list[int]
    sampling: Sampling
    place: tuple[int, int] = (0, 0)
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        sampling, own = self.sampling, ends_of(self.engine)
        self.ends = own | frozenset(sampling.stop_token_ids)
        self._matcher = Matcher(self.engine, sampling.grammar, own) if sampling.grammar is not None else None
        self._chooser = Chooser(sampling, self.place[1], self.ends, self._matcher)
        self._stream = TextStream(self.engine.texts, sampling.stop, sampling.min_ends, self.prompt)
        self._limit = min(sampling.max_tokens, self.engine.positions - len(self.prompt))

    def advance(self, logits: Tensor, seen: Sequence[int]) -> tuple[int, Piece]:
        """Chooses the next token and returns it with what it adds; `finish` is set if it was the last."""
        token = self._chooser.choose(logits, seen, self.made)
        self.made += 1
        text = self._stream.push(token, token in self.ends)
        if self._stream.ended:
            finish = "stop"
        elif self._matcher is not None and self._matcher.complete:
            text, finish = text + self._stream.finish(), "stop"
        elif self.made >= self._limit:
            text, finish = text + self._stream.finish(), "length"
        else:
            finish = None
        return token, Piece(*self.place, text, reported(logits, token, self.sampling.logprobs), finish)


def stream(
    engine: Engine,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    sampling: Sampling | None = None,
    *,
    samples: int = 1,
    truncate: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Piece]:
    """Yields the pieces of all samples of all prompts as they are made.

    Args:
        engine: from `load`.
        prompts: texts, or rows of ids.
        sampling: settings.
        samples: of each prompt.
        truncate: cut a prompt that is too long on the "left" or the "right".
        progress: told how many tokens of the prompts were read.

    Raises:
        InputError: a prompt is too long.
        OptionError: a prompt is empty, has ids that are not the model's, or is one text instead of a list.
    """
    sampling = sampling or Sampling()
    require_several(prompts, "prompts")
    if samples < 1:
        raise OptionError(f"--samples {samples}: must be 1 or more")
    if not prompts:
        return
    if sampling.max_tokens == 0:
        places = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples)]
        yield from (Piece(*place, "", finish="length") for place in places)
        return
    encoded = [fitting(engine, prompt, sampling, truncate) for prompt in prompts]
    session = engine.open(encoded, progress)
    try:
        session.select([index for index in range(len(encoded)) for _ in range(samples)])
        rows = [
            Row(engine, ids, sampling, (index, sample))
            for index, ids in enumerate(encoded)
            for sample in range(samples)
        ]
        while rows:
            rows = yield from _advanced(session, rows)
    finally:
        session.close()


def generate(
    engine: Engine, prompts: Sequence[str] | Sequence[Sequence[int]], sampling: Sampling | None = None, *,
    samples: int = 1, truncate: str | None = None,
) -> list[list[Sample]]:  # fmt: skip
    """Returns the samples of each prompt; arguments as in `stream`.

    >>> generate(load("model"), ["狗 dog\\n猫 "], Sampling(stop=("\\n",)))[0][0].text  # doctest: +SKIP
    'cat'
    """
    pieces = stream(engine, prompts, sampling, samples=samples, truncate=truncate)
    return collected(pieces, len(prompts), samples)


def collected(pieces: Iterable[Piece], prompts: int, samples: int) -> list[list[Sample]]:
    """Joins pieces to samples."""
    texts: dict[tuple[int, int], list[Piece]] = {
        (prompt, sample): [] for prompt in range(prompts) for sample in range(samples)
    }
    for piece in pieces:
        texts[piece.prompt, piece.sample].append(piece)
    return [[_sample(texts[prompt, sample]) for sample in range(samples)] for prompt in range(prompts)]


def ends_of(engine: Engine) -> frozenset[int]:
    """Returns the ids that end a text."""
    return engine.texts.ends


def fitting(
    engine: Engine, prompt: str | Sequence[int], sampling: Sampling, truncate: str | None = None
) -> list[int]:
    """Returns a prompt's ids; at least one position is left for what follows, if anything is to.

    Raises:
        InputError: it is too long and `truncate` is None; the message says by how much.
        OptionError: it has no tokens, or some that the model does not have.
    """
    ids = engine.texts.encode(prompt) if isinstance(prompt, str) else list(prompt)
    if not ids:
        raise OptionError("the prompt is empty; give at least one character")
    if wrong := next((id for id in ids if not 0 <= id < engine.vocabulary), None):
        raise OptionError(f"prompt: {wrong} is not one of the model's {engine.vocabulary:,} token ids")
    room = max(1, engine.positions - sampling.max_tokens)
    if truncate is not None and len(ids) > room:
        if truncate not in ("left", "right"):
            raise OptionError(f"--truncate {truncate}: must be left or right")
        return ids[-room:] if truncate == "left" else ids[:room]
    cure = "shorten it, or have it cut: truncate left (or right), on the command line --truncate"
    require_length(len(ids), engine.positions - min(1, sampling.max_tokens), "the prompt", cure)
    return ids


def _advanced(session: Session, rows: list[Row]) -> Iterator[Piece]:
    """Yields one step's pieces and returns the rows that go on."""
    kept, tokens = [], []
    for index, row in enumerate(rows):
        token, piece = row.advance(session.logits[index], session.ids[index])
        yield piece
        if piece.finish is None:
            kept.append(index)
            tokens.append(token)
    if kept:
        if len(kept) < len(rows):
            session.select(kept)
        session.step(tokens)
    return [rows[index] for index in kept]


def _sample(pieces: list[Piece]) -> Sample:
    return Sample(
        "".join(piece.text for piece in pieces),
        tuple(piece.token for piece in pieces if piece.token is not None),
        next((piece.finish for piece in pieces if piece.finish), "length"),
    )
