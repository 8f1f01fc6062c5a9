"""The tokenizer that a GGUF file describes, as a Hugging Face tokenizer.

- `gpt2` is byte-level BPE with merges; how a text is cut before is named by `tokenizer.ggml.pre`.
- `llama` is SentencePiece's BPE: pieces with scores, bytes for what no piece has.

Names of cuts that are not in `_CUTS`, and other kinds, are refused: ids that are nearly right are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoestring._errors import InputError

_CONTROL, _USER, _UNKNOWN = 3, 4, 2  # kinds of tokens, tokenizer.ggml.token_type
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CUTS = {  # name -> regular expression; None is GPT-2's own, which "smollm" uses after cutting digits apart
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}",
}


def tokenizer_of_gguf(values: Mapping[str, Any], where: object) -> Any:
    """Returns the tokenizer.

    Args:
        values: the file's metadata.
        where: its name, for errors.

    Raises:
        InputError: there is none, or one of a kind that is not known here.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    kind = values.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise InputError(
            f"{where}: its tokenizer is {kind!r}; readable are gpt2 and llama. Use the model's Hugging Face folder"
        )
    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    backend = _byte_level(values, where) if kind == "gpt2" else _sentencepiece(values)
    added = [AddedToken(token, special=each == _CONTROL, normalized=False)
             for token, each in zip(tokens, kinds, strict=True) if each in (_CONTROL, _USER)]  # fmt: skip
    backend.add_tokens(added)
    names = {}
    for role, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        id = values.get(f"tokenizer.ggml.{name}_token_id")
        if id is not None and id < len(tokens):
            names[f"{role}_token"] = tokens[id]
    if _begins(values) and "bos_token" in names:
        _begin(backend, names["bos_token"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = values.get("tokenizer.chat_template")
    return tokenizer


def ends_of_gguf(values: Mapping[str, Any]) -> list[int]:
    """Returns the ids that end a text or a turn."""
    found = (values.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    return sorted({int(id) for id in found if id is not None})


def _begins(values: Mapping[str, Any]) -> bool:
    """Tells whether a text begins with BOS; where the file does not say, llama.cpp's own rule."""
    usual = values["tokenizer.ggml.model"] == "llama" or values.get("tokenizer.ggml.pre") == "llama-bpe"
    return bool(values.get("tokenizer.ggml.add_bos_token", usual))


def _begin(backend: Any, token: str) -> None:
    from tokenizers.processors import TemplateProcessing

    backend.post_processor = TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token} $B",
        special_tokens=[(token, backend.token_to_id(token))],
    )


def _byte_level(values: Mapping[str, Any], where: object) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    name = values.get("tokenizer.ggml.pre", "gpt-2")
    if name not in _CUTS:
        raise InputError(
            f"{where}: cuts text as {name!r}; known are {', '.join(_CUTS)}. Use its Hugging Face folder"
        )
    vocabulary = {token: id for id, token in enumerate(values["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in values["tokenizer.ggml.merges"]]
    model = models.BPE(vocabulary, merges, ignore_merges=name == "llama-bpe")
    backend, cut = Tokenizer(model), _CUTS[name]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut is None)
    first = (
        pre_tokenizers.Split(Regex(cut), "isolated") if cut else pre_tokenizers.Digits(individual_digits=True)
    )
    backend.pre_tokenizer = bytes_ if name == "gpt-2" else pre_tokenizers.Sequence([first, bytes_])
    if name == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(values: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == _UNKNOWN), None)
    merges = _merges(vocabulary, values["tokenizer.ggml.scores"])
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = bool(values.get("tokenizer.ggml.add_space_prefix", True))
    spaces = [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if prefix else spaces)
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def _merges(vocabulary: Mapping[str, int], scores: Any) -> list[tuple[str, str]]:
    """Returns all pairs of pieces that make up a piece, the piece with the best score first."""
    found = []
    for piece, id in vocabulary.items():
        parts = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = [part for part in parts if part[0] in vocabulary and part[1] in vocabulary]
        known.sort(key=lambda part: (vocabulary[part[0]], vocabulary[part[1]]))
        found += [(-scores[id], place, part) for place, part in enumerate(known)]
    return [part for _, _, part in sorted(found, key=lambda each: each[0])]
