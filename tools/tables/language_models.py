"""The table of the guide to lm, empty while its result is not there."""

from __future__ import annotations

from typing import Any

from tables.results import result


def language_models() -> str:
    """Returns the table of engines at CPM's width, and what was aimed at; parts that were not measured are left out."""
    measured = result("lm")
    if measured is None:
        return ""
    lines: list[str] = []
    if found := measured.get("decode"):
        lines = [
            "| engine | GB | tokens/s made | tokens/s read | share of the read speed |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['gigabytes']:.2f} | {row['decode']:.1f} | {row['prefill']:.3g} "
            f"| {row['share_of_read_speed']:.0%} |"
            for name, row in found["engines"].items()
        ]
        lines += [
            "",
            f"{measured['layers']} of 32 layers, {measured['processor']} ({measured['instructions']}), "
            f"{measured['cores']} cores, memory read at {found['read_gigabytes_per_second']:.0f} GB/s, load before the "
            f"run {found['load']:.1f}. 128 tokens are read and 24 made, in {found['rounds']} rounds; "
            "transformers reads 8 and makes 4, once.",
            "",
        ]
    rows = [
        row
        for part in ("decode", "choice", "conversion", "serving", "full")
        for row in _lm_goals(measured, part)
    ]
    return "\n".join(
        [*lines, "| | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


LM_GOALS = {
    "int8 decode over llama.cpp q8_0": "0.9",
    "int8 decode over transformers bf16": "4",
    "int4 decode over llama.cpp q4_k_m": "1.0",
    "int8 prefill over llama.cpp q8_0": "1.8",
    "int4 prefill over llama.cpp q4_k_m": "",
}


def _lm_goals(measured: dict[str, Any], part: str) -> list[tuple[str, str, str]]:
    found = measured.get(part)
    if found is None:
        return []
    if part == "decode":
        return [(name, goal, f"{found['ratios'][name]:.2f}") for name, goal in LM_GOALS.items()]
    if part == "choice":
        fp32, int8 = found["fp32"], found["int8"]
        return [
            ("choosing in fp32 (int8), times a forward pass for each candidate, shots read before", "40",
             f"{fp32['times']:.1f} ({int8['times']:.1f})"),
            (f"the same, reading the shots for {fp32['queries']} queries too", "",
             f"{fp32['times_with_shots']:.1f} ({int8['times_with_shots']:.1f})"),
            ("largest difference of a log-probability, fp32", "1e-5", f"{fp32['largest_difference']:.0e}"),
        ]  # fmt: skip
    if part == "conversion":
        return [
            (f"shards of {found['bytes'] / 1e9:.1f} GB to a folder, times `cp`, both until on disk", "0.5",
             f"{found['times_copy']:.2f}"),
            ("memory beyond the mapped shards", "1074 MB", f"{found['memory_mb']:.0f} MB"),
        ]  # fmt: skip
    if part == "serving":
        return [
            (f"8 streaming clients for {found['seconds']:.0f} s, tokens/s over one client's", "2",
             f"{found['times']:.1f} ({found['eight']:.0f} over {found['one']:.0f}), {len(found['errors'])} errors"),
        ]  # fmt: skip
    return _whole_goals(found)


def _whole_goals(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    int8 = "3.4 GB"
    limits = {"int8 out of fp16": int8, "int8": int8, "int4": "2.2 GB"}
    rows = [
        (f"2.6 billion weights, {name}: peak resident memory, mapped files too", limits.get(name, ""),
         f"{row['peak_gb']:.2f} GB, {row['decode']:.1f} tokens/s at {row['read_gigabytes_per_second']:.0f} GB/s, "
         f"loaded in {row['load_seconds']:.0f} s")
        for name, row in found["engines"].items()
    ]  # fmt: skip
    whole = found["conversion"]
    return [
        *rows,
        ("the release's size converted: memory, times `cp`", "1074 MB, 0.5",
         f"{whole['memory_mb']:.0f} MB, {whole['times_copy']:.2f}"),
    ]  # fmt: skip
