"""The tour's report: one HTML file with its pictures inside, and the same as JSON."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoestring import files
from shoestring.env import describe
from shoestring.tour.stage import Done

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; --bad: #c0392b; }
body { font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
       max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
.soft, figcaption, caption { color: var(--soft); } .bad { color: var(--bad); }
table { border-collapse: collapse; margin: 1rem 0; font-size: .95em; }
caption { text-align: left; white-space: nowrap; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } img { max-width: 100%; border-radius: 4px; background: #fff; }
"""


def write(folder: Path, done: Sequence[Done]) -> tuple[Path, Path]:
    """Writes report.html and report.json and returns their paths."""
    page, data = folder / "report.html", folder / "report.json"
    machine = describe()
    with files.atomic(page) as target:
        target.write(as_html(done, machine))
    with files.atomic(data) as target:
        json.dump(as_json(done, machine), target, ensure_ascii=False, indent=1, default=str)
    return page, data


def as_json(done: Sequence[Done], machine: dict[str, object]) -> dict[str, Any]:
    """Returns what ran, how long it took and what came out."""
    stages = [
        {
            "name": each.stage.name,
            "seconds": round(each.seconds, 2),
            "ok": each.outcome is not None,
            "line": each.outcome.line if each.outcome else None,
            "error": each.error,
            "facts": each.outcome.facts if each.outcome else {},
        }
        for each in done
    ]
    return {"machine": machine, "seconds": round(sum(each.seconds for each in done), 2), "stages": stages}


def as_html(done: Sequence[Done], machine: dict[str, object]) -> str:
    """Returns the page; it refers to nothing outside itself."""
    seconds = sum(each.seconds for each in done)
    facts = ", ".join(
        f"{name} {machine[name]}" for name in ("cores", "memory", "device", "torch") if name in machine
    )
    overview = _table(
        "What ran",
        ("stage", "seconds", "what it did"),
        [(each.stage.title, f"{each.seconds:.1f}", _line(each)) for each in done],
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>shoestring: the tour</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        "<h1>shoestring: the tour</h1>"
        f'<p class="soft">Big-model work on the hardware you have: {seconds / 60:.1f} minutes on {_text(facts)}.</p>'
        f"{overview}{''.join(map(_section, done))}</body></html>\n"
    )


def _section(done: Done) -> str:
    body = f"<h2>{_text(done.stage.title)}</h2><p>{_text(_line(done))}</p>"
    if done.outcome is None:
        return body.replace("<p>", '<p class="bad">')
    tables = "".join(_table(*table) for table in done.outcome.tables)
    return body + "".join(_figure(*figure) for figure in done.outcome.figures) + tables


def _line(done: Done) -> str:
    return done.outcome.line if done.outcome else f"failed: {done.error}"


def _figure(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_text(caption)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><caption>{_text(caption)}</caption><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{_text(value)}</td>"


def _text(value: object) -> str:
    return html.escape(str(value))
