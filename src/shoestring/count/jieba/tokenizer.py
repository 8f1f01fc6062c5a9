"""`Tokenizer`: jieba's own, whose accurate mode is cut by the kernel.

- jieba's dictionary stays where it was, in `FREQ` and `total`; what changes it (`add_word`, a script's own hands) is
  seen, and the kernel's table is compiled again from it (0.4 s) once more text is cut than that is worth. Until then,
  and with a dictionary that is beyond the kernel, jieba itself cuts: the words are the same.
- jieba's dictionary, unchanged, is not loaded for cutting: its compiled form is. `FREQ` and `total` are when asked for.
- Where a script has put something of its own in the place of what jieba cuts by (`re_han_default`, so that words may
  have spaces; a method; a dict as `FREQ`, whose changes nobody tells us), jieba itself cuts.
- Cutting goes on as the dictionary is when the first word is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import is_
from typing import Any

from shoestring._extras import require
from shoestring.count.cutting import dictionary

jieba: Any = require("count", "jieba")
finalseg: Any = require("count", "jieba.finalseg")
strdecode = require("count", "jieba._compat").strdecode

PATIENCE = 100_000  # characters that jieba cuts after a change before the table is compiled again
UNKNOWN = object()
RULES = (  # of jieba 0.42.1: re_han_default, re_skip_default, re_eng, and finalseg's re_han and re_skip
    "([\u4e00-\u9fd5a-zA-Z0-9+#&\\._%\\-]+)",
    "(\r\n|\\s)",
    "[a-zA-Z0-9]",
    "([\u4e00-\u9fd5]+)",
    "([a-zA-Z0-9]+(?:\\.\\d+)?%?)",
)
METHODS = ("get_DAG", "calc", "_Tokenizer__cut_DAG", "_Tokenizer__cut_DAG_NO_HMM")
OF_HMM = ("cut", "viterbi", "start_P", "trans_P", "emit_P", "MIN_FLOAT", "PrevStatus")
OWN = tuple(getattr(jieba.Tokenizer, name) for name in METHODS)
PARTS = tuple(getattr(finalseg, name) for name in OF_HMM)


class Watched(dict):
    """A dict that counts its changes."""

    version = 0


def _watching(name: str):
    def method(self: Watched, *arguments: Any, **more: Any) -> Any:
        self.version += 1
        return getattr(dict, name)(self, *arguments, **more)

    method.__name__ = name
    return method


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(Watched, _name, _watching(_name))


class Tokenizer(jieba.Tokenizer):
    """A jieba tokenizer whose accurate mode is cut by the kernel.

    Args:
        dictionary: path of a dictionary in jieba's format; None takes jieba's own.

    >>> tokenizer = Tokenizer()
    >>> tokenizer.lcut("我来到北京清华大学")
    ['我', '来到', '北京', '清华大学']
    >>> tokenizer.add_word("来到北京")
    >>> list(tokenizer.tokenize("我来到北京"))
    [('我', 0, 1), ('来到北京', 1, 5)]
    """

    def __init__(self, dictionary: str | None = None) -> None:
        super().__init__(dictionary)
        self._table: Any = None  # compiled from the dictionary as it was in the state `_compiled`
        self._compiled: object = UNKNOWN
        self._seen: object = UNKNOWN
        self._waited = 0

    def initialize(self, dictionary: str | None = None) -> None:
        """Loads the dictionary, or another one."""
        with self.lock:
            before = self.__dict__.get("FREQ")
            super().initialize(dictionary)
            if self.FREQ is not before and type(self.FREQ) is not Watched:
                self.FREQ, self._compiled = Watched(self.FREQ), UNKNOWN

    def check_initialized(self) -> None:
        """Loads the dictionary if it is not; waits for another thread that does."""
        with self.lock:
            super().check_initialized()

    def __getattr__(self, name: str) -> Any:
        """Loads the dictionary once somebody asks for it: until then only its compiled form was needed.

        A dictionary or a total that was set by hand meanwhile stays.
        """
        if name not in ("FREQ", "total"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self.lock:
            if name not in self.__dict__:
                by_hand = {each: self.__dict__[each] for each in ("FREQ", "total") if each in self.__dict__}
                self.initialized = False
                self.initialize()
                self.__dict__.update(by_hand)
        return self.__dict__[name]

    def set_dictionary(self, dictionary_path: str) -> None:
        """Takes another dictionary, from the next word on."""
        _ = self.FREQ  # what is asked for until then is in the one before
        super().set_dictionary(dictionary_path)

    def cut(self, sentence, cut_all=False, HMM=True, use_paddle=False) -> Iterator[str]:
        """Yields the words of a sentence, which is str, or bytes in UTF-8 or GBK."""
        if cut_all or use_paddle:
            yield from super().cut(sentence, cut_all, HMM, use_paddle)
            return
        text = strdecode(sentence)
        table = self._kernel(len(text))
        yield from table.cut(text, bool(HMM)) if table else super().cut(text, False, HMM)

    def lcut(self, *args: Any, **kwargs: Any) -> list[str]:
        """Returns `cut` as a list."""
        if len(args) == 1 and not kwargs and type(args[0]) is str and (table := self._kernel(len(args[0]))):
            return table.cut(args[0], True)
        return list(self.cut(*args, **kwargs))

    _lcut = lcut

    def cut_for_search(self, sentence, HMM=True) -> Iterator[str]:
        """Yields the words, and before each the shorter ones that it contains."""
        self.check_initialized()
        yield from super().cut_for_search(sentence, HMM)

    def tokenize(self, unicode_sentence, mode="default", HMM=True) -> Iterator[tuple[str, int, int]]:
        """Yields words with where they begin and end, in characters."""
        if mode != "default":
            self.check_initialized()
        yield from super().tokenize(unicode_sentence, mode, HMM)

    def _kernel(self, size: int) -> Any:
        """The table for what the dictionary is now, or None where jieba itself is to cut `size` characters."""
        forced = finalseg.Force_Split_Words
        if not self.initialized and self.dictionary is None:
            self._put_off_loading()
        as_jieba = self._cuts_as_jieba()
        if as_jieba and self.__dict__.keys().isdisjoint(("FREQ", "total")) and not forced:
            return dictionary.kernel_table()
        self.check_initialized()
        if not as_jieba or type(self.FREQ) is not Watched or not self.total >= 1:  # a script's own
            return None
        state = (id(self.FREQ), self.FREQ.version, self.total, frozenset(forced))
        if state == self._compiled:
            return self._table
        if self.dictionary is None and self.FREQ.version == 0 and not forced:
            table = dictionary.kernel_table()
            if table is None or table.total() == self.total:
                self._compiled, self._table = state, table
                return table
        if state != self._seen:
            self._seen, self._waited = state, 0
        self._waited += size
        if self._waited < PATIENCE:
            return None
        self._compiled, self._table = state, dictionary.table_of(self.FREQ, self.total, forced)
        return self._table

    def _cuts_as_jieba(self) -> bool:
        """Whether all that jieba's cutting goes by is jieba's own."""
        return (
            _rules() == RULES
            and all(map(is_, map(finalseg.__dict__.get, OF_HMM), PARTS))
            and all(map(is_, (getattr(type(self), name) for name in METHODS), OWN))
            and self.__dict__.keys().isdisjoint(METHODS)
        )

    def _put_off_loading(self) -> None:
        with self.lock:
            if not self.initialized:
                self.__dict__.pop("FREQ", None)
                self.__dict__.pop("total", None)
                self.initialized = True

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "lock"}
        if self.dictionary is None and getattr(state.get("FREQ"), "version", 0) == 0 and self.initialized:
            state.pop("FREQ", None)
            state.pop("total", None)
        elif "FREQ" in state:
            state["FREQ"] = dict(self.FREQ)
        state.update(
            _table=None, _compiled=None, _seen=None, _waited=0, _forced=set(finalseg.Force_Split_Words)
        )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        finalseg.Force_Split_Words |= state.pop("_forced")
        self.__init__()
        del self.FREQ, self.total
        self.__dict__.update(state)
        self._compiled = self._seen = UNKNOWN
        if self.initialized and "FREQ" in state:
            self.FREQ = Watched(self.FREQ)
            self.FREQ.version = 1


def _rules() -> tuple[object, ...]:
    found = jieba.re_han_default, jieba.re_skip_default, jieba.re_eng, finalseg.re_han, finalseg.re_skip
    return tuple(getattr(each, "pattern", each) for each in found)
