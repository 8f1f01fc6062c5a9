"""What a model learns from a packed corpus: masked words (`mlm`), the next token (`clm`), or the next token after a
source that sees itself whole (`unilm`, Dong et al. 2019: each document is split at random into source and target).

A training run reads examples 0, 1, 2 ...; each is a pure function of (seed, position), masks included. So a resumed
run and a run on several processes see exactly what one uninterrupted process sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from shoestring._errors import OptionError
from shoestring.transformer.pretraining.packing import Blocks

IGNORED = -100  # label of a token that the loss leaves out
OBJECTIVES = ("mlm", "clm", "unilm")


@dataclass(frozen=True)
class Masking:
    """Whole-word masking (Devlin et al. 2019; Cui et al. 2021 for Chinese).

    Args:
        mask_id: the id that covers a word, in 80 of 100 tokens.
        noise: ids that replace it at random, in 10 of 100 tokens, (ids,).
        special: ids that are never asked for, (ids,).
        rate: probability that a word is asked for.
    """

    mask_id: int
    noise: np.ndarray
    special: np.ndarray
    rate: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise OptionError(f"masking rate {self.rate} must lie between 0 and 1")


def mask_words(
    tokens: np.ndarray, words: np.ndarray, masking: Masking, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and labels, int64 (length,); at least one word is asked for if there is any.

    Args:
        tokens: ids, (length,).
        words: a number for each token, the same within one word, (length,).
        masking: rates and ids.
        random: the source of chance.
    """
    allowed = ~np.isin(tokens, masking.special)
    chosen = random.random(int(words.max()) + 1) < masking.rate
    if allowed.any() and not chosen[words[allowed]].any():
        chosen[random.choice(words[allowed])] = True
    asked = chosen[words] & allowed
    labels = np.where(asked, tokens, IGNORED)
    fate = random.random(len(tokens))
    noise = masking.noise[random.integers(len(masking.noise), size=len(tokens))]
    inputs = np.where(asked & (fate < 0.8), masking.mask_id, tokens)
    inputs = np.where(asked & (fate >= 0.9), noise, inputs)
    return inputs, labels


def split_documents(document_ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns token types, int64 (length,): 0 for the source, which each document begins with, 1 for the target.

    The split is uniform over all that leave both sides a token; a document of one token is source.

    Args:
        document_ids: a number for each token, the same within one document, (length,).
        random: the source of chance.
    """
    starts = np.flatnonzero(np.diff(document_ids, prepend=document_ids[0] - 1))
    lengths = np.diff(starts, append=len(document_ids))
    sources = random.integers(1, np.maximum(lengths, 2))
    place = np.arange(len(document_ids)) - np.repeat(starts, lengths)
    return (place >= np.repeat(sources, lengths)).astype(np.int64)


class Examples(Sequence[dict[str, torch.Tensor]]):
    """The examples of a run, by position.

    Args:
        blocks: the packed corpus.
        chosen: numbers of the blocks to use, (n,).
        count: how many examples the run takes; each epoch is a new permutation of the chosen blocks.
        seed: decides order and masks.
        masking: masks words; None for the next-token objectives.
        split: splits documents into source and target.
    """

    def __init__(
        self,
        blocks: Blocks,
        chosen: np.ndarray,
        count: int,
        seed: int,
        masking: Masking | None = None,
        split: bool = False,
    ) -> None:
        self.blocks, self.chosen, self.total, self.seed, self.masking = blocks, chosen, count, seed, masking
        self.split = split
        self._order = lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: Any) -> Any:
        """Returns `input_ids`, `document_ids`, `labels` and, if split, `token_type_ids`, each int64 (length,)."""
        epoch, step = divmod(index, len(self.chosen))
        block = self.chosen[self._order(epoch)[step]]
        inputs = labels = self.blocks.tokens_of(block)
        random = np.random.default_rng((self.seed, 1, index))
        if self.masking is not None:
            inputs, labels = mask_words(inputs, self.blocks.words_of(block), self.masking, random)
        document_ids = self.blocks.documents_of(block)
        if self.masking is None:  # no document is asked for the first token of the next
            labels = np.where(self.blocks.starts_of(block), IGNORED, labels)
        arrays = {"input_ids": inputs, "document_ids": document_ids, "labels": labels}
        if self.split:
            types = split_documents(document_ids, random)
            arrays |= {"token_type_ids": types, "labels": np.where(types == 0, IGNORED, labels)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.chosen))


def held_out(total: int, share: float = 0.02, at_most: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Splits block numbers into training and held-out ones, the latter evenly spread over the corpus.

    >>> held_out(10, share=0.2)
    (array([1, 2, 3, 4, 6, 7, 8, 9]), array([0, 5]))
    """
    count = min(max(1, int(total * share)), at_most)
    out = np.arange(count) * total // count
    return np.setdiff1d(np.arange(total), out), out
