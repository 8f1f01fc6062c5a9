"""The tour's report: one HTML file with its pictures inside, and the same as JSON."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shoestring import files
from shoestring.env import describe
from shoestring.tour.stage import Done, Headline

NUMBER = re.compile(r"-|[-+]?[\d.,]+(e[-+]\d+)?( ?[%MsGB]+)?")
FACTS = {"cores": "{} cores", "memory": "{} of memory", "device": "{}", "torch": "torch {}"}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; --bad: #c0392b; }
body { font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
       max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
.soft, figcaption, caption { color: var(--soft); } .bad { color: var(--bad); }
table { border-collapse: collapse; margin: 1rem 0; font-size: .95em; }
caption { text-align: left; padding-bottom: .3rem; } @media (min-width: 40rem) { caption { white-space: nowrap; } }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; } code { font-size: .9em; overflow-wrap: anywhere; }
.first { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); margin: 1.5rem 0; }
.first div { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.first b { display: block; font-size: 1.3rem; line-height: 1.3; margin: .2rem 0; }
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
            "headline": asdict(each.outcome.headline) if each.outcome and each.outcome.headline else None,
        }
        for each in done
    ]
    return {"machine": machine, "seconds": round(sum(each.seconds for each in done), 2), "stages": stages}


def as_html(done: Sequence[Done], machine: dict[str, object]) -> str:
    """Returns the page; it refers to nothing outside itself."""
    seconds = sum(each.seconds for each in done)
    facts = ", ".join(saying.format(machine[name]) for name, saying in FACTS.items() if name in machine)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>shoestring: the tour</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        "<h1>shoestring: the tour</h1>"
        f'<p class="soft">Big-model work on the hardware you have: {seconds / 60:.1f} minutes on {_text(facts)}.</p>'
        f"{_first(done)}{_contents(done)}{''.join(map(_section, done))}</body></html>\n"
    )


def headlines(done: Sequence[Done]) -> list[Headline]:
    """Returns what the first screen shows."""
    return [each.outcome.headline for each in done if each.outcome and each.outcome.headline]


def _first(done: Sequence[Done]) -> str:
    cards = "".join(
        f'<div><span class="soft">{_text(each.what)}</span><b>{_text(each.ours)}</b>'
        f'<span class="soft">{_text(each.beside)}</span></div>'
        for each in headlines(done)
    )
    return f'<section class="first">{cards}</section>' if cards else ""


def _contents(done: Sequence[Done]) -> str:
    rows = "".join(
        f'<tr><td><a href="#{each.stage.name}">{_text(each.stage.title)}</a></td>'
        f'<td class="number">{each.seconds:.1f} s</td></tr>'
        for each in done
    )
    return f"<table>{rows}</table>"


def _section(done: Done) -> str:
    body = f'<h2 id="{done.stage.name}">{_text(done.stage.title)}</h2><p>{_text(_line(done))}</p>'
    if done.outcome is None:
        return body.replace("<p>", '<p class="bad">')
    tables = "".join(_table(*table) for table in done.outcome.tables)
    again = done.outcome.command
    own = f'<p class="soft">On your own data: <code>{_text(again)}</code></p>' if again else ""
    return body + "".join(_figure(*figure) for figure in done.outcome.figures) + tables + own


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
    return (
        f'<div class="scroll"><table><caption>{_text(caption)}</caption><tr>{head}</tr>{body}</table></div>'
    )


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f'<td class="number">{value:,}</td>'
    number = NUMBER.fullmatch(str(value)) is not None
    return f'<td class="number">{_text(value)}</td>' if number else f"<td>{_text(value)}</td>"


def _text(value: object) -> str:
    return html.escape(str(value))
