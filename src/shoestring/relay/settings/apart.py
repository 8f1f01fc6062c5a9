"""Does a piece of work in a child process, whose memory goes with it: reading the settings takes 0.7 MB for good."""

from __future__ import annotations

import marshal
import os

from shoestring.relay.settings.options import UsageError
from shoestring.relay.settings.settings import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:  # `collections` takes 0.5 MB
    from collections.abc import Callable


def apart(work: Callable) -> Callable:
    """Returns `work` to be done in a child process.

    Args:
        work: takes and returns plain values (numbers, texts, lists, dicts), and raises `SettingError` or `UsageError`.
    """

    def done(*arguments):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            _do(work, arguments, write)
        os.close(write)
        with open(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        error, result = marshal.loads(data) if data else ("SettingError", "the settings file cannot be read")
        if error:
            raise {"UsageError": UsageError}.get(error, SettingError)(result)
        return result

    return done


def _do(work: Callable, arguments: tuple, write: int) -> None:
    try:
        answer = ("", work(*arguments))
    except Exception as error:  # whatever it is, the parent tells it
        answer = (type(error).__name__, str(error))
    with open(write, "wb") as pipe:
        pipe.write(marshal.dumps(answer))
    os._exit(0)
