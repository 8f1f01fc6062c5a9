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


def decoding(lm: dict[str, Any]) -> Figures:
    """Tokens per second at int8, and the peers'."""
    rows = lm["speeds"]["engines"]
    peers = ("llama.cpp q8_0", "transformers bf16")
    beside = "; ".join(f"{name}: {rows[name]['decode']:.1f}" for name in peers)
    return f"{rows['int8']['decode']:.1f} tokens/s", beside


def choosing(lm: dict[str, Any]) -> Figures:
    """Seconds for a choice, and the naive loop's."""
    found = lm["choice"]
    seconds, naive = (found[name] / found["queries"] for name in ("seconds", "naive_seconds"))
    return f"{seconds:.2f} s", f"a forward pass for each: {naive:.1f} s (1/{found['times']:.0f})"


def startup(times: dict[str, Any]) -> Figures:
    """Start-up in units of a bare Python."""
    ratio = times["ratio_to_bare_python"]
    return (
        f"{ratio['shoestring --help']:.2f} x bare Python",
        f"`import click` alone: {ratio['import click']:.2f} x",
    )


def talking_time(attention: dict[str, Any]) -> Figures:
    """Talking heads: seconds at 4096 tokens."""
    row = attention["seconds"]["4096"]
    return (
        f"{row['ours']:.1f} s",
        f"x-transformers: {row['x-transformers']:.1f} s; written out: {row['written out']:.1f} s",
    )


def talking_memory(attention: dict[str, Any]) -> Figures:
    """Talking heads: memory at 4096 tokens."""
    ours, peer, plain = (attention["MiB"][name]["4096"] for name in ("ours", "x-transformers", "written out"))
    return f"{ours:.0f} MiB", f"x-transformers: {peer:.0f} MiB; written out: {plain:.0f} MiB"


def growing(grow: dict[str, Any]) -> Figures:
    """Growth beside `cp`."""
    ratio = grow["throughput"]["times cp"]
    return f"{ratio['grid']:.2f} x `cp`", f"equal parts: {ratio['equal']:.2f} x; goals: 0.8 x, 1.0 x"


def lossless(grow: dict[str, Any]) -> Figures:
    """The worst family in fp64."""
    worst = max(row["fp64"] for row in grow["exactness"].values())
    families = len({name.split()[0] for name in grow["exactness"]})
    return f"{worst:.0e} of the largest output", f"{families} families; goal: 1e-12"


def grown_memory(memory: dict[str, Any]) -> Figures:
    """Peak memory of a large growth."""
    return (
        f"{memory['peak MiB']} MiB",
        f"{memory['written bytes'] / 1e9:.0f} GB written; goal: 1 GiB + a chunk",
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
    Claim(
        "attention", "transformer: talking heads, 12 x 64, 4,096 tokens, causal, forward and backward, CPU time",
        "transformer：talking heads，12 × 64，4,096 个词元，因果，前向加反向，CPU 用时", talking_time,
    ),
    Claim(
        "attention", "transformer: the same, peak memory beyond the inputs",
        "transformer：同上，输入之外的峰值内存", talking_memory,
    ),
    Claim("grow", "grow: change of outputs in fp64, worst rule", "grow：fp64 下输出的改变，最差的规则", lossless),
    Claim("grow", "grow: bytes written per second, bf16, 2x", "grow：每秒写出的字节，bf16，2 倍", growing),
    Claim("grow_memory", "grow: peak memory of the whole command", "grow：整条命令的内存峰值", grown_memory),
    Claim(
        "lm", "lm: tokens made at CPM's width, 8 layers, int8, 2 cores",
        "lm：CPM 宽度、8 层、int8、2 核的生成速度", decoding,
    ),
    Claim(
        "lm", "lm: choosing among 10 candidates after 300 tokens of shots",
        "lm：300 个 token 的示例之后在 10 个候选中选择", choosing,
    ),
    Claim("startup", "`shoestring --help`, start to end", "`shoestring --help` 全程", startup),
)  # fmt: skip
CHINESE = {
    "naive jieba loop": "朴素 jieba 循环",
    "sentence-transformers, accuracy and F1 only": "sentence-transformers，仅 accuracy 与 F1",
    " a pair": " 每对",
    "batches of 64": "每批 64 对",
    "not exact": "不精确",
    "written out": "直接写出",
    "a direct veth hop": "veth 直连",
    "goals": "目标",
    "goal": "目标",
    " of the largest output": "（相对最大输出）",
    "families": "个系列",
    "equal parts": "均分",
    "written": "写出",
    "a chunk": "一块",
    "a forward pass for each": "逐个前向",
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


WAYS = {
    "ours": "**shoestring**",
    "x-transformers": "x-transformers",
    "written out": "the formula written out",
    "plain attention": "plain attention, fused (no talking heads)",
}


def attention() -> str:
    """Returns the table of talking heads in time and memory."""
    measured = result("attention")
    if measured is None:
        return ""
    lengths = list(measured["seconds"])
    head = ["", *(f"ms, n={length}" for length in lengths), *(f"MiB, n={length}" for length in lengths[1:])]
    rows = []
    for way, label in WAYS.items():
        times = [f"{1e3 * measured['seconds'][length][way]:.0f}" for length in lengths]
        sizes = [f"{measured['MiB'].get(way, {}).get(length, 0):.0f}" for length in lengths[1:]]
        rows.append([label, *times, *(size if size != "0" else "" for size in sizes)])
    decode, width = measured["decode ms"], measured["widths seconds"]
    note = (
        f"One query against 4,096 cached keys: {decode['ours']:.2f} ms, plain attention "
        f"{decode['plain attention']:.2f} ms. "
        f"Plain attention, 2,048 tokens, keys of 128: {1e3 * width['equal']:.0f} ms with values of 128, "
        f"{1e3 * width['value narrower']:.0f} ms with values of 64; torch alone "
        f"{1e3 * width['value narrower, torch alone']:.0f} ms. torch {measured['torch']}, threads: "
        f"{measured['threads']}, load of the machine before the run {measured['load']:.1f}."
    )
    table = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*table, "", note])


def head_width() -> str:
    """Returns the study of wider keys and talking heads at equal parameters."""
    measured = result("head_width")
    if measured is None:
        return ""
    rows = [
        f"| {form} | {kind} | {row['loss']:.3f} | {row['difference']:+.3f} ± {row['half']:.3f} |"
        for kind in ("equal steps", "equal time")
        for form, row in measured[kind].items()
    ]
    cost = measured["cpu seconds"]
    base = next(iter(cost.values()))
    times = ", ".join(f"{form} {seconds / base:.2f}" for form, seconds in cost.items())
    return "\n".join(
        [
            "![differences with their intervals](head_width.png)", "",
            "| form | compared for | held-out loss | difference to the first, 95 % |", "|---|---|---|---|", *rows, "",
            f"{measured['seeds']} seeds of {measured['steps']} steps. CPU time of a run, relative: {times}.",
        ]
    )  # fmt: skip


def growth() -> str:
    """Returns the tables of growth: exactness, and the peer if it was run."""
    measured = result("grow")
    if measured is None:
        return ""
    rows = [
        f"| {name} | {row['fp64']:.0e} | {row['fp32 over noise']:.1f} | {row['stored, in fp64']:.0e} |"
        for name, row in measured["exactness"].items()
    ]
    head = "| tiny random model | fp64 | fp32, times its own rounding | as stored, run in fp64 |"
    lines = [head, "|---|---|---|---|", *rows]
    ratio, size = measured["throughput"]["times cp"], measured["throughput"]["bytes"] / 1e9
    lines += [
        "",
        f"Writing {size:.1f} GB, times `cp` of them: "
        + ", ".join(f"{name} {value:.2f}" for name, value in ratio.items() if name != "cp")
        + f". Planning a model of {measured['plan']['bytes'] / 1e9:.0f} GB: {measured['plan']['seconds']:.1f} s.",
    ]
    if peer := measured.get("peer"):
        lines += [
            "",
            "| Llama, hidden and feed-forward 2x, fp32 | max difference | seconds | peak MiB |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['max difference']:.1e} | {row['seconds']:.1f} | {row['peak MiB']} |"
            if "seconds" in row
            else f"| {name} | fails: {row['failed']} | | |"
            for name, row in peer.items()
        ]
    return "\n".join(lines)


def language_models() -> str:
    """Returns the table of engines at CPM's width."""
    measured = result("lm")
    if measured is None:
        return ""
    rows = [
        f"| {name} | {row['gigabytes']:.2f} | {row['decode']:.1f} | {row['prefill']:.0f} "
        f"| {row['share_of_read_speed']:.0%} |"
        for name, row in measured["speeds"]["engines"].items()
    ]
    head = "| engine | GB | tokens/s made | tokens/s read | share of the read speed |"
    note = (
        f"{measured['layers']} of 32 layers, {measured['processor']}, {measured['cores']} cores, memory read at "
        f"{measured['speeds']['read_gigabytes_per_second']:.0f} GB/s, load before the run {measured['load']:.1f}."
    )
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
    "docs/count.md": {"engines": engines, "goals": goals, "peers": peers},
    "docs/transformer.md": {"tokenizer": trainers, "attention": attention, "head_width": head_width},
    "docs/grow.md": {"growth": growth},
    "docs/lm.md": {"lm": language_models},
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
