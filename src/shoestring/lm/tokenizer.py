"""The tokenizer of CPM-LM and CPM-Distill, equal to the original id for id, as a Hugging Face tokenizer.

- The rule: jieba cuts, " " and newline become ▂ and ▃, the words are joined by spaces, SentencePiece encodes.
  Every word and every sign starts a piece; full-width signs come back as ASCII (NFKC), as they did originally.
- Both published vocabulary files: the first lacks the newline piece and becomes the second, byte for byte.
- `transformers` has a CpmTokenizer too, which gives other ids; ours is saved under another name, so that nobody
  loads that one by mistake.

Source: CPM-1-Generate, data_util/tokenization_gpt2.py (MIT).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GPT2Config, PreTrainedTokenizer

from shoestring._errors import InputError
from shoestring._extras import require

FILE = "chinese_vocab.model"
SPACE, NEWLINE = "▂", "▃"
NEWLINE_ID, PAD_ID, EOD_ID = 3, 5, 7
_TO_PIECES = str.maketrans({" ": SPACE, "\n": NEWLINE})
# Entries 3 and 7 of the model file in the first public release, and what the second made of them.
_SECOND_RELEASE = (
    (b"\n\x0e\n\x05<cls>\x15\0\0\0\0\x18\x03", b"\n\x0c\n\x03\xe2\x96\x83\x15\0\0\0\xc0\x18\x01"),
    (b"\n\x0e\n\x05<eod>\x15\0\0\0\0\x18\x03", b"\n\x0e\n\x05<eod>\x15\0\0\0\0\x18\x01"),
)


class ShoestringCpmTokenizer(PreTrainedTokenizer):
    """Encodes and decodes as CPM-LM was trained.

    Pads on the left; `<eod>` ends a text. A special token's name inside a text is text, as in the original.

    Args:
        vocab_file: `chinese_vocab.model`, of either release.
        kwargs: as any Hugging Face tokenizer takes.

    Raises:
        InputError: no such file, or another SentencePiece model.

    >>> tokenizer = CpmTokenizer("chinese_vocab.model")  # doctest: +SKIP
    >>> tokenizer.encode("你好\\n")  # doctest: +SKIP
    [6756, 8, 3]
    """

    vocab_files_names = {"vocab_file": FILE}  # noqa: RUF012 - transformers reads this class attribute
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 - and this one
    padding_side = "left"

    def __init__(self, vocab_file: str | os.PathLike[str], **kwargs: Any) -> None:
        sentencepiece: Any = require("lm", "sentencepiece", "jieba")
        self.vocab_file = os.fspath(vocab_file)
        try:
            self.pieces = sentencepiece.SentencePieceProcessor(model_proto=_second_release(self.vocab_file))
        except RuntimeError as error:
            raise InputError(f"{vocab_file}: damaged or half downloaded; copy it again") from error
        if len(self.pieces) <= EOD_ID or self.pieces.id_to_piece(NEWLINE_ID) != NEWLINE:
            raise InputError(f"{vocab_file}: not CPM's vocabulary, whose id 3 is ▃; give its {FILE}")
        self._texts = [_text_of(self.pieces, index) for index in range(len(self.pieces))]
        for role, token in {"unk": "<unk>", "pad": "<pad>", "eos": "<eod>", "sep": "<sep>"}.items():
            kwargs.setdefault(f"{role}_token", token)
        kwargs.setdefault("mask_token", "<mask>")
        kwargs.setdefault("split_special_tokens", True)
        kwargs.setdefault("special_tokens_pattern", "none")
        kwargs.setdefault("token_type_ids_pattern", "all_zeros")
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return len(self.pieces)

    def get_vocab(self) -> dict[str, int]:
        """Returns piece -> id."""
        return {self.pieces.id_to_piece(index): index for index in range(len(self.pieces))}

    def encode_with_words(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids and, for each, the word of the text that it is a piece of, as text[begin:end].

        A finer answer does not exist: NFKC may turn one character into several and several into one.
        """
        ids, spans, begin = [], [], 0
        for word in _words(text):
            pieces = self.pieces.encode(word.translate(_TO_PIECES))
            ids += pieces
            spans += [(begin, begin + len(word))] * len(pieces)
            begin += len(word)
        return ids, spans

    def text_of(self, index: int) -> str:
        """Returns what one id adds to a decoded text; decoding is joining these."""
        return self._texts[index]

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Returns 0 for pieces that are there.

        Raises:
            InputError: one that is not; the vocabulary is the model's, and a text is never cut at others.
        """
        several = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        for token in map(str, several):
            if self.pieces.id_to_piece(self.pieces.piece_to_id(token)) != token:
                raise InputError(
                    f"add_tokens {token!r}: CPM's vocabulary is fixed, {len(self.pieces):,} pieces"
                )
        return 0

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return [self.pieces.id_to_piece(index) for index in self.pieces.encode(_joined(text))]

    def _convert_token_to_id(self, token: str) -> int:
        return self.pieces.piece_to_id(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.pieces.id_to_piece(index)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Joins pieces to text: ▂ becomes a space, ▃ a new line, an unknown character ⁇."""
        return "".join(self._texts[self.pieces.piece_to_id(token)] for token in tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Writes the vocabulary file in its second release."""
        target = Path(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + FILE)
        target.write_bytes(self.pieces.serialized_model_proto())
        return (str(target),)


CpmTokenizer = ShoestringCpmTokenizer  # the longer name is for tokenizer_config.json, see the first lines


class _Registered(GPT2Config):
    """Exists because the Auto classes register a tokenizer only along with a configuration."""

    model_type = "shoestring-cpm"


AutoTokenizer.register(_Registered, ShoestringCpmTokenizer)


def _second_release(path: str) -> bytes:
    """Returns the model file's bytes, of the first release as the second would have them."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; give the {FILE} that came with CPM-LM")
    model = Path(path).read_bytes()
    if not model.startswith(b"\n\x0e\n\x05<unk>"):
        raise InputError(f"{path}: not a SentencePiece model of CPM; give its {FILE}")
    for first, second in _SECOND_RELEASE:
        model = model.replace(first, second, 1)
    return model


def _text_of(pieces: Any, index: int) -> str:
    if pieces.is_unknown(index):
        return "⁇"
    if pieces.is_control(index):
        return ""
    return pieces.id_to_piece(index).replace("▁", "").replace(SPACE, " ").replace(NEWLINE, "\n")


def _joined(text: str) -> str:
    return " ".join(word.translate(_TO_PIECES) for word in _words(text))


def _words(text: str) -> Iterator[str]:
    return _jieba().cut(text, cut_all=False)


@lru_cache(maxsize=1)
def _jieba() -> Any:
    """A cutter of our own: words that the program added to jieba's shared one would change ids."""
    import jieba

    jieba.setLogLevel(logging.ERROR)
    return jieba.Tokenizer()
