"""The guide to lm: a real model's quality beside speed, empty while its result is not there."""

from __future__ import annotations

from typing import Any

from tables.results import result

Row = dict[str, float]


def real_models() -> str:
    """Returns what each engine costs and how fast it is; parts that were not measured are left out."""
    measured = result("lm_real")
    if measured is None:
        return ""
    tables = []
    if "released" in measured and "off" in measured:
        tables.append(_quality(measured["released"], measured["off"]))
    names = {"speed": "SmolLM2-135M", "wide": "4 layers of 2560/10240"}
    tables += [_speed(measured[part], name) for part, name in names.items() if part in measured]
    return "\n\n".join([*tables, _conditions(measured)])


def _quality(released: dict[str, Row], off: dict[str, Row]) -> str:
    lines = [
        "| engine | perplexity as released | off the grid | MB |",
        "|---|---|---|---|",
        *(
            f"| {name} | {_cost(released[name])} | {_cost(row)} | {row['megabytes']:.0f} |"
            for name, row in off.items()
            if name in released
        ),
    ]
    return "\n".join(lines)


def _cost(row: Row) -> str:
    if not row["worse"]:
        return f"{row['perplexity']:.2f}"
    return f"{row['perplexity']:.2f} ({row['worse']:+.1%} ± {row['standard_error']:.1%})"


def _speed(rows: dict[str, Row], name: str) -> str:
    lines = [
        f"| {name} | tokens/s made | tokens/s read | CPU ms a token made | CPU ms a token read |",
        "|---|---|---|---|---|",
        *(
            f"| {engine} | {row['decode']:.1f} | {row['prefill']:.0f} | {row['decode_cpu'] * 1e3:.1f} "
            f"| {row['prefill_cpu'] * 1e3:.2f} |"
            for engine, row in rows.items()
        ),
    ]
    return "\n".join(lines)


def _conditions(measured: dict[str, Any]) -> str:
    loads = [row["load"] for part in ("speed", "wide") for row in measured.get(part, {}).values()]
    busy = f", load of the machine at most {max(loads):.0f}" if loads else ""
    return (
        f"{measured['processor']}, {measured['cores']} cores{busy}. 128 tokens are read and 24 made, best of the "
        "rounds. ± is the standard error over tokens of the difference from fp32."
    )
