"""What is to be counted, and how: one frozen value that goes to every worker, ledger and machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.files import Part, Reading

TOKENIZERS = ("jieba", "char", "whitespace", "ngram")
ENGINES = ("auto", "kernel", "rjieba", "jieba")
LONGEST_PACKED = 4  # characters in a 64-bit key
SAME_COUNTS = (
    "workers",
    "memory",
    "min_count",
    "top",
    "engine",
)  # fields that a half-finished count survives


@dataclass(frozen=True)
class Job:
    """One count.

    Args:
        tokenizer: `"jieba"`; `"char"`, single characters; `"whitespace"`, for text that is already segmented;
            `"ngram"`, runs of 1 to 4 characters; or `"package.module:function"`, which takes a document and
            returns its tokens.
        engine: how jieba is run; all give the same tokens. `"auto"` takes the fastest that is exact here.
        hmm: jieba's HMM, which finds words that are not in the dictionary.
        user_dict: a jieba user dictionary.
        whole_words: keep user words whole that jieba splits, because they have spaces or punctuation in them.
        stopwords: a file of words to leave out, one per line.
        ngrams: shortest and longest run of tokens to count, as one row, joined by spaces (characters: by nothing).
        workers: threads or processes; 0 takes every core this process may use.
        memory: bytes that the tables may take before they go to disk as sorted runs.
        min_count: rarer words are left out of the result.
        top: only the first so many; 0 takes all.
        df: also count in how many documents a word occurs.
        shard: (i, n): only every n-th part of the corpus, from the i-th, 1-based; `merge` joins the results.
        part_bytes: how much one worker takes at a time.
        reading: encodings, errors and fields, see `shoestring.files.Reading`.

    Raises:
        OptionError: a value is out of range or contradicts another.
    """

    tokenizer: str = "jieba"
    engine: str = "auto"
    hmm: bool = True
    user_dict: str | None = None
    stopwords: str | None = None
    ngrams: tuple[int, int] = (1, 1)
    workers: int = 0
    memory: int = 2 << 30
    min_count: int = 1
    top: int = 0
    df: bool = False
    shard: tuple[int, int] = (1, 1)
    part_bytes: int = 1 << 20
    whole_words: bool = False
    reading: Reading = field(default_factory=lambda: Reading(errors="strict", max_document_bytes=None))

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS and ":" not in self.tokenizer:
            raise OptionError(
                f"tokenizer {self.tokenizer!r}: choose {', '.join(TOKENIZERS)} or package.module:function"
            )
        if self.engine not in ENGINES:
            raise OptionError(f"engine {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.whole_words and (self.user_dict is None or self.tokenizer != "jieba"):
            raise OptionError("--whole-words are those of --user-dict, with --tokenizer jieba: give both")
        low, high = self.ngrams
        if not 1 <= low <= high <= 9:
            raise OptionError(
                f"ngrams {low}-{high}: give one length or a range from 1 to 9, such as 2 or 1-4"
            )
        if self.characters and high > LONGEST_PACKED:
            raise OptionError(f"ngrams {low}-{high}: runs of characters are counted up to {LONGEST_PACKED}")
        index, shards = self.shard
        if not 1 <= index <= shards:
            raise OptionError(f"shard {index}/{shards}: the first number goes from 1 to the second")
        if shards > 1 and (self.min_count > 1 or self.top):
            raise OptionError("a shard keeps every word: give --min-count and --top to `count merge` instead")
        for name, least in {
            "workers": 0,
            "min_count": 1,
            "top": 0,
            "memory": 1 << 20,
            "part_bytes": 1,
        }.items():
            if getattr(self, name) < least:
                raise OptionError(f"{name}={getattr(self, name)}: must be at least {least}")

    @property
    def characters(self) -> bool:
        """Whether this counts runs of characters."""
        return self.tokenizer == "ngram" or (self.tokenizer == "char" and self.ngrams != (1, 1))

    @property
    def packed(self) -> bool:
        """Whether they go into 64-bit keys, which know nothing of documents."""
        return self.characters and not self.df

    @property
    def cores(self) -> int:
        """Workers to start."""
        return self.workers or usable_cores()

    def stop_set(self) -> frozenset[str]:
        """Reads the file of stop words."""
        if self.stopwords is None:
            return frozenset()
        try:
            text = Path(self.stopwords).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"stop words {self.stopwords}: {getattr(error, 'strerror', None) or error}"
            ) from error
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        return frozenset(line.strip() or line for line in lines if line)  # a line of blanks is that blank

    def fingerprint(self, parts: Sequence[Part]) -> str:
        """Identifies all that a half-finished count depends on: settings, files of words, and the parts in their order.

        What is counted is kept by the numbers of batches, so the same files in another order are another count.

        Raises:
            OptionError: a part is standard input, which cannot be read again.
        """
        if any(part.path == "-" for part in parts):
            raise OptionError("--resume: standard input cannot be read a second time; give a file")
        from hashlib import blake2b

        digest = blake2b(digest_size=16)
        for each in fields(self):
            if each.name not in SAME_COUNTS:
                digest.update(f"{each.name}={getattr(self, each.name)!r}\n".encode())
        for path in filter(None, (self.user_dict, self.stopwords)):
            digest.update(Path(path).read_bytes() if os.path.exists(path) else b"")
        states = {path: _state(path) for path in {part.path for part in parts}}
        for part in parts:
            digest.update(f"{part!r} {states[part.path]}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _state(path: str) -> object:
    """What changes when a file's content does: size and time, or what the remote system has in their place."""
    if "://" in path:
        system, name = require("files", "fsspec").core.url_to_fs(path)
        return system.ukey(name)
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
