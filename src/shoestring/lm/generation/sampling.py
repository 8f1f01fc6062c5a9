"""How the next token is chosen: settings, and one row's choice from its logits.

Order: logit bias, repetition, presence and frequency penalty, minimum length, grammar, temperature, top-k, top-p,
min-p, draw. bert4keras' names: `topk` top_k, `topp` top_p, `minlen` min_tokens, `maxlen` max_tokens, `min_ends`
min_ends.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError
from shoestring.lm.engines.base import require_numbers

if TYPE_CHECKING:
    from shoestring.lm.generation.grammar import Matcher

_GREEDY = 1e-5  # below this temperature the logits' differences leave float32
_LIMITS = {
    "max_tokens": (int, 0, 1_000_000),
    "min_tokens": (int, 0, 1_000_000),
    "temperature": (float, 0, 100),
    "top_k": (int, 0, 1_000_000),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "repetition_penalty": (float, 1e-3, 100),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
    "min_ends": (int, 1, 1_000),
    "seed": (int, -(2**63), 2**63 - 1),
    "logprobs": (int, 0, 100),
}


@dataclass(frozen=True)
class Sampling:
    """Settings of a generation.

    Args:
        max_tokens: how many tokens at most; 0 makes none.
        min_tokens: no end before so many.
        temperature: 0 takes the most likely token.
        top_k: only among the k most likely; 0 is all.
        top_p: only among the most likely that together have this probability; 0 is the most likely one.
        min_p: only among those at least so likely as this part of the most likely one (Nguyen et al. 2024).
        repetition_penalty: above 1 makes tokens that were there before less likely (Keskar et al. 2019).
        presence_penalty: taken from the logits of tokens that were generated before, as OpenAI defines it.
        frequency_penalty: the same for each time that they were.
        logit_bias: pairs of an id and what is added to its logit.
        stop: strings that end the text.
        stop_token_ids: ids that end the text, besides the model's own.
        min_ends: how many ends, stop strings or end tokens, it takes.
        seed: of the draws; sample k of a prompt draws from seed + k.
        logprobs: report the log-probabilities of so many most likely tokens; None reports none.
        grammar: that the text follows, from `generation.grammar`; None is any text.
    """

    max_tokens: int = 64
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_ends: int = 1
    seed: int = 0
    logprobs: int | None = None
    grammar: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _LIMITS and not (value is None and each.name == "logprobs"):
                _require(each.name, value, *_LIMITS[each.name])
        if self.min_tokens > self.max_tokens:
            raise OptionError(f"--min-tokens {self.min_tokens}: must be between 0 and {self.max_tokens}")
        if isinstance(self.stop, str) or not all(isinstance(each, str) and each for each in self.stop):
            raise OptionError(f"--stop {self.stop!r}: must be texts, none empty")


class Chooser:
    """Chooses one row's tokens.

    Args:
        sampling: how.
        index: number of the sample, which is added to the seed.
        ends: ids that end a text.
        matcher: of the grammar, if there is one.
    """

    def __init__(
        self, sampling: Sampling, index: int, ends: Collection[int], matcher: Matcher | None = None
    ) -> None:
        self.sampling, self.ends, self.matcher = sampling, list(ends), matcher
        self._generator = torch.Generator().manual_seed((sampling.seed + index) % 2**63)

    def choose(self, logits: Float[Tensor, " vocabulary"], seen: Sequence[int], made: int) -> int:
        """Returns the next token.

        Args:
            logits: of the row.
            seen: all tokens before, the prompt's too.
            made: how many of them were generated.

        Raises:
            InputError: the logits are no numbers.
        """
        require_numbers(logits)
        logits = prepared(logits, self.sampling, seen, made, self.ends)
        if self.matcher is not None:
            logits = self.matcher.allowed(logits)
        if self.sampling.temperature < _GREEDY:
            token = int(logits.argmax())
        else:
            chances = filtered(logits, self.sampling).softmax(-1)
            token = int(torch.multinomial(chances, 1, generator=self._generator))
        if self.matcher is not None:
            self.matcher.take(token)
        return token


def prepared(
    logits: Float[Tensor, " vocabulary"],
    sampling: Sampling,
    seen: Sequence[int],
    made: int,
    ends: Sequence[int],
) -> Float[Tensor, " vocabulary"]:
    """Returns logits with the bias, after the penalties, without ends that come too early."""
    logits = logits.float().clone()
    for token, bias in sampling.logit_bias:
        logits[token] += bias
    if sampling.repetition_penalty != 1:
        index = torch.tensor(sorted(set(seen)))
        before = logits[index]
        penalty = sampling.repetition_penalty
        logits[index] = torch.where(before < 0, before * penalty, before / penalty)
    if made and (sampling.presence_penalty or sampling.frequency_penalty):
        for token, times in Counter(seen[len(seen) - made :]).items():
            logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * times
    if made < sampling.min_tokens:
        logits[list(ends)] = -torch.inf
    return logits


def filtered(logits: Float[Tensor, " vocabulary"], sampling: Sampling) -> Float[Tensor, " vocabulary"]:
    """Returns logits at the temperature, with what top-k, top-p and min-p leave out at minus infinity."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        chances = ordered.softmax(-1)
        before = chances.cumsum(-1) - chances
        dropped = before >= sampling.top_p
        dropped[0] = False  # the first is always kept
        logits = logits.index_fill(0, index[dropped], -torch.inf)
    if sampling.min_p > 0:
        logits = logits.masked_fill(logits < logits.max() + math.log(sampling.min_p), -torch.inf)
    return logits


def _require(name: str, value: object, kind: type, low: float, high: float) -> None:
    flag = name.replace("_", "-")
    right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not right:
        raise OptionError(f"--{flag} {value!r}: must be a {'whole ' if kind is int else ''}number")
    if not low <= value <= high:  # type: ignore[operator]
        raise OptionError(f"--{flag} {value:g}: must be between {low:g} and {high:g}")
