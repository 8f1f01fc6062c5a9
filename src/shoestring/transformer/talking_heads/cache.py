"""Talking heads in the ordinary key-value cache of transformers, dynamic or static, reordered by beams.

- Fixed mixes need nothing in it: they apply to logits and weights, not to keys and values.
- Matrices that belong to a key are kept beside it, as further columns of the cached key and value.
- A static cache has as many heads for values as for keys; where the layer has not, both are kept as one wide head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache


def cached(
    cache: Cache,
    layer: int,
    key: Float[Tensor, "b g n k"],
    value: Float[Tensor, "b u n v"],
    mixes: dict[str, Tensor | None],
) -> tuple[Float[Tensor, "b g m k"], Float[Tensor, "b u m v"], dict[str, Tensor | None]]:
    """Appends to a layer's part of a cache; returns keys, values and mixes of all positions."""
    of_keys, of_values = mixes.get("pre_by_key"), mixes.get("post_by_key")
    packed_key, packed_value = _packed(key, of_keys), _packed(value, of_values)
    if key.shape[1] == value.shape[1]:
        keys, values = cache.update(packed_key, packed_value, layer)
    else:
        keys, values = cache.update(_joined(packed_key), _joined(packed_value), layer)
        keys, values = _parted(keys, key.shape[1]), _parted(values, value.shape[1])
    keys, of_keys = _unpacked(keys, key.shape[-1], of_keys)
    values, of_values = _unpacked(values, value.shape[-1], of_values)
    found = {"pre_by_key": of_keys, "post_by_key": of_values}
    return keys, values, {**mixes, **{name: x for name, x in found.items() if x is not None}}


def _packed(x: Tensor, extra: Tensor | None) -> Tensor:
    """Returns keys or values with what belongs to them in further columns, spread over the heads."""
    if extra is None:
        return x
    heads, flat = x.shape[1], extra.flatten(2)
    flat = functional.pad(flat, (0, -flat.shape[-1] % heads)).unflatten(-1, (heads, -1))
    return torch.cat((x, flat.transpose(1, 2).to(x.dtype)), dim=-1)


def _unpacked(x: Tensor, width: int, extra: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Returns keys or values alone, and what belongs to them in the shape of `extra`."""
    if extra is None:
        return x, None
    rows, columns = extra.shape[2:]
    flat = x[..., width:].transpose(1, 2).flatten(2)[..., : rows * columns]
    return x[..., :width], flat.unflatten(-1, (rows, columns))


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)[:, None]


def _parted(x: Tensor, heads: int) -> Tensor:
    return x[:, 0].unflatten(-1, (heads, -1)).transpose(1, 2)
