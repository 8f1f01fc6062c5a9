"""Keys and values of the tokens so far: grown in place, cut, forked, joined.

transformers' own cache copies everything for each token; this one has room ahead. Layout of a layer:
(rows, heads, tokens, head size).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 64  # tokens that are allocated ahead, at least


class GrowingLayer(DynamicLayer):
    """One layer's keys and values; `keys` and `values` are views of buffers with room."""

    keys: Any
    values: Any

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends and returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold(key_states[:, :, :0], value_states[:, :, :0])
        seen = self.keys.shape[2]
        self.lengthen(key_states.shape[2])
        for held, new in zip((self.keys, self.values), (key_states, value_states), strict=True):
            held[:, :, seen:] = new
        return self.keys, self.values

    def lengthen(self, count: int) -> list[Tensor]:
        """Makes so many tokens more, which the caller sets; returns the buffers: (rows, heads, room, head size)."""
        end = self.keys.shape[2] + count
        if not self._buffers or self._buffers[0].shape[2] < end:
            self._buffers = [_with_room(held, end) for held in (self.keys, self.values)]
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self._buffers

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Takes tensors as they are; they are copied before anything is appended."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys, self.values, self._buffers = keys, values, []

    def cut(self, length: int) -> None:
        """Forgets all but the first tokens."""
        self.keys, self.values = self.keys[:, :, :length], self.values[:, :, :length]


def new_cache() -> Cache:
    """Returns an empty cache."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def lengthen(cache: Any, count: int, shape: tuple[int, int, int, int]) -> list[list[Tensor]]:
    """Makes so many tokens more in each layer, which the caller sets, and returns each layer's buffers.

    Args:
        cache: may be empty.
        count: of tokens.
        shape: how many layers, rows, heads and numbers of a head an empty one gets.
    """
    layers, rows, heads, size = shape
    if not cache.layers:
        for _ in range(layers):
            layer, nothing = GrowingLayer(), torch.empty(rows, heads, 0, size, dtype=torch.float32)
            layer.hold(nothing, nothing)
            cache.layers.append(layer)
    return [layer.lengthen(count) for layer in cache.layers]


def fork(cache: Cache, length: int) -> Cache:
    """Returns a cache of the first tokens; what is appended to it does not touch the old one."""
    return _mapped(cache, lambda held: held[:, :, :length])


def select(cache: Cache, rows: Sequence[int], begin: int) -> Cache:
    """Returns a cache of the given rows, in that order, from a token on; a row may occur more than once."""
    index = torch.tensor(rows)
    return _mapped(cache, lambda held: held[:, :, begin:].index_select(0, index.to(held.device)))


def join(caches: Sequence[Cache]) -> Cache:
    """Returns one cache of all rows; shorter ones are padded on the left."""
    if not caches[0].layers:
        return caches[0]
    length = max(cache.get_seq_length() for cache in caches)
    joined = new_cache()
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        layer = GrowingLayer()
        layer.hold(
            *(torch.cat([_padded(each[part], length) for each in map(_held, layers)]) for part in (0, 1))
        )
        joined.layers.append(layer)
    return joined


def cut(cache: Any, length: int) -> None:
    """Forgets all but the first tokens."""
    for layer in cache.layers:
        layer.cut(length)


def nbytes(cache: Any) -> int:
    """Returns how much memory a cache keeps from being freed."""
    held = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
            for layer in cache.layers for part in _held(layer)}  # fmt: skip
    return sum(held.values())


def _mapped(cache: Cache, function: Any) -> Cache:
    new = new_cache()
    for old in cache.layers:
        layer = GrowingLayer()
        layer.hold(*map(function, _held(old)))
        new.layers.append(layer)
    return new


def _held(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.keys, layer.values


def _with_room(held: Tensor, length: int) -> Tensor:
    rows, heads, seen, size = held.shape
    room = max(length, seen * 3 // 2)  # by a part of what is there: token by token, all is copied few times
    buffer = held.new_empty(rows, heads, (room // _ROOM + 2) * _ROOM, size)
    buffer[:, :, :seen] = held
    return buffer


def _padded(held: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(held, (0, 0, length - held.shape[2], 0))
