"""How well a model knows a text, and how often it is right: perplexity, few-shot predictions, accuracy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shoestring._errors import InputError
from shoestring.lm.engines.base import Engine, require_several
from shoestring.lm.fewshot.choosing import FewShot
from shoestring.lm.generation.generation import Row
from shoestring.lm.generation.sampling import Sampling


@dataclass(frozen=True)
class Perplexity:
    """What a text costs.

    Args:
        nats: sum of -log p over the predicted tokens.
        tokens: how many were predicted; a document's first is not, since nothing stands before it.
        characters: of the documents, as they decode.
        documents: how many had two tokens or more.
    """

    nats: float
    tokens: int
    characters: int
    documents: int

    @property
    def per_token(self) -> float:
        """exp of the mean over tokens; depends on the vocabulary."""
        return math.exp(self.nats / self.tokens)

    @property
    def per_character(self) -> float:
        """exp of the mean over characters; comparable between vocabularies."""
        return math.exp(self.nats / self.characters)


def perplexity(engine: Engine, documents: Iterable[str], stride: int | None = None) -> Perplexity:
    """Returns what documents cost, each on its own.

    Args:
        engine: from `load`.
        documents: texts.
        stride: a document longer than the model's positions is read in windows that move by so many tokens, half
            the positions by default; each token is counted once, with the longest context a window gives it.

    Raises:
        InputError: no document has two tokens.
        OptionError: one text instead of several.
    """
    require_several(documents, "documents")
    stride = stride or max(1, engine.positions // 2)
    nats, tokens, characters, count = 0.0, 0, 0, 0
    for document in documents:
        ids = engine.texts.encode(document)
        if len(ids) < 2:
            continue
        for begin, counted in windows(len(ids), engine.positions, stride):
            found = engine.logprobs(ids[begin : begin + engine.positions])
            nats -= sum(found[len(found) - counted :])
            tokens += counted
        characters += len(engine.texts.decode(ids[1:]))
        count += 1
    if not tokens:
        raise InputError("no document has two tokens or more, so nothing can be predicted; give more text")
    return Perplexity(nats, tokens, max(1, characters), count)


def windows(length: int, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yields (beginning, how many of its last tokens count) so that tokens 1 to length-1 count once each.

    >>> list(windows(10, 4, 2))
    [(0, 3), (2, 2), (4, 2), (6, 2)]
    """
    begin, done = 0, 1
    while done < length:
        end = min(begin + size, length)
        yield begin, end - done
        done = end
        begin += stride if begin + stride + size <= length else max(1, length - size - begin)


@dataclass(frozen=True)
class Prediction:
    """One query's answer, and what it should have been if that is known."""

    query: str
    answer: str
    wanted: str | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is the wanted one, but for space around it."""
        return self.wanted is not None and self.answer.strip() == self.wanted.strip()


def predictions(
    task: FewShot, queries: Sequence[tuple[str, str | None]], sampling: Sampling | None = None
) -> Iterator[Prediction]:
    """Yields an answer for each query: chosen if the task has candidates, else generated, greedily by default."""
    for query, wanted in queries:
        if task.candidates:
            yield Prediction(query, task.choose(query).best, wanted)
            continue
        template = task.template
        settings = sampling or Sampling(max_tokens=template.max_tokens, temperature=0, stop=template.stop)
        prompt = template.prompt(query, task.shots)
        text = _generated(task, prompt, settings)
        yield Prediction(query, text.strip(), wanted)


def accuracy(found: Sequence[Prediction]) -> dict[str, float | int]:
    """Returns how many are right, beside always giving the most frequent answer."""
    labelled = [each for each in found if each.wanted is not None]
    if not labelled:
        return {"queries": len(found)}
    majority = Counter(each.wanted for each in labelled).most_common(1)[0][1]
    return {
        "queries": len(found),
        "labelled": len(labelled),
        "accuracy": sum(each.right for each in labelled) / len(labelled),
        "majority": majority / len(labelled),
    }


def _generated(task: FewShot, prompt: str, sampling: Sampling) -> str:
    ids = task.engine.texts.encode(prompt)
    session = task.read(ids)
    row, text = Row(task.engine, ids, sampling), ""
    try:
        while True:
            token, piece = row.advance(session.logits[0], session.ids[0])
            text += piece.text
            if piece.finish is not None:
                return text
            session.step([token])
    finally:
        session.close()
