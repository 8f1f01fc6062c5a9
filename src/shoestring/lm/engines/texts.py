"""How text becomes ids and ids become text: special tokens are decided here and nowhere else.

- Before a text stands what its tokenizer puts there, such as `<s>` or [CLS]; what it would put after a text, such as
  BERT's [SEP], is left out, since the model is to go on.
- A conversation that a chat template wrote has its special tokens already.
- A text ends with any of the ids that generation_config.json names (config.json where that says nothing), with the
  tokenizer's end, and with what the tokenizer puts after a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from shoestring import hub
from shoestring._errors import InputError
from shoestring.lm.tokenizer import CpmTokenizer
from shoestring.lm.weights.gguf_source import GgufSource
from shoestring.lm.weights.sources import Source

_PROBE = "a"  # a text whose ids show what is put around them
_CHINESE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_GAP = re.compile(f"(?<=[{_CHINESE}]) | (?=[{_CHINESE}])")
_HALF = re.compile("[\ud800-\udfff]")
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class Texts:
    """A model's tokenizer, as all that runs the model uses it.

    Args:
        tokenizer: a Hugging Face tokenizer.
        ends: ids that end a text, besides those that the tokenizer knows.

    >>> Texts(tokenizer).encode("你好")  # doctest: +SKIP
    [101, 872, 1962]
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.before, self.after = _around(tokenizer)
        own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.ends = frozenset((*ends, *own, *self.after))

    def encode(self, text: str) -> list[int]:
        """Returns the ids that a model reads of a text that it is to continue; InputError as `encode_chat`."""
        return [*self.before, *self.encode_chat(text)]

    def encode_chat(self, text: str) -> list[int]:
        """Returns the ids of what a chat template wrote: no others are put before or after it.

        Raises:
            InputError: the text has half a surrogate pair, which is no character.
        """
        if half := _HALF.search(text):
            raise InputError(
                f"the text has U+{ord(half[0]):04X}, half a character, at {half.start():,}; give it in UTF-8"
            )
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens.

        A vocabulary of whole words (BERT's) says nothing about spaces; none are set beside Chinese signs.
        """
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return _GAP.sub("", text) if self._decoder == "WordPiece" else text

    def bytes_of(self, id: int) -> bytes:
        """Returns what a token stands for; several tokens may make up one character."""
        token = self.tokenizer.convert_ids_to_tokens(id) or ""
        if isinstance(self.tokenizer, CpmTokenizer):
            return self.tokenizer.text_of(id).encode()
        if self._decoder == "ByteLevel" and id not in self._added:
            return bytes(_BYTES[letter] for letter in token)
        if found := _BYTE.fullmatch(token):
            return bytes([int(found[1], 16)])
        return (
            token.removeprefix("##") if self._decoder == "WordPiece" else token.replace("▁", " ")
        ).encode()

    def names(self, ids: Sequence[int]) -> list[str]:
        """Returns a name for each id, no two alike: its text, its bytes if they are no text, or else its number.

        >>> Texts(tokenizer).names([25677, 247])  # half an emoji, and its other half  # doctest: +SKIP
        ['bytes:\\\\xf0\\\\x9f\\\\x98', 'bytes:\\\\x80']
        """
        names: list[str] = []
        for id in ids:
            name = _shown(self.bytes_of(id))
            names.append(f"token_id:{id}" if name in names else name)
        return names

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self.tokenizer.added_tokens_decoder)

    @cached_property
    def _decoder(self) -> str:
        decoder = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "decoder", None)
        if type(decoder).__name__ == "Sequence":
            kinds = re.findall(r"(\w+)\(", str(decoder))
            return "ByteLevel" if "ByteLevel" in kinds else "Sequence"
        return type(decoder).__name__


def tokenizer_of(folder: Path, vocabulary: int) -> Any:
    """Returns the tokenizer that lies with a model.

    Raises:
        InputError: none, or one with more ids than the model has.
    """
    with hub.silenced():
        return fitted(hub.load_tokenizer(folder), vocabulary, folder)


def fitted(tokenizer: Any, vocabulary: int, where: Path) -> Any:
    """Returns the tokenizer, set to pad on the left.

    Raises:
        InputError: it has more ids than the model.
    """
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{where}: its tokenizer has {len(tokenizer):,} ids, but the weights have {vocabulary:,}; "
            "it belongs to another model"
        )
    tokenizer.padding_side = "left"
    return tokenizer


def texts_of(source: Source, vocabulary: int) -> Texts:
    """Returns the texts of a model's folder or GGUF file."""
    if isinstance(source, GgufSource):
        return Texts(fitted(source.tokenizer, vocabulary, source.folder), source.ends)
    return Texts(tokenizer_of(source.folder, vocabulary), ends_of_folder(source.folder, vocabulary))


def ends_of_folder(folder: Path, vocabulary: int) -> list[int]:
    """Returns the ids that a model's folder says end a text.

    Raises:
        InputError: they are no ids.
    """
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        said = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if said.get("eos_token_id") is not None:
            return ends_in(said, vocabulary, path)
    return []


def ends_in(settings: Mapping[str, Any], vocabulary: int, where: Path) -> list[int]:
    """Returns `eos_token_id`, one or several, of the ids that the model has."""
    said = settings.get("eos_token_id")
    ends = said if isinstance(said, list) else [] if said is None else [said]
    if not all(type(end) is int for end in ends):
        raise InputError(f"{where}: eos_token_id {said!r}: must be an id, or a list of ids")
    return [end for end in ends if 0 <= end < vocabulary]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    bare = list(tokenizer.encode(_PROBE, add_special_tokens=False))
    whole = list(tokenizer.encode(_PROBE))
    for place in range(len(whole) - len(bare) + 1):
        if whole[place : place + len(bare)] == bare and (bare or not whole):
            return whole[:place], whole[place + len(bare) :]
    raise InputError(
        f"the tokenizer makes {whole} of a text whose own ids are {bare}; not known where it begins"
    )


def _shown(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _letters() -> dict[str, int]:
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _letters()  # GPT-2's: printable bytes stand for themselves, others for letters from 256 on
