"""What generation, choice and the server ask of a model: one interface over torch and llama.cpp.

session = engine.open([[6756, 8, 3], [278]])    # rows of token ids, of any lengths
session.logits                                  # (2, vocabulary) of what follows each row
session.step([17, 98])                          # one more token for each row
session.select([0, 0, 1])                       # rows leave, or are doubled
session.score([[11, 15], [9]], after=[5])       # log-probabilities of continuations, the session unchanged
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.texts import Texts

Progress = Callable[[int], Any]


class CacheFull(OptionError):
    """An engine has no room for more tokens; its sessions are as they were."""


@dataclass(frozen=True)
class Token:
    """A token with its log-probability under the model, and the most likely ones."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Session(Protocol):
    """Rows of tokens that a model has read.

    Args:
        ids: the tokens of each row.
        logits: (rows, vocabulary) in float32: what follows each row.
    """

    ids: list[list[int]]
    logits: Tensor

    @property
    def nbytes(self) -> int:
        """Memory that the keys and values take."""
        ...

    def read(self, rows: list[list[int]], progress: Progress | None = None) -> None:
        """Appends tokens to each row, to all the same number unless they are empty."""
        ...

    def step(self, tokens: Sequence[int]) -> None:
        """Appends one token to each row."""
        ...

    def extend(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Appends tokens to the only row."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows, in that order; one may occur more than once."""
        ...

    def fork(self, length: int) -> Session:
        """Returns a session of the first tokens of the only row; its logits are not known unless that is all."""
        ...

    def join(self, others: Sequence[Session]) -> None:
        """Takes over the rows of other sessions, after its own."""
        ...

    def score(self, continuations: Sequence[Sequence[int]], after: Sequence[int] = ()) -> list[list[float]]:
        """Returns the log-probability of each token of each continuation of the only row and `after`."""
        ...

    def close(self) -> None:
        """Frees what the session holds; it is not used after that."""
        ...


class Engine(Protocol):
    """A loaded model.

    Args:
        name: of the model's folder.
        kind: back end and precision, for people.
        tokenizer: a Hugging Face tokenizer; what runs the model asks `texts`.
        texts: how text becomes ids and ids text.
        positions: how many tokens a row may have.
        vocabulary: size of `logits`.
        cache_bytes: all that its sessions can hold; None is as memory allows.
    """

    name: str
    kind: str
    tokenizer: Any
    texts: Texts
    positions: int
    vocabulary: int
    cache_bytes: int | None

    def open(self, rows: Sequence[Sequence[int]], progress: Progress | None = None) -> Session:
        """Returns a session that has read the rows; `progress` is told how many tokens were read."""
        ...

    def logprobs(self, ids: Sequence[int]) -> list[float]:
        """Returns the log-probability of each token but the first."""
        ...

    def tokens(self, ids: Sequence[int], top: int) -> list[Token]:
        """Returns each token but the first with its log-probability and the `top` most likely ones."""
        ...


def require_several(texts: object, what: str) -> None:
    """Raises OptionError if one text is given where several are asked: its characters would be taken for them."""
    if isinstance(texts, str):
        raise OptionError(f"{what}: one text, {texts[:20]!r}, where a list of texts is asked; put it in [ ]")


def require_length(needed: int, limit: int, what: str, cure: str = "shorten it") -> None:
    """Raises InputError if so many tokens do not fit into a model's positions."""
    if needed > limit:
        raise InputError(
            f"{what}: {needed:,} tokens, {needed - limit:,} more than the model's {limit:,} positions; {cure}"
        )


def require_numbers(logits: Tensor) -> None:
    """Raises InputError if one of some rows of logits has what is not a number, or infinity."""
    if not bool((logits.amax(-1) < torch.inf).all()):
        raise InputError(
            "the model's answer is not a number: its activations have become too large, as those of wrong or damaged "
            "weights do; pass --precision fp32, or copy the model again"
        )


def log_chances(logits: Tensor) -> Tensor:
    """Returns log-probabilities of rows of logits; InputError as `require_numbers`."""
    require_numbers(logits)
    return logits.log_softmax(-1)


def reported(logits: Tensor, token: int, top: int | None) -> Token:
    """Returns a token with its log-probability by one row of logits, and the most likely ones."""
    return tokens_of(logits[None], torch.tensor([token], device=logits.device), top or 0)[0]


def tokens_of(logits: Tensor, ids: Tensor, top: int) -> list[Token]:
    """Returns tokens with their log-probabilities, and the most likely ones in their places.

    Args:
        logits: (tokens, vocabulary).
        ids: (tokens).
        top: how many.
    """
    chances = log_chances(logits.float())
    values = chances.gather(1, ids[:, None])[:, 0].tolist()
    if not top:
        return [Token(id, value) for id, value in zip(ids.tolist(), values, strict=True)]
    most = chances.topk(min(top, chances.shape[1]))
    rows = zip(ids.tolist(), values, most.indices.tolist(), most.values.tolist(), strict=True)
    return [Token(id, value, tuple(zip(found, chance, strict=True))) for id, value, found, chance in rows]


def joined(logits: Sequence[Tensor]) -> Tensor:
    """Returns the logits of sessions that become one; none where those of a fork are not known yet."""
    return torch.cat(list(logits)) if all(each.shape[1] for each in logits) else torch.empty(0, 0)
