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


def images(nvae: dict[str, Any]) -> Figures:
    """A training step of an NVAE: CPU seconds, ours and written plainly."""
    step = nvae["step"]
    ours, naive = (step[name]["cpu_seconds"] for name in ("ours", "naive"))
    return f"{ours:.2f} s", f"the same written plainly: {naive:.2f} s ({step['times_faster']:.1f} x)"


def kept(nvae: dict[str, Any]) -> Figures:
    """What a step keeps for its backward pass."""
    kept_mb, ratio = nvae["step"]["kept_mb"], nvae["step"]["memory_ratio"]
    return (
        f"{kept_mb['ours']:.0f} MB",
        f"the same written plainly: {kept_mb['naive']:.0f} MB (x {ratio:.2f} is ours)",
    )


def weighted(nvae: dict[str, Any]) -> Figures:
    """Importance weighting."""
    found = nvae["importance"]
    return (
        f"{found['ours_seconds']:.1f} s",
        f"encoder again for each sample: {found['one_by_one_seconds']:.1f} s",
    )


def startup(times: dict[str, Any]) -> Figures:
    """Start-up in units of a bare Python."""
    ratio = times["ratio_to_bare_python"]
    return (
        f"{ratio['shoestring --help']:.2f} x bare Python",
        f"`import click` alone: {ratio['import click']:.2f} x",
    )


CLAIMS = (
    Claim(
        "count", "count: jieba's word frequencies, whole command, 2 workers",
        "count：jieba 的词频，整条命令，2 个进程", throughput,
    ),
    Claim("count", "count: the same in CPU seconds, 1 worker", "count：同一任务的 CPU 时间，1 个进程", cpu),
    Claim("relay", "relay: delay added to a frame, median (99 %)", "relay：每帧增加的延迟，中位数（99 %）", latency),
    Claim("relay", "relay: memory on the system's Python", "relay：系统 Python 下的内存", memory),
    Claim(
        "tokenizer", "transformer: CPU time to train a tokenizer of 8,192 ids",
        "transformer：训练 8,192 词表分词器的 CPU 时间", training,
    ),
    Claim("nvae", "nvae: a training step, 2.2 M weights, CPU time", "nvae：训练一步（223 万参数）的 CPU 时间", images),
    Claim("nvae", "nvae: what it keeps for the backward pass", "nvae：为反向传播保留的内存", kept),
    Claim("nvae", "nvae: importance-weighted bound by 1,000 samples", "nvae：1000 个样本的重要性加权界", weighted),
    Claim("startup", "`shoestring --help`, start to end", "`shoestring --help` 全程", startup),
)  # fmt: skip
CHINESE = {
    "naive jieba loop": "朴素 jieba 循环",
    "not exact": "不精确",
    "a direct veth hop": "veth 直连",
    "goal": "目标",
    " x bare Python": " 倍于裸 Python",
    "the same written plainly": "同样的数学，朴素写法",
    "encoder again for each sample": "每个样本重跑编码器",
    " is ours": " 为我们",
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
    "libraries only (rjieba repaired), 2 workers": "libraries only: rjieba and jieba's HMM, exact, two workers",
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


def nvae_goals() -> str:
    """Returns what was aimed at in images, and what was reached."""
    measured = result("nvae")
    if measured is None:
        return ""
    step, weighting = measured["step"], measured["importance"]
    rows = [
        ("training step on one core, times the plain one", "1.7", f"{step['times_faster']:.2f}"),
        ("kept for the backward pass, of the plain one", "0.7", f"{step['memory_ratio']:.2f}"),
        (f"importance weighting, K = {weighting['samples']:,}, times faster", "2", f"{weighting['times_faster']:.1f}"),
        (
            "the same, where the encoder's passes are batched too", "",
            f"{weighting['times_faster_than_batched']:.1f}",
        ),
    ]  # fmt: skip
    for row in measured["learning_rates"]:
        said = (
            f"{row['negative_elbo']:.0f} nats, finite; {row['skipped']} skipped, {row['rollbacks']} rollbacks"
        )
        rows.append((f"digits at {row['times']} times the learning rate", "no NaN", said))
    if "mnist" in measured:
        mnist = measured["mnist"]
        name = f"MNIST, `mnist-cpu`, {mnist['minutes']:g} minutes, test nats"
        rows.append((name, "100", f"{mnist['negative_elbo']:.2f}"))
        rows.append(("a plain VAE in that time", "", f"{mnist['plain_vae_test_curve'][-1][2]:.2f}"))
    return "\n".join(
        ["| | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def goals() -> str:
    """Returns what was aimed at in counting, and what was reached."""
    measured = result("count")
    if measured is None:
        return ""
    ratios, memory = measured["words"]["ratios"], measured["memory"]
    words, grams = (memory[f"{name}, --memory 512MB"] for name in ("words", "4-grams"))
    size = memory["bytes"] / 1e6
    rows = [
        ("times the naive loop, two workers", "100", ratios["kernel on 2 workers over naive"]),
        ("the same per process, one worker", "50", ratios["kernel on 1 worker over naive"]),
        ("times rjieba, CPU seconds", "4", ratios["CPU seconds, rjieba over kernel"]),
        ("times the naive loop with libraries only", "20", ratios["libraries only, 2 workers, over naive"]),
        ("one worker over two", "1.7", ratios["scaling 1 to 2"]),
        ("what counting adds to cutting", "25 %", f"{measured['overhead of counting']['overhead']:.0%}"),
        (f"{size:.0f} MB, words, `--memory 512MB`: peak", "662 MB", f"{words['peak_mb']} MB, {words['seconds']:.1f} s"),
        (
            f"the same, 4-grams ({grams['distinct'] / 1e6:.1f} million distinct)", "1000 MB",
            f"{grams['peak_mb']} MB, {grams['seconds']:.0f} s",
        ),
        ("2.2 GB by the naive loop", "", f"{ratios['2.2 GB naive, minutes']:.0f} minutes"),
        ("2.2 GB by the kernel, at the rate of the large text", "", f"{2200 / size * words['seconds']:.0f} s"),
    ]  # fmt: skip
    return "\n".join(
        ["| | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def peers() -> str:
    """Returns the table of other counters, their wall clock over ours."""
    measured = result("count")
    if measured is None:
        return ""
    rows = []
    for kind in ("already segmented", "4-grams"):
        found = {
            name: row for name, row in measured[kind].items() if isinstance(row, dict) and "times_ours" in row
        }
        said = [
            f"{name} {row['times_ours']} ({row['peak_mb']} MB)"
            for name, row in sorted(found.items(), key=lambda item: item[1]["times_ours"])
        ]
        ours = measured[kind]["shoestring, 2 workers"]
        rows.append(
            f"| {kind}, {measured[kind]['bytes'] / 1e6:.0f} MB | {ours['seconds']:.1f} s ({ours['peak_mb']} MB) "
            f"| {', '.join(said)} |"
        )
    return "\n".join(["| text | ours | others, times ours |", "|---|---|---|", *rows])


BLOCKS = {
    "README.md": {"claims": lambda: claims(chinese=False)},
    "README.zh.md": {"claims": lambda: claims(chinese=True)},
    "docs/transformer.md": {"tokenizer": trainers},
    "docs/nvae.md": {"goals": nvae_goals},
    "docs/count.md": {"engines": engines, "goals": goals, "peers": peers},
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
