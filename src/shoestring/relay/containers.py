"""`namedtuple` and `deque` without the package `collections`, which takes 0.5 MB: a twentieth of the relay's memory."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque, namedtuple
else:
    from _collections import _tuplegetter, deque

    def namedtuple(name: str, fields: str, *, defaults: tuple = ()) -> type:
        """Returns what `collections.namedtuple` does, as far as the relay uses it; the tests hold both side by side.

        >>> namedtuple("Point", "x y", defaults=(0,))(1)._asdict()
        {'x': 1, 'y': 0}
        """
        names, make = tuple(fields.split()), tuple.__new__
        listed = ", ".join(names)
        new = eval(
            f"lambda cls, {listed}: make(cls, ({listed},))", {"make": make}
        )  # as the original: it is fast
        new.__defaults__ = defaults

        def replace(self, **values):
            kept = make(type(self), [values.pop(field, value) for field, value in zip(names, self)])
            if values:
                raise ValueError(f"no field {', '.join(values)}; allowed: {', '.join(names)}")
            return kept

        members = {
            "_fields": names,
            "__slots__": (),
            "__getnewargs__": lambda self: (*self,),
            "__new__": new,
            "__repr__": lambda self: f"{type(self).__name__}({_listed(self._asdict())})",
            "_asdict": lambda self: dict(zip(names, self)),
            "_replace": replace,
        }
        return type(
            name, (tuple,), {**members, **{field: _tuplegetter(at, "") for at, field in enumerate(names)}}
        )

    def _listed(values: dict) -> str:
        return ", ".join(f"{field}={value!r}" for field, value in values.items())


__all__ = ["deque", "namedtuple"]
