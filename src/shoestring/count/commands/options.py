"""Options that `count` and `count compare` share: how text is cut, by how many workers, within how much memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from shoestring.count.commands.amounts import any_length, size, span
from shoestring.count.job import ENGINES, TOKENIZERS, Job
from shoestring.files.options import reading_options

SAME_NAMES = ("engine", "hmm", "user_dict", "whole_words", "stopwords", "workers")  # as in `Job`
OPTIONS = (
    click.option(
        "--tokenizer", default="jieba", show_default=True, metavar="NAME",
        help=f"{', '.join(TOKENIZERS)}, or package.module:function.",
    ),
    click.option(
        "--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
        help="How jieba is run; all give the same tokens.",
    ),
    click.option(
        "--hmm/--no-hmm", default=True, show_default=True, help="Look for words that are not in the dictionary."
    ),
    click.option("--user-dict", metavar="FILE", help="jieba user dictionary: word [frequency] [tag] per line."),
    click.option("--whole-words", is_flag=True, help="Keep user words with spaces or punctuation in them whole."),
    click.option("--stopwords", metavar="FILE", help="Words to leave out, one per line."),
    click.option("--ngrams", metavar="N|M-N", help="Count runs of tokens; for char and ngram 1 to 4 characters."),
    click.option("--workers", default=0, help="Threads or processes.  [default: every core]"),
    click.option(
        "--memory", default="2GB", show_default=True, help="What the tables may take before they go to disk."
    ),
)  # fmt: skip


def counting_options(function: Callable) -> Callable:
    """Adds the options of cutting and of reading, and passes them as one `job`."""

    @reading_options(errors="strict")
    @functools.wraps(function)
    def run(*arguments: Any, reading, tokenizer, ngrams, memory, **options: Any) -> Any:
        job = Job(
            tokenizer,
            ngrams=span(ngrams) if ngrams else (1, 4) if tokenizer == "ngram" else (1, 1),
            memory=size(memory),
            reading=any_length(reading),
            **{name: options.pop(name) for name in SAME_NAMES},
        )
        return function(*arguments, job=job, **options)

    for option in reversed(OPTIONS):
        run = option(run)
    return run
