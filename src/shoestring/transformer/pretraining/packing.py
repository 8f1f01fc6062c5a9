"""Documents as one long row of token ids on disk, cut into blocks of equal length: no padding, any corpus size.

- `start document end start document end ...`: several short documents share a block and do not see each other; a long
  one goes on in the next block.
- Ids are written as they come and memory-mapped to read, so memory does not grow with the corpus.
- A second row marks the tokens that begin a document and, for whole-word masking, those that begin a word: ids do not
  tell (start and end may be one id, as in GPT-2, and a text may spell either).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shoestring import files
from shoestring._errors import InputError
from shoestring._extras import require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORD, DOCUMENT = 1, 2  # bits of the second row
BATCH = 1000  # documents per call of the tokenizer, which runs in threads


@dataclass(frozen=True)
class Blocks:
    """A packed corpus.

    Args:
        tokens: ids, (total,).
        begins: whether a word (`WORD`) and a document (`DOCUMENT`) begin at each token, uint8 (total,).
        length: tokens in a block.
    """

    tokens: np.ndarray
    begins: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.tokens) // self.length

    def tokens_of(self, block: int) -> np.ndarray:
        """Returns the ids of a block, int64 (length,)."""
        return self._cut(self.tokens, block).astype(np.int64)

    def starts_of(self, block: int) -> np.ndarray:
        """Returns whether a document begins at each token, bool (length,)."""
        return self._cut(self.begins, block) & DOCUMENT > 0

    def documents_of(self, block: int) -> np.ndarray:
        """Returns a number for each token, the same within one document, int64 (length,)."""
        return np.cumsum(self.starts_of(block))

    def words_of(self, block: int) -> np.ndarray:
        """Returns a number for each token, the same within one word, int64 (length,)."""
        return np.cumsum(self._cut(self.begins, block) & WORD)

    def _cut(self, row: np.ndarray, block: int) -> np.ndarray:
        return row[block * self.length : (block + 1) * self.length]


def pack(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    frame: tuple[int, int],
    folder: Path,
    length: int,
    words: bool = False,
) -> Blocks:
    """Tokenizes documents into two files in `folder` and returns them as blocks.

    Args:
        documents: texts; a special token that one of them spells is read as text.
        tokenizer: a fast tokenizer.
        frame: the ids that begin and end a document.
        folder: where `tokens.u32` and `begins.u8` go.
        length: tokens in a block.
        words: mark where words begin; else every token is one.

    Raises:
        InputError: fewer than two blocks: one to train on and one to test.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids_path, begins_path = folder / "tokens.u32", folder / "begins.u8"
    with files.atomic(ids_path, "wb") as ids_file, files.atomic(begins_path, "wb") as begins_file:
        for ids, begins in _rows(documents, tokenizer, frame, words):
            ids_file.write(ids.tobytes())
            begins_file.write(begins.tobytes())
    return opened(folder, length)


def opened(folder: Path, length: int) -> Blocks:
    """Returns the blocks that `pack` left in a folder."""
    ids_path = folder / "tokens.u32"
    total = ids_path.stat().st_size // 4
    if total < 2 * length:
        raise InputError(
            f"the corpus has {total} tokens: too small to train on sequences of {length}, which need {2 * length}; "
            "give more text or a shorter --length"
        )
    tokens = np.memmap(ids_path, dtype=np.uint32, mode="r")
    return Blocks(tokens, np.memmap(folder / "begins.u8", dtype=np.uint8, mode="r"), length)


def _rows(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, frame: tuple[int, int], words: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields ids and beginnings of some documents at a time, each (tokens,)."""
    documents = iter(documents)
    start, end = [frame[0]], [frame[1]]
    while texts := list(islice(documents, BATCH)):
        encoded = tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=words,
            return_attention_mask=False,
            verbose=False,
        )
        rows = [(start, row, end) for row in encoded["input_ids"]]
        ids = np.fromiter(chain.from_iterable(chain.from_iterable(rows)), np.uint32)
        begins = (
            _begins_word(texts, encoded["offset_mapping"]) if words else np.full(len(ids), WORD, np.uint8)
        )
        places = np.cumsum([0, *(len(row) + 2 for row in encoded["input_ids"])])[:-1]
        begins[places] |= DOCUMENT
        yield ids, begins


def _begins_word(texts: list[str], offsets: list[list[tuple[int, int]]]) -> np.ndarray:
    """Marks the tokens that start where a word starts, uint8 (tokens + 2 a text for `<s>` and `</s>`,).

    The texts are laid out in one row of characters, one place apart. Of the bytes that spell a character only the
    first begins a word.
    """
    cut = require("transformer", "rjieba").cut
    bases = np.cumsum([0, *(len(text) + 1 for text in texts)])
    word_starts = np.zeros(bases[-1] + 1, np.uint8)
    starts: list[int] = []
    for base, text, spans in zip(bases.tolist(), texts, offsets, strict=False):
        word_starts[list(accumulate(map(len, cut(text)), initial=base))] = 1
        end = base + len(text)
        starts += (-1, *(base + start for start, _ in spans), end)
    places = np.array(starts)
    begins = word_starts[places] & (np.diff(places, prepend=-2) != 0)
    begins[places == -1] = 1
    return begins
