"""The tables of the guide to match, empty while its result is not there."""

from __future__ import annotations

from typing import Any

from tables.results import result


def matching() -> str:
    """Returns what was aimed at in matching and what was reached, then the tables of searching and of both kinds."""
    measured = result("match") or {}
    rows = [row for name, row in MATCHING.items() if name in measured for row in row(measured[name])]
    blocks = [["| what | goal | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]]
    if "search" in measured:
        blocks.append(_searching(measured["search"]))
    if "audit" in measured:
        blocks.append(_audits(measured["audit"]))
    for found in _studies(measured):
        seeds, steps = found["seeds"], found["steps"]
        lasting = f"{found['minutes_of_training']:.0f} minutes{_how(found)}"
        runs = ", ".join(
            f"{int(size):,} pairs {steps[size]} steps {count} x" for size, count in seeds.items()
        )
        blocks.append([f"Trained on {found['data']}'s pairs ({runs}; {lasting}):"])
        blocks.append(_curves(found))
    if not measured:
        return ""
    loads = ", ".join(f"{name} {measured[name]['load']:.1f}" for name in MATCHING if name in measured)
    return "\n\n".join(
        ["\n".join(block) for block in blocks] + [f"Load of the machine before each run: {loads}."]
    )


def _thresholds(found: dict[str, Any]) -> list[tuple[str, ...]]:
    ours, theirs = found["cpu_seconds"].values()
    what = f"accuracy + F1 + MCC of {found['n']:,} scores, times faster than sentence-transformers' accuracy + F1"
    return [(what, "5", f"{theirs / ours:.1f}")]


def _loss(found: dict[str, Any]) -> list[tuple[str, ...]]:
    times = {
        int(size): each["sentence-transformers"] / each["ours"]
        for size, each in found["milliseconds"].items()
    }
    what = f"CoSENT of {min(times):,} to {max(times):,} scores, times faster than sentence-transformers 6.2"
    return [(what, "1", f"{min(times.values()):.2f} to {max(times.values()):.2f}")]


def _cached(found: dict[str, Any]) -> list[tuple[str, ...]]:
    small, large = found["batch of 64"], found["one batch, chunk 64"]
    what = f"{large['pairs']:,} pairs in one batch beside batches of 64"
    return [
        (f"{what}: time", "1.3", f"{found['time_ratio']:.2f}"),
        (f"{what}: memory", "same", f"{large['peak_mb']:.0f} MB, {small['peak_mb']:.0f} MB"),
    ]


def _goals_of_search(found: dict[str, Any]) -> list[tuple[str, ...]]:
    per_second = {name: found[name]["queries_per_second"] for name in ("exact", "HNSW")}
    large, small = (found.get("bytes of a row", {}).get(name) for name in ("HNSW", "HNSW, int4"))
    less = [("int4: times less memory than HNSW", "4", f"{large / small:.1f}")] if large and small else []
    return [
        (f"exact search of {found['rows']:,} x 384: share of the memory's bandwidth", "90 %",
         f"{found['exact']['of_bandwidth']:.0%}"),
        ("HNSW: times faster than exact", "5", f"{per_second['HNSW'] / per_second['exact']:.1f}"),
        ("HNSW: recall@10", "0.99", f"{found['HNSW']['recall']:.3f}"), *less,
    ]  # fmt: skip


def _fine_tuning(found: dict[str, Any]) -> list[tuple[str, ...]]:
    what, spearman, minutes = "multilingual-e5-small, STS-B zh test", found["spearman"], found["cpu_minutes"]
    return [
        (f"{what}, Spearman as it is", "0.774", f"{spearman['zero_shot']:.4f}"),
        *((f"{what}, after {found['epochs']:g} epochs in {each}: Spearman, CPU minutes", "0.815, 30",
           f"{spearman[each]:.4f}, {minutes[each]:.0f}") for each in ("fp32", "bf16")),
    ]  # fmt: skip


def _killed(found: dict[str, Any]) -> list[tuple[str, ...]]:
    what = (
        f"an index in {found['schedules']:,} schedules of three processes, {found['killed']:,} of them killed"
    )
    wrong = ", ".join(f"{found[name]} {name}" for name in ("lost", "resurrected", "mismatched"))
    return [(f"{what}: texts", "0, 0, 0", wrong)]


def _million(found: dict[str, Any]) -> list[tuple[str, ...]]:
    what = f"an index of {found['texts']:,} x 384, {found['kind']}"
    memory = found["megabytes while searching"]
    first = found["seconds of the first search, which compares all checksums"]
    return [
        (f"{what}: seconds to open; of the first search, which compares checksums", "1",
         f"{found['seconds to open']:.2f}; {first:.1f}"),
        (f"{what}: texts per CPU second of building, without embedding", "-",
         f"{found['texts per CPU second of building']:,.0f}"),
        (f"{what}: memory while searching, of its own and of files", "-",
         f"{memory['RssAnon']:.0f} MB, {memory['RssFile']:.0f} MB"),
        (f"{what}: queries per second, recall@10", "0.99",
         f"{found['queries per second']:.0f}, {found['recall@10']:.4f}"),
    ]  # fmt: skip


def _elsewhere(found: dict[str, Any]) -> list[tuple[str, ...]]:
    low, high = found["on new pairs"]
    own = f"accuracy at the threshold that LCQMC's pairs chose, where it promises {low:.3f} to {high:.3f}, on"
    return [
        (f"{own} {name.partition('/')[0]} (best there, majority)", "-",
         f"{each['there']:.3f} ({each['best there']:.3f}, {each['majority']:.3f})")
        for name, each in found["elsewhere"].items()
    ]  # fmt: skip


def _unlike(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for kind in ("HNSW", "HNSW, int4"):
        ways = (found[kind][way] for way in ("recall@10", "recall@10 as if alike"))
        mine, before = (", ".join(f"{name} {value:.3f}" for name, value in each.items()) for each in ways)
        size = found[kind]["bytes of a row"]
        what = f"{kind}, {found['texts']:,} texts of AFQMC, {size:.0f} bytes each: recall@10 of"
        rows.append(
            (f"{what} queries of each set (searched as if they were alike)", "0.99", f"{mine} ({before})")
        )
    return rows


def _precision(found: dict[str, Any]) -> list[tuple[str, ...]]:
    one, two = (found["texts per second"][name] for name in ("fp32", "bf16"))
    largest, same = (found[name] for name in ("largest difference of a score", "of the ten nearest the same"))
    return [
        ("multilingual-e5-small, texts embedded per second in fp32; in bf16", "-", f"{one:.0f}; {two:.0f}"),
        (f"scores in bf16 among {found['texts']:,} texts: largest difference; of the ten nearest the same", "-",
         f"{largest:.0e}; {same:.1%}"),
    ]  # fmt: skip


MATCHING = {
    "thresholds": _thresholds, "loss": _loss, "cached": _cached, "search": _goals_of_search, "stsb": _fine_tuning,
    "killed": _killed, "million": _million, "elsewhere": _elsewhere, "unlike": _unlike,
    "precision": _precision,
}  # fmt: skip


def _searching(found: dict[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {found[name]['queries_per_second']:.0f} | {found[name]['recall']:.3f} |"
        for name in ("exact", "exact, numpy alone", "HNSW", "HNSW, int4", "hnswlib")
        if name in found
    ]
    head = f"| {found['rows']:,} x 384, one query at a time, one core | queries/s | recall@10 |"
    return [head, "|---|---|---|", *rows]


def _audits(found: dict[str, Any]) -> list[str]:
    sets = {name: each for name, each in found.items() if isinstance(each, dict)}
    kinds = list(next(iter(sets.values()))["guessed from"])
    rows = []
    for name, each in sets.items():
        cells = (f"{right:.1%}, {area:.2f}" for right, area in each["guessed from"].values())
        rows.append(f"| {name} ({each['pairs']:,}) | {each['majority']:.1%} | {' | '.join(cells)} |")
    head = f"| labels guessed right, and area, from | the more frequent label | {' | '.join(kinds)} |"
    return [head, "|---" * (2 + len(kinds)) + "|", *rows]


def _studies(measured: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in measured.get("compare", {}).values() if isinstance(each, dict)]


def _how(found: dict[str, Any]) -> str:
    frozen = "" if found.get("frozen", 8) == 8 else f"; {found['frozen'] or 'no'} layers frozen"
    return f" in {found.get('precision', 'fp32')}{frozen}"


def _curves(found: dict[str, Any]) -> list[str]:
    """The bi-encoder's accuracy and how far each other kind is ahead of it."""
    rows, kinds = [], found["kinds"][1:]
    for name, sizes in found["accuracy"].items():
        what = f"{name} ({found['pairs'][name]:,})"
        rows.append(f"| {what} | none | {_interval('', sizes['bi untrained'])} |{' |' * len(kinds)}")
        for size, each in sizes.items():
            if size != "bi untrained":
                ahead = " | ".join(_interval("+", each[f"{kind} ahead"]) for kind in kinds)
                rows.append(f"| {what} | {int(size):,} | {_interval('', each['bi'])} | {ahead} |")
    head = " | ".join(f"{kind} ahead by" for kind in kinds)
    return [
        f"| accuracy (95 %) on | pairs to train on | bi | {head} |",
        "|---" * (3 + len(kinds)) + "|",
        *rows,
    ]


def _interval(sign: str, values: list[float]) -> str:
    middle, low, high = (f"{value:{sign}.3f}" for value in values)
    return f"{middle} ({low} to {high})"
