"""Optional dependencies: a missing one becomes the exact line to type."""

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
            f"this needs the package {error.name!r}, which is not installed; "
            f"type: pip install 'shoestring[{extra}]'"
        ) from error
