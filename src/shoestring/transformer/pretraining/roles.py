"""Which ids begin and end a document, cover a word, and are never asked for: whatever tokenizer it is, it says itself.

An encoder reads `[CLS] text [SEP]` and a decoder `<s> text`, by the names that the tokenizer has for them; where it has
only one pair (WordPiece has no `<s>`, Llama's no `[CLS]`), that pair serves both.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoestring._errors import OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

NO_WORDS = re.compile(
    r"<0x[0-9A-Fa-f]{2}>|\[unused\d+\]"
)  # bytes, and BERT's spare places: no noise is made of them


@dataclass(frozen=True)
class Roles:
    """Ids of a tokenizer, for one objective.

    Args:
        start: begins a document.
        end: ends it.
        pad: fills up rows; None if it also starts or ends, since what is padding is never learned.
        mask: covers a word; None for the next-token objectives.
        special: ids that are never asked for.
        noise: ids that stand in for others at random.
        size: of the vocabulary, holes included.
    """

    start: int
    end: int
    pad: int | None
    mask: int | None
    special: np.ndarray
    noise: np.ndarray
    size: int


def roles_of(tokenizer: PreTrainedTokenizerBase, objective: str) -> Roles:
    """Asks a tokenizer for the roles of its ids.

    Raises:
        OptionError: it is a slow one, or lacks a token that the objective needs; says which.
    """
    if not tokenizer.is_fast:
        raise OptionError(
            f"{type(tokenizer).__name__}: only a fast tokenizer says where words begin; save it as tokenizer.json "
            "(use_fast=True) or train one with: shoestring tokenizer"
        )
    reads = objective == "mlm"
    start = _first(tokenizer, ("cls", "bos") if reads else ("bos", "cls"), "begin a document")
    end = _first(tokenizer, ("sep", "eos") if reads else ("eos", "sep"), "end a document")
    mask = (
        _first(tokenizer, ("mask",), "cover a word, as mlm does (or choose --objective clm)")
        if reads
        else None
    )
    pad = tokenizer.pad_token_id
    vocabulary = tokenizer.get_vocab()
    special = {start, end, *tokenizer.all_special_ids}
    special |= {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    noise = [i for text, i in vocabulary.items() if i not in special and not NO_WORDS.fullmatch(text)]
    return Roles(
        start, end, None if pad in (start, end) else pad, mask,
        np.array(sorted(special)), np.array(sorted(noise)), max(vocabulary.values()) + 1,
    )  # fmt: skip


def _first(tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...], purpose: str) -> int:
    for name in names:
        if (found := getattr(tokenizer, f"{name}_token_id")) is not None:
            return found
    raise OptionError(
        f"this tokenizer has no {' and no '.join(f'{name}_token' for name in names)} to {purpose}; "
        "add one to it, or train a tokenizer with: shoestring tokenizer"
    )


def framed(tokenizer: PreTrainedTokenizerBase, roles: Roles, objective: str) -> PreTrainedTokenizerFast:
    """Returns the tokenizer as the model wants its text: what begins it, and for an encoder what ends it.

    A pair is source and target; under `unilm` their types tell them apart.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    start, end = tokenizer.convert_ids_to_tokens([roles.start, roles.end])
    single = [start, "$A", end] if objective == "mlm" else [start, "$A"]
    core = deepcopy(tokenizer.backend_tokenizer)
    core.post_processor = TemplateProcessing(
        single=single,
        pair=[*single, "$B:1", f"{end}:1"],
        special_tokens=[(start, roles.start), (end, roles.end)],
    )
    inputs = ["input_ids", *(["token_type_ids"] if objective == "unilm" else []), "attention_mask"]
    result = PreTrainedTokenizerFast(
        tokenizer_object=core, clean_up_tokenization_spaces=False, model_input_names=inputs,
        model_max_length=tokenizer.model_max_length, **tokenizer.special_tokens_map,
    )  # fmt: skip
    result.chat_template = tokenizer.chat_template
    return result
