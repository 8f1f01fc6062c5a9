"""Writes the tables of measured claims into the READMEs and guides, from benchmarks/results/*.json.

    python benchmarks/table.py            -> README.md, README.zh.md, docs/*.md

A claim whose result is not there is left out. `tests/test_readme.py` checks that the files are up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


PEERS = ("tokenizers UnigramTrainer", "tokenizers BpeTrainer", "sentencepiece unigram")


@dataclass(frozen=True)
class Claim:
    """One row: what is measured, from which result, and how its numbers read."""

    result: str
    english: str
    chinese: str
    figures: Callable[[dict[str, Any]], tuple[str, str]]


CLAIMS = (
    Claim(
        "count", "count: word frequencies as jieba counts them, whole command, 2 workers",
        "count：与 jieba 完全一致的词频，整条命令，2 个进程",
        lambda r: (f"{r['words']['bytes'] / 1e6 / r['words']['kernel, 2 workers']['seconds']:.0f} MB/s",
                   f"naive jieba loop: {r['words']['bytes'] / 1e6 / r['words']['naive jieba loop']['seconds']:.1f} MB/s "
            f"(1/{r['words']['ratios']['kernel on 2 workers over naive']:.0f})",
    ),
    Claim(
        "count", "count: the same in CPU seconds, 1 worker", "count：同一任务的 CPU 秒数，1 个进程",
        lambda r: (f"{r['words']['kernel, 1 worker']['cpu']:.1f} s",
                   f"naive jieba: {r['words']['naive jieba loop']['cpu']:.0f} s; "
                   f"rjieba (not exact): {r['words']['rjieba loop (not exact)']['cpu']:.0f} s"),
    ),
    Claim(
        "relay", "relay: delay added to a frame, median (99 %)", "relay：每帧增加的延迟，中位数（99 %）",
        lambda r: (f"{r['added_p50_ms']:.2f} ms ({r['added_p99_ms']:.2f} ms)",
                   f"a direct veth hop: {r['direct_p50_ms']:.2f} ms ({r['direct_p99_ms']:.2f} ms)"),
    ),
    Claim(
        "relay", "relay: memory on the system's Python", "relay：系统 Python 下的内存",
        lambda r: (f"{r['rss_mb']:.1f} MB", "goal: 12 MB"),
    ),
    Claim(
        "tokenizer", "transformer: CPU time to train a tokenizer of 8,192 ids",
        "transformer：训练 8,192 词表的 CPU 时间",
        lambda r: (f"{r['trainers']['shoestring unigram']['cpu_seconds']:.1f} s",
                   "; ".join(f"{name}: {r['trainers'][name]['cpu_seconds']:.0f} s" for name in PEERS)),
    ),
    Claim(
        "startup", "`shoestring --help`, start to end", "`shoestring --help` 全程",
        lambda r: (f"{r['ratio_to_bare_python']['shoestring --help']:.2f} x bare Python",
                   f"`import click` alone: {r['ratio_to_bare_python']['import click']:.2f} x"),
    ),
)  # fmt: skip


CHINESE = {
    "naive jieba loop": "朴素 jieba 循环",
    "naive jieba": "朴素 jieba",
    "not exact": "不精确",
    "a direct veth hop": "veth 直连",
    "goal": "目标",
    " x bare Python": " 倍于裸 Python",
    "` alone: ": "` 本身：",
}


def result(name: str) -> dict[str, Any] | None:
    """Returns a measured result, or None if it has not been measured."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def claims(chinese: bool) -> str:
    """Returns the table of claims in one of two languages."""
    head = "| 测了什么 | 我们 | 对照 |" if chinese else "| what is measured | ours | beside |"
    rows = []
    for claim in CLAIMS:
        if (measured := result(claim.result)) is not None:
            figures = " | ".join(claim.figures(measured))
            rows.append(
                f"| {claim.chinese} | {_in_chinese(figures)} |"
                if chinese
                else f"| {claim.english} | {figures} |"
            )
    return "\n".join([head, "|---|---|---|", *rows])


def _in_chinese(figures: str) -> str:
    for english, chinese in CHINESE.items():
        figures = figures.replace(english, chinese)
    return figures


def trainers() -> str:
    """Returns the table of tokenizer trainers."""
    measured = result("tokenizer")
    if measured is None:
        return ""
    rows = [
        f"| {name} | {row['cpu_seconds']:.1f} | {row['characters_per_token']:.2f} | {row['frequent_words_whole']:.0%} |"
        for name, row in measured["trainers"].items()
    ]
    return "\n".join(
        ["| trainer | CPU s | characters per token | frequent words whole |", "|---|---|---|---|", *rows]
    )


ENGINES = {
    "naive jieba loop": "naive jieba loop",
    "libraries only (rjieba repaired), 2 workers": "libraries only: rjieba and jieba's finalseg, exact, two workers",
    "rjieba loop (not exact)": "rjieba loop (not exact)",
    "kernel, 1 worker": "**the kernel, one worker**",
    "kernel, 2 workers": "**the kernel, two workers**",
}


def engines() -> str:
    """Returns the table of whole counting jobs."""
    measured = result("count")
    if measured is None:
        return ""
    words = measured["words"]
    naive = words["naive jieba loop"]
    rows = [
        f"| {label} | {words[name]['cpu']:.1f} | {words[name]['seconds']:.1f} "
        f"| {naive['seconds'] / words[name]['seconds']:.1f} | {words[name]['peak_mb']} |"
        for name, label in ENGINES.items()
    ]
    head = "| {:.0f} MB of text | CPU s | seconds | times naive | peak MB |".format(words["bytes"] / 1e6)
    note = f"Load of the machine before the run: {measured['load']:.1f}."
    return "\n".join([head, "|---|---|---|---|---|", *rows, "", note])


BLOCKS = {
    "README.md": {"claims": lambda: claims(chinese=False)},
    "README.zh.md": {"claims": lambda: claims(chinese=True)},
    "docs/transformer.md": {"tokenizer": trainers},
    "docs/count.md": {"engines": engines},
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
