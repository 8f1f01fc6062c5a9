"""What is stored beside a text: as JSON keeps it, and compared as it is written, numbers by what they are worth.

- A folder and a Qdrant server filter by the same marks, so they find the same.
- Dates and decimals, which tables have and JSON has not, become text; a number that is none becomes null.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from shoestring._errors import InputError, OptionError

DATES = (datetime.date, datetime.time)  # a datetime is a date
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,5})?")  # as JSON writes one: 03 is none


def plain(metadata: Mapping[str, object]) -> dict[str, Any]:
    """Returns metadata as they come back from a JSON file.

    Raises:
        InputError: a value has no place in JSON, or two names are one as text.

    >>> plain({"day": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.50"), "size": float("nan"), "of": (1, 2)})
    {'day': '2026-01-02', 'price': '1.50', 'size': None, 'of': [1, 2]}
    """
    return _named(metadata, None)


def recorded(text: str, metadata: Mapping[str, object]) -> dict[str, Any]:
    """Returns what is stored of a document."""
    return {"text": text, "metadata": plain(metadata)}


def same(one: Mapping[str, object], two: Mapping[str, object]) -> bool:
    """Tells whether two plain records are written alike: 1, 1.0 and true, which Python takes for equal, are not.

    >>> same({"a": 1, "b": 2}, {"b": 2, "a": 1}), same({"a": 1}, {"a": True})
    (True, False)
    """
    return one == two and json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def _named(values: Mapping[Any, object], within: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key)
        if name in kept:
            raise InputError(
                f"metadata {within or name!r}: two names are written {name!r}; leave one of them out"
            )
        kept[name] = _plain(within or name, value)
    return kept


def _plain(name: str, value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, DATES):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return _named(value, name)
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    raise InputError(f"metadata {name!r}: {value!r:.40} has no place in JSON; give text or numbers")


def text(value: object, name: str = "") -> str:
    """Returns a value as it is written: `true` is True, `2026-01-31` a date."""
    value = plain({name: value})[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def marks(metadata: Mapping[str, object]) -> Iterator[str]:
    """Yields the marks by which plain metadata are found, of a list those of each of its values."""
    for name, value in metadata.items():
        for each in value if isinstance(value, list) else (value,):
            number = None if isinstance(each, str) else _number(text(each))
            yield _mark(name, text(each)) if number is None else _mark(name, number, "number")


def wanted_marks(name: str, value: object) -> list[str]:
    """Returns the marks that a wanted value may have: as text, and where it is written like a number, as that.

    >>> set(marks({"p": 3.0})) <= set(wanted_marks("p", "3")), set(marks({"p": "3.0"})) <= set(wanted_marks("p", "3"))
    (True, False)
    """
    written = text(value, name)
    number = _number(written)
    return [_mark(name, written), *([] if number is None else [_mark(name, number, "number")])]


def _mark(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _number(written: str) -> str | None:
    """One writing for all of the same number, exactly; None where it is none."""
    if not NUMBER.fullmatch(written):
        return None
    value = decimal.Decimal(written).normalize(decimal.Context(prec=len(written)))
    return str(value) if value else "0"


def require_names(wanted: Mapping[str, object], known: Collection[str], where: object) -> None:
    """Refuses metadata that no text has: nothing would be found, as if nothing were alike.

    Raises:
        InputError: there is none of that name.
        OptionError: several values are wanted, of which it is not said whether one is enough.
    """
    for name, value in wanted.items():
        if isinstance(value, list | tuple | np.ndarray):
            raise OptionError(
                f"where {name!r}: {value!r:.40} is a list; give one value that a text's list shall have"
            )
        if name not in known:
            there = f"known: {', '.join(sorted(known))}" if known else "--metadata of index stores some"
            raise InputError(f"{where}: no text has metadata {name!r}; {there}")
