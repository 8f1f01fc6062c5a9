"""Text that follows a JSON schema, a regular expression or a list, by llguidance's parser over the tokens' bytes.

- Before each choice, tokens that no text of the grammar goes on with are at minus infinity; the model's own end is
  allowed where the text may end, and nothing else where it must.
- A schema with one of JSON Schema's keywords that llguidance cannot follow is refused, not half followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.lm.engines.base import Engine

OPTIONS = {"whitespace_pattern": r"\n?[ ]{0,16}"}  # a small model could else write spaces for ever


def of_schema(schema: dict[str, Any]) -> str:
    """Returns the grammar of JSON that a schema describes.

    Raises:
        OptionError: no schema, or with keywords that are not known.
    """
    return _checked(
        _library().LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=OPTIONS), "schema"
    )


def of_choice(texts: Sequence[str]) -> str:
    """Returns the grammar of exactly one of the texts."""
    return of_regex("|".join(re.sub(r"([\\.+*?()|\[\]{}^$#&~-])", r"\\\1", text) for text in texts))


def of_regex(pattern: str) -> str:
    """Returns the grammar of texts that a regular expression (of Rust's regex crate) matches as a whole."""
    return _checked(_library().LLMatcher.grammar_from_regex(pattern), "regular expression")


def of_lark(text: str) -> str:
    """Returns the grammar that llguidance's Lark describes."""
    return _checked(_library().LLMatcher.grammar_from_lark(text), "grammar")


class Matcher:
    """What may come next in one row.

    Args:
        engine: whose tokens.
        grammar: from `of_schema`, `of_choice` or `of_regex`.
        ends: ids that end a text.
    """

    def __init__(self, engine: Engine, grammar: str, ends: Collection[int]) -> None:
        self._ends = sorted(ends)
        self._matcher = _library().LLMatcher(_tokens(engine, tuple(self._ends)), grammar)
        self._require_no_error()

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return self._matcher.is_stopped()

    def allowed(self, logits: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
        """Returns the logits, at minus infinity where the grammar does not go on."""
        mask = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        self._require_no_error()
        return logits.masked_fill(mask[: len(logits)] == 0, -torch.inf)

    def take(self, token: int) -> None:
        """Goes on by a token."""
        self._matcher.consume_token(token)
        self._require_no_error()

    def _require_no_error(self) -> None:
        if self._matcher.is_error():
            raise OptionError(
                f"grammar: {' '.join(self._matcher.get_error().partition('<state>')[0].split())[:300]}"
            )


class _Vocabulary:
    """An engine's tokens as llguidance wants them."""

    def __init__(self, engine: Engine, ends: Sequence[int]) -> None:
        tokenizer = engine.tokenizer
        known = len(tokenizer)  # a model may have more ids than its tokenizer; they are never allowed
        self.tokens = [engine.texts.bytes_of(id) if id < known else b"" for id in range(engine.vocabulary)]
        self.special_token_ids = sorted({*tokenizer.all_special_ids, *ends})
        self.eos_token_id, self.bos_token_id = ends[0], None
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text, add_special_tokens=False)


@lru_cache(4)  # of a vocabulary: it takes a second
def _tokens(engine: Engine, ends: tuple[int, ...]) -> Any:
    if not ends:
        raise OptionError("grammar: this model has no token that ends a text")
    library = _library()
    wrapped = library.TokenizerWrapper(_Vocabulary(engine, ends))
    return library.LLTokenizer(wrapped, n_vocab=engine.vocabulary, eos_token=list(ends))


def _checked(grammar: str, what: str) -> str:
    failed, messages = _library().LLMatcher.validate_grammar_with_warnings(grammar)
    if failed or messages:
        raise OptionError(f"{what}: {' '.join(' '.join(messages).split())[:300]}")
    return grammar


def _library() -> Any:
    return require("lm", "llguidance")
