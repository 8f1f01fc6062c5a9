"""Which of some candidates follows: likelihoods on a shared cache, instead of one forward pass for each.

- The shots are read once for all queries; a query and all candidates in one pass after them.
- A prompt and a candidate are tokenized together, as a text is, and compared from the first token on in which
  the candidates differ; cutting at their border could give ids that no text has.
- Scores: `likelihood` (sum of log-probabilities), `mean` (divided by the number of tokens), `channel` (the
  input's mean log-probability after a prompt with the candidate, as the official zero-shot script has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine, Session, require_several
from shoestring.lm.fewshot.template import Shot, Template

SCORES = ("likelihood", "mean", "channel")


@dataclass(frozen=True)
class Choice:
    """The candidates' scores.

    Args:
        candidates: as given.
        scores: of each, higher is better.
        logprobs: the sum over each one's tokens.
        tokens: how many of them were compared.
    """

    candidates: tuple[str, ...]
    scores: tuple[float, ...]
    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def best(self) -> str:
        """The candidate with the highest score; the first of equals."""
        return self.candidates[max(range(len(self.scores)), key=lambda index: self.scores[index])]

    @property
    def shares(self) -> tuple[float, ...]:
        """softmax of the scores."""
        return tuple(torch.tensor(self.scores, dtype=torch.float64).softmax(0).tolist())


class Prefix:
    """Reads prompts that begin alike, the common part once.

    Args:
        engine: from `load`.
        text: what the prompts begin with; may be empty.
    """

    def __init__(self, engine: Engine, text: str = "") -> None:
        self.engine = engine
        ids = engine.texts.encode(text) if text else []
        self._session = engine.open([ids]) if ids else None

    def read(self, ids: Sequence[int]) -> Session:
        """Returns a session that has read these ids, from what is known of their beginning."""
        session, rest = self._begun(ids)
        if rest:
            session.extend(rest)
        return session

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Returns the log-probability of each token of each continuation of these ids."""
        if self._session is not None and list(ids[: len(self._session.ids[0])]) == self._session.ids[0]:
            return self._session.score(continuations, after=ids[len(self._session.ids[0]) :])
        session, rest = self._begun(ids)
        try:
            return session.score(continuations, after=rest)
        finally:
            session.close()

    def _begun(self, ids: Sequence[int]) -> tuple[Session, Sequence[int]]:
        """Returns a new session of what is known of the ids' beginning, and the ids after it."""
        common = shared([ids, self._session.ids[0]]) if self._session is not None else 0
        if self._session is not None and common < len(self._session.ids[0]):
            common = min(common, len(ids) - 1)  # the last is read again, for its logits
        if self._session is None or common == 0:
            return self.engine.open([ids]), ()
        return self._session.fork(common), ids[common:]


def choose(
    engine: Engine,
    prompt: str,
    candidates: Sequence[str],
    *,
    score: str = "mean",
    prefix: Prefix | None = None,
) -> Choice:
    """Scores candidates as continuations of a prompt.

    Args:
        engine: from `load`.
        prompt: text.
        candidates: two or more texts.
        score: `likelihood` or `mean`; for `channel` see `choose_channel`.
        prefix: what was read before of prompts like this.

    Raises:
        OptionError: fewer than two candidates, two alike, an empty one, an unknown score.
        InputError: too long.

    >>> choose(load("model"), "法国的首都是", ["巴黎", "东京"]).best  # doctest: +SKIP
    '巴黎'
    """
    _require(candidates, score)
    whole = [engine.texts.encode(prompt + candidate) for candidate in candidates]
    common = shared([engine.texts.encode(prompt), *whole])
    common = min(common, min(map(len, whole)) - 1)  # each has a token of its own to be scored
    if common < 1:
        raise OptionError(f"prompt {prompt!r}: empty, or one word with a candidate; give a longer one")
    found = (prefix or Prefix(engine)).score(whole[0][:common], [ids[common:] for ids in whole])
    return _choice(candidates, found, score)


def choose_channel(
    engine: Engine, prompts: Sequence[Prefix], heads: Sequence[str], text: str, candidates: Sequence[str]
) -> Choice:
    """Scores a text after a prompt for each candidate.

    Args:
        engine: from `load`.
        prompts: of each candidate, its head read in advance.
        heads: the same as text.
        text: the input.
        candidates: what the heads stand for.
    """
    _require(candidates, "channel")
    found = []
    for head, prompt in zip(heads, prompts, strict=True):
        whole = engine.texts.encode(head + text)
        common = min(shared([engine.texts.encode(head), whole]), len(whole) - 1)
        found += prompt.score(whole[:common], [whole[common:]])
    return _choice(candidates, found, "channel")


class FewShot:
    """A task of a template with its shots, for many queries.

    Args:
        engine: from `load`.
        template: how shots are written.
        shots: instead of the template's own.
        candidates: answers to choose among.
        score: one of `SCORES`.
        calibrate: subtract what each answer scores after `neutral` queries, so that an answer that is likely
            everywhere is not always chosen (Zhao et al. 2021, Calibrate Before Use).
    """

    neutral = ("无", "……", "未知")

    def __init__(
        self,
        engine: Engine,
        template: Template,
        shots: Sequence[Shot] | None = None,
        candidates: Sequence[str] = (),
        score: str = "mean",
        calibrate: bool = False,
    ) -> None:
        self.engine, self.template, self.score = engine, template, score
        self.shots = list(template.shots if shots is None else shots)
        self.candidates = list(candidates)
        self._prefix = Prefix(engine, template.prefix(self.shots))
        self._heads: list[str] = []
        if candidates:
            _require(candidates, score)
        if candidates and score == "channel":
            self._heads = [template.channel_prompt(each, self.shots) for each in candidates]
            self._channels = [Prefix(engine, head) for head in self._heads]
        self._bias = self._neutral_scores() if candidates and calibrate else None

    def read(self, ids: Sequence[int]) -> Session:
        """Returns a session that has read a prompt, from what is known of the shots."""
        return self._prefix.read(ids)

    def choose(self, query: str) -> Choice:
        """Scores the candidates for a query."""
        found = self._scored(query)
        if self._bias is None:
            return found
        return replace(found, scores=tuple(s - b for s, b in zip(found.scores, self._bias, strict=True)))

    def _neutral_scores(self) -> list[float]:
        found = [self._scored(query).scores for query in self.neutral]
        return [sum(column) / len(column) for column in zip(*found, strict=True)]

    def _scored(self, query: str) -> Choice:
        if self._heads:
            return choose_channel(self.engine, self._channels, self._heads, query, self.candidates)
        prompt = self.template.prompt(query, self.shots)
        return choose(self.engine, prompt, self.candidates, score=self.score, prefix=self._prefix)


def shared(rows: Sequence[Sequence[int]]) -> int:
    """Returns how many ids all rows begin with.

    >>> shared([[1, 2, 3], [1, 2, 4, 5]])
    2
    """
    return next(
        (place for place, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1),
        min(map(len, rows)),
    )


def _choice(candidates: Sequence[str], found: Sequence[Sequence[float]], score: str) -> Choice:
    sums = tuple(sum(each) for each in found)
    sizes = tuple(len(each) for each in found)
    scores = sums if score == "likelihood" else tuple(s / n for s, n in zip(sums, sizes, strict=True))
    return Choice(tuple(candidates), scores, sums, sizes)


def _require(candidates: Sequence[str], score: str) -> None:
    if score not in SCORES:
        raise OptionError(f"--score {score}: unknown; choose one of {', '.join(SCORES)}")
    require_several(candidates, "candidates")
    if len(candidates) < 2 or len(set(candidates)) < len(candidates) or not all(candidates):
        raise OptionError(f"candidates {list(candidates)}: give two or more, none empty, no two alike")
