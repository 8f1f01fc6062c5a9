"""Writes the tables of measured claims into the READMEs and guides, from benchmarks/results/*.json.

    python tools/write_tables.py            -> README.md, README.zh.md, docs/*.md

`tests/test_readme.py` checks that the files are up to date.
"""

from __future__ import annotations

import re

from tables.claims import claims
from tables.growing import grow_families, grow_smollm2
from tables.guides import (
    attention,
    engines,
    goals,
    growth,
    growth_pays,
    head_smollm2,
    head_width,
    images,
    new_words,
    peers,
    trainers,
)
from tables.language_models import language_models
from tables.matching import matching
from tables.real_models import real_models
from tables.results import ROOT

BLOCKS = {
    "README.md": {"claims": lambda: claims(chinese=False)},
    "README.zh.md": {"claims": lambda: claims(chinese=True)},
    "docs/count.md": {"engines": engines, "goals": goals, "peers": peers, "new_words": new_words},
    "docs/transformer.md": {
        "tokenizer": trainers,
        "attention": attention,
        "head_width": head_width,
        "head_smollm2": head_smollm2,
    },
    "docs/grow.md": {
        "growth": growth,
        "growth_pays": growth_pays,
        "grow_families": grow_families,
        "grow_smollm2": grow_smollm2,
    },
    "docs/lm.md": {"real": real_models, "lm": language_models},
    "docs/nvae.md": {"goals": images},
    "docs/match.md": {"match": matching},
}


def written(text: str, name: str, block: str) -> str:
    """Returns the text with what stands between `<!-- name` and `<!-- /name -->` replaced."""
    return re.sub(
        rf"(<!-- {name}[^>]*-->\n).*?(<!-- /{name} -->)", lambda match: f"{match[1]}{block}\n{match[2]}", text,
        flags=re.DOTALL,
    )  # fmt: skip


def up_to_date(path: str) -> str:
    """Returns what a file should say."""
    text = (ROOT / path).read_text("utf-8")
    for name, block in BLOCKS[path].items():
        text = written(text, name, block())
    return text


def main() -> None:
    """Writes every file."""
    for path in BLOCKS:
        (ROOT / path).write_text(up_to_date(path), "utf-8")


if __name__ == "__main__":
    main()
