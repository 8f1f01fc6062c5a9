"""Some tokens of a vocabulary kept (`keep_tokens` of bert4keras): a smaller model, the same reading.

- A text whose tokens are all kept is cut as before, whatever the tokenizer: WordPiece takes the longest piece, Unigram
  the most probable pieces, BPE the merges that lead to the pieces kept.
- Special tokens and the bytes that spell anything are always kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from shoestring._errors import InputError, OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 1000  # documents per call of the tokenizer


def used_by(tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], min_count: int = 1) -> list[int]:
    """Returns the ids that occur in a text at least so often, in order."""
    counts: Counter[int] = Counter()
    documents = iter(documents)
    while texts := list(islice(documents, BATCH)):
        for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    if not counts:
        raise InputError("no text to find used tokens in; give files with text")
    return sorted(token for token, count in counts.items() if count >= min_count)


def reachable(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids that some text can have, in order.

    BERT's tokenizer sets every Chinese character and every punctuation mark apart, so a longer piece that holds one
    (`##中`, `...`) is never used: 7,000 of the 21,128 in the Chinese vocabulary.

    Raises:
        InputError: not a WordPiece tokenizer.
    """
    spec = _spec(tokenizer)
    if spec["model"]["type"] != "WordPiece":
        raise InputError(
            f"a {spec['model']['type']} tokenizer: only of WordPiece it is known what no text can have"
        )
    prefix, backend = spec["model"]["continuing_subword_prefix"], tokenizer.backend_tokenizer
    special = {token["content"] for token in spec.get("added_tokens", ())}

    def whole(piece: str) -> bool:
        text = f"a{piece.removeprefix(prefix)}" if piece.startswith(prefix) and piece != prefix else piece
        clean = backend.normalizer.normalize_str(text) if backend.normalizer else text
        return len(backend.pre_tokenizer.pre_tokenize_str(clean)) == 1

    return sorted(index for piece, index in _vocab(spec).items() if piece in special or whole(piece))


def checked(keep: Sequence[int], vocab_size: int) -> list[int]:
    """Returns the ids to keep, which become 0, 1, 2 ... in that order.

    Raises:
        OptionError: an id is not in the vocabulary, or twice in the list.
    """
    if outside := [token for token in keep if not 0 <= token < vocab_size]:
        raise OptionError(f"keep_tokens: {outside[0]} is no id of a vocabulary of {vocab_size:,}")
    if len(set(keep)) != len(keep):
        raise OptionError(f"keep_tokens: {Counter(keep).most_common(1)[0][0]} is there twice")
    return list(keep)


def completed(tokenizer: PreTrainedTokenizerBase, keep: Iterable[int]) -> list[int]:
    """Adds the ids that a tokenizer cannot do without: special tokens, bytes, and the parts of merged pieces."""
    spec = _spec(tokenizer)
    vocab = _vocab(spec)
    needed = {token["content"] for token in spec.get("added_tokens", ())}
    needed |= {piece for piece in vocab if len(piece) == 6 and piece.startswith("<0x")}
    if spec["model"].get("unk_token"):
        needed.add(spec["model"]["unk_token"])
    if spec["model"]["type"] == "BPE":
        needed |= {piece for piece in vocab if len(piece) == 1}
    names = {index: piece for piece, index in vocab.items()}
    wanted = needed | {names[index] for index in keep if index in names}
    if spec["model"]["type"] == "BPE":
        wanted |= _parts(spec["model"]["merges"], wanted)
    return sorted({*keep, *(vocab[piece] for piece in wanted if piece in vocab)})


def pruned(tokenizer: PreTrainedTokenizerBase, keep: Sequence[int]) -> PreTrainedTokenizerBase:
    """Returns a tokenizer whose id k is the old id keep[k].

    Raises:
        OptionError: a special token is not kept.
        InputError: the tokenizer is of a kind that cannot be pruned.
    """
    spec, new_id = _spec(tokenizer), {old: new for new, old in enumerate(keep)}
    model, vocab = spec["model"], _vocab(spec)
    for token in spec.get("added_tokens", ()):
        if token["id"] not in new_id:
            raise OptionError(
                f"keep_tokens: the special token {token['content']} (id {token['id']}) must be kept"
            )
        token["id"] = new_id[token["id"]]
    kept = {piece: new_id[index] for piece, index in vocab.items() if index in new_id}
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in keep if old < len(model["vocab"])]
        model["unk_id"] = None if model["unk_id"] is None else new_id[model["unk_id"]]
    else:
        model["vocab"] = dict(sorted(kept.items(), key=lambda item: item[1]))
    if model["type"] == "BPE":
        model["merges"] = [
            merge for merge in model["merges"] if {*_pair(merge), "".join(_pair(merge))} <= kept.keys()
        ]
    spec["post_processor"] = _renumbered(spec["post_processor"], new_id)
    return _rebuilt(tokenizer, spec)


def _spec(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Returns the tokenizer as JSON."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    spec = json.loads(backend.to_str()) if backend is not None else None
    if spec is None or spec["model"]["type"] not in ("WordPiece", "Unigram", "BPE"):
        kind = type(tokenizer).__name__
        raise InputError(
            f"{kind}: only WordPiece, Unigram and BPE tokenizers with a tokenizer.json can be pruned"
        )
    return spec


def _vocab(spec: Mapping[str, Any]) -> dict[str, int]:
    """Returns piece -> id, added tokens included."""
    model = spec["model"]
    if model["type"] == "Unigram":
        vocab = {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    else:
        vocab = dict(model["vocab"])
    return vocab | {token["content"]: token["id"] for token in spec.get("added_tokens", ())}


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _parts(merges: Iterable[Any], wanted: Iterable[str]) -> set[str]:
    """Returns all pieces that the wanted ones are merged from."""
    made = {}
    for merge in merges:
        left, right = _pair(merge)
        made.setdefault(left + right, []).append((left, right))
    parts, pending = set(), list(wanted)
    while pending:
        for pair in made.get(pending.pop(), ()):
            fresh = set(pair) - parts
            parts |= fresh
            pending += fresh
    return parts


def _renumbered(processor: Any, new_id: Mapping[int, int]) -> Any:
    """Replaces the ids of special tokens in a post-processor, wherever they stand."""
    if isinstance(processor, list):
        if len(processor) == 2 and isinstance(processor[0], str) and isinstance(processor[1], int):
            return [processor[0], new_id[processor[1]]]  # ["[SEP]", 102]
        return [_renumbered(each, new_id) for each in processor]
    if isinstance(processor, dict):
        return {
            name: [new_id[index] for index in value] if name == "ids" else _renumbered(value, new_id)
            for name, value in processor.items()
        }
    return processor


def _rebuilt(tokenizer: PreTrainedTokenizerBase, spec: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    roles = {
        role: str(token) for role, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        model_input_names=tokenizer.model_input_names,
        clean_up_tokenization_spaces=False,
        **roles,
    )
