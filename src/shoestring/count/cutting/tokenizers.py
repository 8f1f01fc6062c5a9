"""From a name to a function that cuts a document into tokens, and which engine does it exactly and fastest.

- `kernel`: our C; exact for every dictionary it accepts.
- `rjieba`: jieba-rs, used for what it does exactly (the route through the dictionary, HMM off, no user words); what
  jieba's HMM then does with the characters in between is done by `finalseg`, each run once.
- `jieba`: the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from typing import Any

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.count.cutting import dictionary
from shoestring.count.cutting.whole import unmatched, warning
from shoestring.count.job import LONGEST_PACKED, Job

Cut = Callable[[str], Iterable[str]]
MEMO = 1 << 18  # runs whose cut is remembered


def choose_engine(job: Job) -> tuple[str, str]:
    """Returns the engine for this job and, if it is not the fastest one, why.

    Raises:
        OptionError: the engine asked for is not installed or not exact for this job.
    """
    if ":" in job.tokenizer or (job.tokenizer == "ngram" and not job.df):
        return "python", ""
    why = without_kernel(job) if job.engine in ("auto", "kernel") else "not asked for"
    if not why:
        return "kernel", ""
    if job.engine == "kernel":
        raise OptionError(f"engine kernel: {why}; use --engine auto")
    if job.tokenizer != "jieba":
        return "python", "the native kernel is not built, so this runs in Python"
    if job.engine == "rjieba" and job.user_dict:
        raise OptionError("engine rjieba: it does not treat user words as jieba does; use --engine auto")
    if job.engine == "rjieba" and find_spec("rjieba") is None:
        require("count", "rjieba")
    if job.engine == "rjieba" or (job.engine == "auto" and not job.user_dict and find_spec("rjieba")):
        return (
            "rjieba",
            "" if job.engine == "rjieba" else f"{why}: using rjieba and finalseg, about 20x slower",
        )
    return "jieba", "" if job.engine == "jieba" else f"{why}: using jieba itself, about 80x slower"


def without_kernel(job: Job | None = None) -> str:
    """Says why the kernel cannot do this job (or jieba's own dictionary), "" if it can."""
    job = job or Job()
    if find_spec("shoestring.count._kernel") is None:
        return "the native kernel is not built (no C compiler when shoestring was installed)"
    if job.tokenizer == "jieba":
        try:
            kernel_table(job)
        except dictionary.Unfit as error:
            return f"the native kernel cannot take this dictionary ({error})"
    return ""


def counts_natively(job: Job) -> bool:
    """Whether the kernel also counts what it cuts: words, and runs of up to four words.

    A run is spelled with spaces, so no word of it may have one inside: then two runs could be spelled alike.
    """
    if job.ngrams == (1, 1):
        return True
    if job.ngrams[1] > LONGEST_PACKED or (job.characters and job.stopwords):
        return False
    kept = unmatched(_user_words(job)) if job.whole_words else []
    return not any(" " in word and word != " " for word in (*kept, *job.stop_set()))


def doubt(job: Job) -> str:
    """Says which user words can never be found, "" if all can be."""
    return (
        warning(_user_words(job))
        if job.tokenizer == "jieba" and job.user_dict and not job.whole_words
        else ""
    )


def _user_words(job: Job) -> list[dictionary.UserWord]:
    return dictionary.read_user_dict(job.user_dict) if job.user_dict else []


def kernel_table(job: Job) -> Any:
    """Returns the kernel's table for this job; None for characters and white space."""
    if job.tokenizer != "jieba":
        return None
    words = _user_words(job)
    return dictionary.compiled(words, unmatched(words) if job.whole_words else ())


def tokenizer(job: Job, engine: str) -> Cut:
    """Returns the function that cuts one document; called once per worker process.

    Raises:
        InputError: the user's function cannot be imported.
    """
    if ":" in job.tokenizer:
        return imported(job.tokenizer)
    if job.tokenizer in ("char", "ngram"):
        return list
    if job.tokenizer == "whitespace":
        return str.split
    if engine == "kernel":
        cut, hmm = kernel_table(job).cut, job.hmm
        return lambda text: cut(text, hmm)
    if engine == "rjieba":
        return repaired_rjieba(job.hmm)
    from shoestring.count.cutting.cutter import slow_cut

    words = _user_words(job)
    cut = slow_cut(words, unmatched(words) if job.whole_words else ())
    return lambda text: cut(text, job.hmm)


def imported(name: str) -> Cut:
    """Imports `package.module:function`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"tokenizer {name}: {error}; it must be importable here (PYTHONPATH)") from error
    if not callable(found):
        raise InputError(f"tokenizer {name}: is not a function")
    return found


def repaired_rjieba(hmm: bool) -> Cut:
    """Returns jieba 0.42.1's cut made of rjieba's route and jieba's HMM.

    Without HMM rjieba equals jieba. With HMM it keeps `tv.cctv.com` whole and breaks some ties of the HMM the other
    way; so its HMM is not used: the characters between words are put together again and given to finalseg.
    """
    from shoestring.count.cutting.finalseg import finalseg

    rjieba = require("count", "rjieba")
    if not hmm:
        return lambda text: rjieba.cut(text, False)
    in_dictionary, unknown, by_character = dictionary.known_words(), finalseg(), _ByCharacter()
    memo: dict[str, list[str]] = {}

    def learnt(run: str) -> list[str]:
        if len(memo) >= MEMO:
            memo.clear()
        memo[run] = list(run) if len(run) == 1 or run in in_dictionary else unknown(run)
        return memo[run]

    def cut(text: str) -> list[str]:
        tokens: list[str] = []
        for loose, group in groupby(rjieba.cut(text, False), by_character.__getitem__):
            if not loose:
                tokens += group
            elif (found := memo.get(run := "".join(group))) is not None:
                tokens += found
            else:
                tokens += learnt(run)
        return tokens

    return cut


class _ByCharacter(dict):
    """Remembers of each token whether the route took it by character."""

    def __missing__(self, token: str) -> bool:
        if len(self) >= MEMO:
            self.clear()
        self[token] = in_run(token)
        return self[token]


def in_run(token: str) -> bool:
    """Whether the route took the token character by character: one character of a block, or letters and digits."""
    first = token[0]
    if len(token) > 1:
        return token.isascii() and token.isalnum()
    return "\u4e00" <= first <= "\u9fd5" or (first.isascii() and (first.isalnum() or first in "+#&._%-"))
