"""A tokenizer trained on your own text: pieces that never cross a Chinese word, and any byte.

- Text is cut into words (jieba's dictionary and HMM, through rjieba) and the words are counted; a tokenizer of a
  given size follows from the counts alone. In use no segmenter is needed: the model picks among its pieces.
- `unigram` (Kudo 2018) takes the most frequent characters and words as pieces and their relative frequency as
  probability: the segmentation is known, so there is nothing for EM to estimate. `bpe` merges pairs (Sennrich 2016).
- Characters outside the vocabulary become their UTF-8 bytes, so decode(encode(text)) == text for every text.
- Runs of Han, runs of letters, single digits, spaces and runs of punctuation are the widest limits of a piece.
- Saved in Hugging Face form: `AutoTokenizer.from_pretrained(folder)` loads it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from shoestring._errors import InputError, OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]  # ids 0 to 4, the defaults of ShoestringConfig
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
FIXED = len(SPECIAL) + len(BYTES)
KINDS = ("unigram", "bpe")
PIECES = r"\p{Han}+|[\p{L}\p{M}&&[^\p{Han}]]+|\p{N}|\s+|[^\s\p{L}\p{M}\p{N}]+"
LONGEST_PIECE = 16  # characters
BETWEEN = "\x1f"  # ends a word in the training strings of BPE
REPEAT = 1000  # how often one training string of BPE holds its word


def count_words(documents: Iterable[str]) -> Counter[str]:
    """Returns how often each word occurs, in memory proportional to the number of distinct words."""
    cut = require("transformer", "rjieba").cut
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(cut(document))
    return counts


def train_tokenizer(
    counts: Mapping[str, int], vocab_size: int = 8192, kind: str = "unigram"
) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of exactly `vocab_size` ids: 5 special tokens, 256 bytes, and pieces.

    Half of the pieces at most are single characters; rarer ones are spelt in bytes.

    Args:
        counts: words and how often they occur, as from `count_words`.
        vocab_size: number of ids.
        kind: `unigram` or `bpe`.

    Raises:
        OptionError: unknown kind, a size too small, or one that the text does not support.
        InputError: no words.

    >>> tokenizer = train_tokenizer({"我们": 3, "喜欢": 2, "读": 2, "书": 2}, FIXED + 8)
    >>> tokenizer.tokenize("我们喜欢读书")
    ['我们', '喜欢', '读', '书']
    """
    if kind not in KINDS:
        raise OptionError(f"--model {kind}: unknown; choose one of {', '.join(KINDS)}")
    if vocab_size <= FIXED + 1:
        raise OptionError(
            f"--vocab-size {vocab_size}: {FIXED} ids are special tokens and bytes; give more than that"
        )
    if not counts:
        raise InputError("no text to learn a vocabulary from; give files with text")
    size = vocab_size - FIXED
    pieces = _pieces(counts)
    core = _unigram(pieces, size) if kind == "unigram" else _bpe(pieces, size)
    learned = core.get_vocab_size()
    if learned < vocab_size:
        raise OptionError(
            f"--vocab-size {vocab_size}: this corpus supports only {learned}; type a smaller size or give more text"
        )
    return _wrapped(core)


def _pieces(counts: Mapping[str, int]) -> Counter[str]:
    """Cuts the words where `PIECES` does: a word of jieba may mix digits and letters."""
    split = _splitter()
    pieces: Counter[str] = Counter()
    for word, count in counts.items():
        for piece, _ in split.pre_tokenize_str(word):
            pieces[piece] += count
    return pieces


def _letters(pieces: Mapping[str, int]) -> Counter[str]:
    letters: Counter[str] = Counter()
    for piece, count in pieces.items():
        for letter in piece:
            letters[letter] += count
    return letters


def _most_frequent(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda text: (-counts[text], text))


def _unigram(pieces: Counter[str], size: int) -> tokenizers.Tokenizer:
    """The unigram model whose segmentation is known: P(piece) is its share of the pieces."""
    from tokenizers import models

    letters = _letters(pieces)
    wide = [piece for piece in _most_frequent(pieces) if 1 < len(piece) <= LONGEST_PIECE]
    alphabet = _most_frequent(letters)[: max(size // 2, size - len(wide))]
    wide = wide[: size - len(alphabet)]
    occurrences = {piece: pieces[piece] for piece in wide}
    spelt = _letters({piece: count for piece, count in pieces.items() if piece not in occurrences})
    occurrences |= {letter: spelt[letter] for letter in alphabet}
    total = sum(occurrences.values())
    scores = {piece: math.log(max(count, 0.5) / total) for piece, count in occurrences.items()}
    last_resort = min(scores.values()) - 10.0
    vocab = [*((token, 0.0) for token in SPECIAL), *((byte, last_resort) for byte in BYTES), *scores.items()]
    return _assembled(models.Unigram(vocab, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))


def _bpe(pieces: Counter[str], size: int) -> tokenizers.Tokenizer:
    """Byte-pair encoding by the trainer of `tokenizers`, with byte tokens added, which it does not do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(BETWEEN, "removed"), _splitter()])
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(SPECIAL),
        special_tokens=SPECIAL,
        max_token_length=LONGEST_PIECE,
        show_progress=False,
    )
    letters = _most_frequent(_letters(pieces))
    core.train_from_iterator(_repeated(pieces, letters[size // 2 :]), trainer)
    model = json.loads(core.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].get)[len(SPECIAL) :]
    learned += letters[size // 2 :][: size - len(learned)]  # where there was nothing more to merge
    vocab = {token: index for index, token in enumerate((*SPECIAL, *BYTES, *learned))}
    merges = [tuple(pair) for pair in model["merges"]]
    return _assembled(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))


def _repeated(pieces: Counter[str], rare: Sequence[str]) -> Iterator[str]:
    """Yields every piece as often as it occurs; nothing is merged across `BETWEEN`, which hides rare characters."""
    blanks = {ord(letter): BETWEEN for letter in rare}
    for piece, count in pieces.items():
        word = piece.translate(blanks) + BETWEEN
        for start in range(0, count, REPEAT):
            yield word * min(REPEAT, count - start)


def _splitter() -> tokenizers.pre_tokenizers.PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(PIECES), "isolated")


def _assembled(model: tokenizers.models.Model) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders

    core = Tokenizer(model)
    core.pre_tokenizer = _splitter()
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return core


def _wrapped(core: tokenizers.Tokenizer) -> PreTrainedTokenizerFast:
    """The Hugging Face form: `<s> text </s>`; `<mask>`, `<pad>` and the others known by their roles."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = [("<s>", SPECIAL.index("<s>")), ("</s>", SPECIAL.index("</s>"))]
    core.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", unk_token="<unk>", mask_token="<mask>", clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
