"""How the next token is chosen: settings, and one row's choice from its logits.

Order: repetition penalty, minimum length, temperature, top-k, top-p, draw. bert4keras' names:
`topk` top_k, `topp` top_p, `minlen` min_tokens, `maxlen` max_tokens, `min_ends` min_ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError


@dataclass(frozen=True)
class Sampling:
    """Settings of a generation.

    Args:
        max_tokens: how many tokens at most.
        min_tokens: no end before so many.
        temperature: 0 takes the most likely token.
        top_k: only among the k most likely; 0 is all.
        top_p: only among the most likely that together have this probability.
        repetition_penalty: above 1 makes tokens that were there before less likely (Keskar et al. 2019).
        stop: strings that end the text.
        min_ends: how many ends, stop strings or end tokens, it takes.
        seed: of the draws; sample k of a prompt draws from seed + k.
        logprobs: report the log-probabilities of so many most likely tokens; None reports none.
    """

    max_tokens: int = 64
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    min_ends: int = 1
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_tokens": (self.max_tokens, 1, 1_000_000),
            "min_tokens": (self.min_tokens, 0, self.max_tokens),
            "temperature": (self.temperature, 0, 100),
            "top_k": (self.top_k, 0, 1_000_000),
            "top_p": (self.top_p, 1e-9, 1),
            "repetition_penalty": (self.repetition_penalty, 1e-3, 100),
            "min_ends": (self.min_ends, 1, 1_000),
            "logprobs": (self.logprobs or 0, 0, 100),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag} {value:g}: must be between {low:g} and {high:g}")


class Chooser:
    """Chooses one row's tokens.

    Args:
        sampling: how.
        index: number of the sample, which is added to the seed.
        ends: ids that end a text.
    """

    def __init__(self, sampling: Sampling, index: int, ends: Collection[int]) -> None:
        self.sampling, self.ends = sampling, list(ends)
        self._generator = torch.Generator().manual_seed((sampling.seed + index) % 2**63)

    def choose(self, logits: Float[Tensor, " vocabulary"], seen: Sequence[int], made: int) -> int:
        """Returns the next token.

        Args:
            logits: of the row.
            seen: all tokens before, the prompt's too.
            made: how many of them were generated.
        """
        logits = prepared(logits, self.sampling, seen, made, self.ends)
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        chances = filtered(logits, self.sampling).softmax(-1)
        return int(torch.multinomial(chances, 1, generator=self._generator))


def prepared(
    logits: Float[Tensor, " vocabulary"],
    sampling: Sampling,
    seen: Sequence[int],
    made: int,
    ends: Sequence[int],
) -> Float[Tensor, " vocabulary"]:
    """Returns logits after the repetition penalty, without ends that come too early."""
    logits = logits.float().clone()
    if sampling.repetition_penalty != 1:
        index = torch.tensor(sorted(set(seen)))
        before = logits[index]
        penalty = sampling.repetition_penalty
        logits[index] = torch.where(before < 0, before * penalty, before / penalty)
    if made < sampling.min_tokens:
        logits[list(ends)] = -torch.inf
    return logits


def filtered(logits: Float[Tensor, " vocabulary"], sampling: Sampling) -> Float[Tensor, " vocabulary"]:
    """Returns logits at the temperature, with what top-k and top-p leave out at minus infinity."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        chances = ordered.softmax(-1)
        before = chances.cumsum(-1) - chances  # the first is always kept
        logits = logits.index_fill(0, index[before >= sampling.top_p], -torch.inf)
    return logits
