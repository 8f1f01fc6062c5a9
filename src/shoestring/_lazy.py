"""Public names of a package that are imported when they are first used, so that a command stays fast.

A package lists its names three times, for three readers: under `TYPE_CHECKING` for type checkers, in `__all__` for
people, and in a table of modules for `lazy` below. Source: PEP 562.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Returns the `__getattr__` of a package whose public names live in its modules.

    Args:
        package: the package's `__name__`.
        homes: module, relative to the package -> its public names, separated by spaces.

    Example:
        `__getattr__ = lazy(__name__, {"table": "FrequencyTable count_words"})`
    """
    places = {name: home for home, names in homes.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return __getattr__
