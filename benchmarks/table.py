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


Figures = tuple[str, str]


@dataclass(frozen=True)
class Claim:
    """One row: from which result, what is measured, and how its numbers read."""

    result: str
    english: str
    chinese: str
    figures: Callable[[dict[str, Any]], Figures]


def throughput(count: dict[str, Any]) -> Figures:
    """Counting: ours, the naive loop's and their ratio."""
    words = count["words"]
    ours, naive = (
        words["bytes"] / 1e6 / words[name]["seconds"] for name in ("kernel, 2 workers", "naive jieba loop")
    )
    return f"{ours:.0f} MB/s", f"naive jieba loop: {naive:.1f} MB/s (1/{ours / naive:.0f})"


def cpu(count: dict[str, Any]) -> Figures:
    """Counting: CPU seconds."""
    words = count["words"]
    ours, naive, rjieba = (
        words[name]["cpu"] for name in ("kernel, 1 worker", "naive jieba loop", "rjieba loop (not exact)")
    )
    return f"{ours:.1f} s", f"naive jieba loop: {naive:.0f} s; rjieba (not exact): {rjieba:.0f} s"


def latency(relay: dict[str, Any]) -> Figures:
    """The relay's delay beside none."""
    return (
        f"{relay['added_p50_ms']:.2f} ms ({relay['added_p99_ms']:.2f} ms)",
        f"a direct veth hop: {relay['direct_p50_ms']:.2f} ms ({relay['direct_p99_ms']:.2f} ms)",
    )


def memory(relay: dict[str, Any]) -> Figures:
    """The relay's resident memory."""
    return f"{relay['rss_mb']:.1f} MB", "goal: 12 MB"


def training(tokenizer: dict[str, Any]) -> Figures:
    """CPU seconds of the tokenizer trainers."""
    seconds = {name: row["cpu_seconds"] for name, row in tokenizer["trainers"].items()}
    peers = "; ".join(f"{name}: {seconds[name]:.0f} s" for name in tokenizer["times_faster_than"])
    return f"{seconds['shoestring unigram']:.1f} s", peers


def startup(times: dict[str, Any]) -> Figures:
    """Start-up in units of a bare Python."""
    ratio = times["ratio_to_bare_python"]
    return (
        f"{ratio['shoestring --help']:.2f} x bare Python",
        f"`import click` alone: {ratio['import click']:.2f} x",
    )


def thresholds(match: dict[str, Any]) -> Figures:
    """CPU milliseconds of exact thresholds."""
    ours, theirs = match["thresholds"]["cpu_seconds"].values()
    return f"{ours * 1e3:.0f} ms", f"sentence-transformers, accuracy and F1 only: {theirs * 1e3:.0f} ms"


def cached(match: dict[str, Any]) -> Figures:
    """Memory of a batch of 16,384 pairs."""
    small, large = match["cached"]["batch of 64"], match["cached"]["one batch, chunk 64"]
    return (
        f"{large['peak_mb']:.0f} MB, {large['cpu_ms_per_pair']:.2f} ms a pair",
        f"batches of 64: {small['peak_mb']:.0f} MB, {small['cpu_ms_per_pair']:.2f} ms",
    )


CLAIMS = (
    Claim(
        "count", "count: jieba's word frequencies, whole command, 2 workers",
        "count：jieba 的词频，整条命令，2 个进程", throughput,
    ),
    Claim("count", "count: the same in CPU seconds, 1 worker", "count：同一任务的 CPU 时间，1 个进程", cpu),
    Claim(
        "match", "match: accuracy, F1 and MCC thresholds of 200,000 scores, exact",
        "match：20 万个分数的精确阈值", thresholds,
    ),
    Claim("match", "match: CoSENT with 16,384 pairs in one batch", "match：一个批次 16,384 对的 CoSENT", cached),
    Claim("relay", "relay: delay added to a frame, median (99 %)", "relay：每帧增加的延迟，中位数（99 %）", latency),
    Claim("relay", "relay: memory on the system's Python", "relay：系统 Python 下的内存", memory),
    Claim(
        "tokenizer", "transformer: CPU time to train a tokenizer of 8,192 ids",
        "transformer：训练 8,192 词表分词器的 CPU 时间", training,
    ),
    Claim("startup", "`shoestring --help`, start to end", "`shoestring --help` 全程", startup),
)  # fmt: skip
CHINESE = {
    "naive jieba loop": "朴素 jieba 循环",
    "sentence-transformers, accuracy and F1 only": "sentence-transformers，仅 accuracy 与 F1",
    " a pair": " 每对",
    "batches of 64": "每批 64 对",
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


def matching() -> str:
    """Returns the tables of bi against cross and of searching, as far as they were measured."""
    measured = result("match")
    if measured is None:
        return ""
    found = measured["search"]
    rows = [
        f"| {name} | {found[name]['queries_per_second']:.0f} | {found[name]['recall']:.3f} |"
        for name in ("exact", "faiss HNSW", "hnswlib")
    ]
    lines = ["| 100,000 x 384, one core | queries/s | recall@10 |", "|---|---|---|", *rows]
    if quality := measured["quality"]:
        lines = [*_bi_against_cross(quality["lcqmc"]), "", *lines]
    return "\n".join([*lines, "", f"Load of the machine before the run: {measured['load']:.1f}."])


def _bi_against_cross(lcqmc: dict[str, Any]) -> list[str]:
    bi, cross, ahead = lcqmc["bi"], lcqmc["cross"], lcqmc["cross_ahead"]
    rows = [
        f"| {name} | {bi[name]:.4f} | {cross[name]:.4f} | {{:+.4f}} ({{:+.4f}} to {{:+.4f}}) |".format(
            *ahead[name]
        )
        for name in ("spearman", "accuracy", "f1")
    ]
    return [
        "| {2:,} LCQMC pairs | bi | cross | cross ahead by |".format(*lcqmc["pairs"]),
        "|---|---|---|---|",
        *rows,
    ]


BLOCKS = {
    "README.md": {"claims": lambda: claims(chinese=False)},
    "README.zh.md": {"claims": lambda: claims(chinese=True)},
    "docs/transformer.md": {"tokenizer": trainers},
    "docs/count.md": {"engines": engines},
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
