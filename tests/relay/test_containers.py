"""The stand-ins for `collections`, `array` and `json` do what the originals do."""

import collections
import copy
import ctypes
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.relay.containers import namedtuple
from shoestring.relay.service import json_text, link
from shoestring.relay.settings.settings import SettingError

Ours, Theirs = (
    make("Both", "first second third", defaults=(2, None)) for make in (namedtuple, collections.namedtuple)
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "use",
    [
        lambda kind: kind(1),
        lambda kind: kind(1, third=3),
        lambda kind: kind(second=5, first=4).second,
        lambda kind: kind(1)._replace(first=7, third=8),
        lambda kind: kind(1)._asdict(),
        lambda kind: kind._fields,
        lambda kind: repr(kind("x", b"y")),
        lambda kind: kind(1) == (1, 2, None) and hash(kind(1)) == hash((1, 2, None)),
        lambda kind: copy.deepcopy(kind([1])),
        lambda kind: copy.copy(kind(1)).first,
        lambda kind: hasattr(kind(1), "__dict__"),
    ],
)
def test_named_tuples_are_those_of_the_standard_library(use):
    assert use(Ours) == use(Theirs)


@pytest.mark.parametrize(
    "use", [lambda kind: kind(), lambda kind: kind(1, fourth=2), lambda kind: kind(1, 2, 3, 4)]
)
def test_wrong_fields_are_refused_as_there(use):
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            use(kind)
    with pytest.raises(ValueError, match="fourth"):
        Ours(1)._replace(fourth=2)


def test_a_named_tuple_in_a_module_can_be_pickled():
    from shoestring.relay.frames import Frame

    frame = Frame(b"", b"", b"", 1, 2, 3, b"")
    assert pickle.loads(pickle.dumps(frame)) == frame


@given(PLAIN)
def test_json_is_what_the_standard_library_reads(value):
    assert json.loads(json_text.write(value)) == value


def test_json_is_read_in_another_process():
    assert json_text.read(b'{"a": [1, "\\u4f60"]}') == {"a": [1, "你"]}
    with pytest.raises(SettingError):
        json_text.read(b"{")


@given(st.binary(min_size=1, max_size=300))
def test_the_kernel_is_told_where_the_bytes_are(data):
    assert ctypes.string_at(link.address_of(data), len(data)) == data
