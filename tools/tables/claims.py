"""The README's table: one row for a claim, in two languages; a claim whose result is not there is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tables.results import result

Figures = tuple[str, str]


@dataclass(frozen=True)
class Claim:
    """One row: from which result, what is measured, how its numbers read, and which part they need."""

    result: str
    english: str
    chinese: str
    figures: Callable[[dict[str, Any]], Figures]
    part: str = ""  # of a result whose parts are measured one by one


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


def real(bits: str, peer: str) -> Callable[[dict[str, Any]], Figures]:
    """A real model in few bits: speed and what it costs, beside llama.cpp."""

    def figures(measured: dict[str, Any]) -> Figures:
        ours, theirs = (
            f"{measured['speed'][name]['decode']:.0f}, {measured['speed'][name]['prefill']:.0f}, "
            f"{measured['released'][name]['worse']:+.1%}"
            for name in (bits, f"llama.cpp {peer}")
        )
        return ours, f"llama.cpp {peer}: {theirs}"

    return figures


def latency(relay: dict[str, Any]) -> Figures:
    """The relay's delay beside none."""
    return (
        f"{relay['added_p50_ms']:.2f} ms ({relay['added_p99_ms']:.2f} ms)",
        f"a direct veth hop: {relay['direct_p50_ms']:.2f} ms ({relay['direct_p99_ms']:.2f} ms)",
    )


def memory(relay: dict[str, Any]) -> Figures:
    """The relay's resident memory."""
    return f"{relay['rss_mb']:.1f} MB", "goal: 11 MB"


def training(tokenizer: dict[str, Any]) -> Figures:
    """CPU seconds of the tokenizer trainers."""
    seconds = {name: row["cpu_seconds"] for name, row in tokenizer["trainers"].items()}
    peers = "; ".join(f"{name}: {seconds[name]:.0f} s" for name in tokenizer["times_faster_than"])
    return f"{seconds['shoestring unigram']:.1f} s", peers


def decoding(lm: dict[str, Any]) -> Figures:
    """Tokens per second at int8, and the peers'."""
    rows = lm["decode"]["engines"]
    peers = ("llama.cpp q8_0", "transformers bf16")
    beside = "; ".join(f"{name}: {rows[name]['decode']:.1f}" for name in peers)
    return f"{rows['int8']['decode']:.1f} tokens/s", beside


def whole(lm: dict[str, Any]) -> Figures:
    """The full shape: speed and peak memory of loading and running."""
    rows = lm["full"]["engines"]
    ours, peer = rows["int8"], rows["llama.cpp q8_0"]
    return (
        f"{ours['decode']:.1f} tokens/s, {ours['peak_gb']:.1f} GB",
        f"llama.cpp q8_0: {peer['decode']:.1f}, {peer['peak_gb']:.1f} GB; goal: 3.4 GB",
    )


def choosing(lm: dict[str, Any]) -> Figures:
    """Seconds for a choice, and the naive loop's."""
    found = lm["choice"]["int8"]
    return (
        f"{found['seconds']:.2f} s",
        f"a forward pass for each: {found['naive_seconds']:.1f} s (1/{found['times']:.0f})",
    )


def serving(lm: dict[str, Any]) -> Figures:
    """The server's tokens per second for eight clients."""
    found = lm["serving"]
    return f"{found['eight']:.0f} tokens/s", f"one client: {found['one']:.0f} tokens/s"


def images(nvae: dict[str, Any]) -> Figures:
    """A training step of an NVAE: CPU seconds, ours and the official code's."""
    found = nvae["official"]
    ours, theirs = (found[name]["cpu_seconds"] for name in ("ours", "official"))
    return f"{ours:.2f} s", f"the official code: {theirs:.2f} s ({found['times_faster']:.2f} x); goal: 1.7 x"


def kept(nvae: dict[str, Any]) -> Figures:
    """What training adds to a process."""
    found = nvae["official"]
    ours, theirs = (found[name]["grown_mb"] for name in ("ours", "official"))
    return f"{ours:.0f} MB", f"the official code: {theirs:.0f} MB (x {found['memory_ratio']:.2f} is ours)"


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
    return f"{ratio['grid']:.2f} x `cp`", f"equal parts: {ratio['equal']:.2f} x; goals: 1.3 x, 1.6 x"


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


def searching(match: dict[str, Any]) -> Figures:
    """Queries per second of exact search and HNSW."""
    found = match["search"]
    exact, ours, peer = (found[name] for name in ("exact", "HNSW", "hnswlib"))
    whole = f"exact {exact['queries_per_second']:.0f} ({exact['of_bandwidth']:.0%} of the memory's bandwidth)"
    if "HNSW, int4" not in found:  # measured before today's search by a graph
        return whole, f"numpy alone: {found['exact, numpy alone']['queries_per_second']:.0f}"
    return (
        f"{whole}, HNSW {ours['queries_per_second']:.0f} at recall {ours['recall']:.3f}",
        f"hnswlib: {peer['queries_per_second']:.0f} at {peer['recall']:.3f}",
    )


def fine_tuned(match: dict[str, Any]) -> Figures:
    """Spearman of multilingual-e5-small on STS-B, after training in each precision and before."""
    spearman, minutes = (match["stsb"][name] for name in ("spearman", "cpu_minutes"))
    return (
        ", ".join(
            f"{spearman[name]:.3f} after {minutes[name]:.0f} CPU minutes ({name})"
            for name in ("bf16", "fp32")
        ),
        f"before: {spearman['zero_shot']:.3f}",
    )


CLAIMS = (
    Claim(
        "count", "count: jieba's word frequencies, whole command, 2 workers",
        "count：jieba 的词频，整条命令，2 个进程", throughput,
    ),
    Claim("count", "count: the same in CPU seconds, 1 worker", "count：同一任务的 CPU 时间，1 个进程", cpu),
    Claim(
        "match", "match: accuracy, F1 and MCC thresholds of 200,000 scores, exact",
        "match：20 万个分数的精确阈值", thresholds, "thresholds",
    ),
    Claim(
        "match", "match: CoSENT with 16,384 pairs in one batch", "match：一个批次 16,384 对的 CoSENT", cached, "cached",
    ),
    Claim(
        "match", "match: search among 100,000 x 384, queries/s of one core", "match：10 万 × 384 检索，单核每秒查询数",
        searching, "search",
    ),
    Claim(
        "match", "match: Spearman on STS-B zh, fine-tuned on a CPU", "match：STS-B 中文测试集 Spearman，CPU 微调",
        fine_tuned, "stsb",
    ),
    Claim("relay", "relay: delay added to a frame, median (99 %)", "relay：每帧增加的延迟，中位数（99 %）", latency),
    Claim("relay", "relay: memory on the system's Python", "relay：系统 Python 下的内存", memory),
    Claim(
        "tokenizer", "transformer: CPU time to train a tokenizer of 8,192 ids",
        "transformer：训练 8,192 词表分词器的 CPU 时间", training,
    ),
    Claim(
        "attention", "transformer: talking heads, 12 x 64, 4,096 tokens, causal, forward and backward, 2 cores",
        "transformer：talking heads，12 × 64，4,096 个词元，因果，前向加反向，2 核", talking_time,
    ),
    Claim(
        "attention", "transformer: the same, peak memory beyond the inputs",
        "transformer：同上，输入之外的峰值内存", talking_memory,
    ),
    Claim("grow", "grow: change of outputs in fp64, worst rule", "grow：fp64 下输出的改变，最差的规则", lossless),
    Claim("grow", "grow: bytes written per second, bf16, 2x", "grow：每秒写出的字节，bf16，2 倍", growing),
    Claim("grow_memory", "grow: peak memory of the whole command", "grow：整条命令的内存峰值", grown_memory),
    Claim(
        "lm_real", "lm: SmolLM2-135M in int8, 2 cores: tokens/s made, read, perplexity beyond fp32's",
        "lm：SmolLM2-135M，int8，2 核：每秒生成、读入的词元，困惑度比 fp32 高", real("int8", "q8_0"), "speed",
    ),
    Claim(
        "lm_real", "lm: the same in int4", "lm：同上，int4", real("int4", "q4_k_m"), "speed",
    ),
    Claim(
        "lm", "lm: tokens made at CPM's width, 8 random layers, int8, 2 cores",
        "lm：CPM 宽度、8 层随机权重、int8、2 核的生成速度", decoding, "decode",
    ),
    Claim(
        "lm", "lm: the shape of all 2.6 billion weights, int8, 2 cores", "lm：全部 26 亿参数的形状，int8，2 核",
        whole, "full",
    ),
    Claim(
        "lm", "lm: choosing among 10 candidates after 300 tokens of shots, int8, 8 layers",
        "lm：300 个 token 的示例之后在 10 个候选中选择，int8，8 层", choosing, "choice",
    ),
    Claim(
        "lm", "lm: eight clients streaming from one int8 server at that width",
        "lm：同样宽度的 int8 服务，8 个客户端同时流式生成", serving, "serving",
    ),
    Claim("nvae", "nvae: a training step, 2.2 M weights, CPU time", "nvae：训练一步（223 万参数）的 CPU 时间", images),
    Claim("nvae", "nvae: memory that training adds", "nvae：训练增加的内存", kept),
    Claim("nvae", "nvae: importance-weighted bound by 1,000 samples", "nvae：1000 个样本的重要性加权界", weighted),
    Claim("startup", "`shoestring --help`, start to end", "`shoestring --help` 全程", startup),
)  # fmt: skip
CHINESE = {
    "naive jieba loop": "朴素 jieba 循环",
    "sentence-transformers, accuracy and F1 only": "sentence-transformers，仅 accuracy 与 F1",
    " a pair": " 每对",
    "batches of 64": "每批 64 对",
    "numpy alone": "仅用 numpy",
    "exact ": "精确 ",
    " of the memory's bandwidth": " 内存带宽",
    " at recall ": "，召回率 ",
    " at 0.": "，召回率 0.",
    " at 1.": "，召回率 1.",
    " CPU minutes": " CPU 分钟",
    " after ": "，用时 ",
    "before: ": "之前：",
    "not exact": "不精确",
    "the official code": "官方代码",
    "encoder again for each sample": "每个样本重跑编码器",
    " is ours": " 为我们",
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
    "one client": "一个客户端",
    " x bare Python": " 倍于裸 Python",
    "` alone: ": "` 本身：",
}


def claims(chinese: bool) -> str:
    """Returns the table of claims in one of two languages."""
    head = "| 测了什么 | 我们 | 对照 |" if chinese else "| what is measured | ours | beside |"
    rows = []
    for claim in CLAIMS:
        if (measured := result(claim.result)) is not None and (not claim.part or claim.part in measured):
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
