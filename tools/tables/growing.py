"""Tables of what grows: every text model of transformers, and one real model."""

from __future__ import annotations

from collections import defaultdict

from tables.results import result


def grow_families() -> str:
    """Returns which kinds are exact and which are refused."""
    measured = result("grow_families")
    if measured is None:
        return ""
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, fact in measured["kinds"].items():
        kinds[fact["verdict"]].append(f"`{kind}`")
    summary = measured["summary"]
    counts = ", ".join(
        f"{len(kinds[verdict])} {verdict}"
        for verdict in ("exact", "refused", "crashed", "wrong", "not made", "not tried")
    )
    return (
        f"Of the {summary['kinds']} kinds of text model that transformers {summary['transformers']} lists, 2x wide, "
        f"six blocks or more of their own pattern (`benchmarks/grow_families.py`): {counts}.\n\n"
        f"Exact to 1e-12 in fp64: {', '.join(kinds['exact'])}.\n\n"
        f"Refused, with the reason: {', '.join(kinds['refused'])}.\n\n"
        f"Not made by the benchmark: {', '.join(kinds['not made'])}. Their own code or config fails at these sizes, or "
        "wants a package or the outputs of another model."
        + (
            f"\n\nNot tried yet, for want of time: {', '.join(kinds['not tried'])}."
            if kinds["not tried"]
            else ""
        )
    )


def grow_smollm2() -> str:
    """Returns how SmolLM2-135M grows and trains on."""
    measured = result("grow_smollm2")
    if measured is None:
        return ""
    parts = [part for part in (_exactness(measured), _training(measured)) if part]
    return "\n\n".join(["SmolLM2-135M, a real model:", *parts])


def _exactness(measured: dict) -> str:
    if "exactness" not in measured:
        return ""
    lines = [
        "| whole model, difference over the largest logit | fp64 | fp32 | bf16 stored, run in fp32 | greedy equal |",
        "|---|---|---|---|---|",
    ]
    for name, row in measured["exactness"].items():
        lines.append(
            f"| {name} | {row['float64']:.0e} | {row['float32']:.0e} | {row['bfloat16, in float32']:.0e} "
            f"| {row['greedy continuations equal']} of 5 |"
        )
    own = next(iter(measured["exactness"].values()))["the old model's own rounding in float32"]
    return "\n".join([*lines, "", f"The old model's own rounding in fp32 is {own:.0e}."])


def _training(measured: dict) -> str:
    if "training" not in measured:
        return ""
    lines = [
        "| first four blocks | steps | first loss | over not grown | last 20 steps | no gradient | copies apart |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in measured["training"].items():
        losses = row["losses"]
        ratio = row.get("first loss over that of the model not grown")
        apart = f"{row['copies apart']:.1e}" if "grown 2x" in name else ""
        last = sum(losses[-20:]) / len(losses[-20:])
        lines.append(
            f"| {name} | {len(losses)} | {losses[0]:.4f} | {f'{ratio:.5f}' if ratio else ''} | {last:.4f} "
            f"| {row['parameters without a gradient']} | {apart} |"
        )
    return "\n".join([*lines, "", "![losses before and after the growth](grow-smollm2.png)"])
