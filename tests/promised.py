"""What docs/json.md promises of the JSON that a command prints, and whether it was kept."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "json.md"
TOKEN = re.compile(r"`[^`]+`|\((?:`[^`]*`|[^`)])*\)|[?\[\]{}]")
Keys = dict[str, "tuple[bool, Keys | None]"]  # key -> may it be absent, and the keys within


@cache
def promised() -> dict[str, Keys]:
    """Command, with the options that change its keys -> its keys."""
    table = PAGE.read_text("utf-8").split("<!-- keys -->")[1].split("<!-- /keys -->")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE)
    return {name: _keys(TOKEN.findall(text)) for name, text in rows if not text.startswith("as `")}


def _keys(tokens: list[str]) -> Keys:
    """Reads keys up to the bracket that closes them."""
    found: Keys = {}
    last = ""
    while tokens:
        token = tokens.pop(0)
        if token in "]}":
            return found
        if token in "[{":
            found[last] = (found[last][0], _keys(tokens))
        elif token == "?":
            found[last] = (True, found[last][1])
        elif token.startswith("`"):
            last = token.strip("`")
            found[last] = (False, None)
    return found


def kept(command: str, printed: str | dict[str, Any]) -> dict[str, Any]:
    """Returns what a command printed, which has the keys that are promised and no others."""
    values = json.loads(printed) if isinstance(printed, str) else printed
    _compare(command, promised()[command], values)
    return values


def _compare(where: str, keys: Keys, values: Any) -> None:
    for each in values if isinstance(values, list) else [values]:
        if each is None:
            continue
        assert isinstance(each, dict), f"{where}: {each!r} has no keys"
        named = {key: _name(key, keys) for key in each}
        assert None not in named.values(), (
            f"{where}: {[k for k in named if named[k] is None]} not in docs/json.md"
        )
        absent = {name for name, (optional, _) in keys.items() if not optional} - {*named.values()}
        assert not absent, f"{where}: prints no {absent}"
        for key, name in named.items():
            within = keys[str(name)][1]
            if within is not None:
                _compare(f"{where}: {key}", within, each[key])


def _name(key: str, keys: Keys) -> str | None:
    """Returns what the page calls a key: itself, or a name with the fewest `<words>` that fits."""
    fitting = [
        name for name in keys
        if re.fullmatch(".+".join(map(re.escape, re.split(r"<\w+>", name))), key, re.DOTALL)
    ]  # fmt: skip
    return min(fitting, key=lambda name: name.count("<"), default=None)
