"""Optional dependencies: a missing one becomes a line that works for how shoestring was installed.

- In a checkout: `pip install -e 'FOLDER[count]'`.
- Elsewhere the packages by name, as the metadata of the installation lists them: shoestring itself is not asked from
  an index, where its name may be somebody else's.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from shoestring._errors import ExtraMissing


def require(extra: str, *modules: str) -> ModuleType:
    """Imports the modules that an extra brings and returns the first.

    Args:
        extra: name of the extra in pyproject.toml, such as `"count"`.
        modules: what to import, such as `"pyarrow.parquet"`.

    Raises:
        ExtraMissing: one of them is not installed; the message has the pip line.

    >>> require("files", "json").dumps([1])
    '[1]'
    """
    try:
        first, *_ = [import_module(module) for module in modules]
        return first
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"this needs the package {error.name!r}, which is not installed; type: {pip_line(extra)}"
        ) from error


def pip_line(extra: str) -> str:
    """Returns what to type for an extra."""
    if folder := _checkout():
        return f"pip install -e '{folder}[{extra}]'"
    return "pip install " + " ".join(f"'{each}'" for each in packages(extra))


def packages(extra: str) -> list[str]:
    """Returns the requirements of an extra, those of the extras that it names included."""
    import re
    from importlib import metadata

    out: list[str] = []
    for line in metadata.requires("shoestring") or ():
        wanted, _, marker = (part.strip() for part in line.partition(";"))
        if f"extra == '{extra}'" not in marker.replace('"', "'"):
            continue
        inner = re.fullmatch(r"shoestring\[([^]]+)\]", wanted)
        more = (
            [name for each in inner[1].split(",") for name in packages(each.strip())] if inner else [wanted]
        )
        out += [each for each in more if each not in out]
    return out


def _checkout() -> str | None:
    """Returns the folder of an editable installation."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlparse

    try:
        origin = json.loads(metadata.distribution("shoestring").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        return None
    editable = origin.get("dir_info", {}).get("editable")
    return unquote(urlparse(origin["url"]).path) if editable else None
