"""From old and new sizes to the growth of every axis, with the reason why it is exact, or why it is not.

What has no exact rule, and why:

- fractional hidden with post-norm: each norm's output is the residual stream itself, so the next norm needs equal
  numbers of copies of everything;
- new blocks with post-norm: LN(x + 0) is not x;
- head_dim with norms on queries and keys: exact only with new queries and keys at zero, where both have a zero
  gradient for ever;
- heads with ALiBi: the slopes of the old heads change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from shoestring.grow.plan.family import Description
from shoestring.grow.plan.request import Sizes, option
from shoestring.grow.plan.sizing import talking_heads
from shoestring.grow.stored.dtypes import Array
from shoestring.grow.tensors import axes
from shoestring.grow.tensors.axes import NEW, Axis

POWERS = ("default", "linear", "llama3", "yarn")  # rotary types of which theta's power keeps old frequencies
SAME_THETA = ("default", "linear", "llama3")


@dataclass
class Axes:
    """The growth of every axis of a model.

    Args:
        by_name: the axes as the rules name them.
        exact: what is exact and why, one line a size.
        lossy: what is not, and the nearest that is.
        theta_power: the base of the rotary positions is raised to this power.
    """

    by_name: dict[str | None, Axis] = field(default_factory=dict)
    exact: list[str] = field(default_factory=list)
    lossy: list[str] = field(default_factory=list)
    theta_power: float = 1.0


def grow_axes(model: Description, new: Sizes) -> Axes:
    """Returns the growth of every axis; what cannot be exact is named in `lossy` and done as well as it can be."""
    grown = Axes()
    old = model.sizes
    grown.by_name["hidden"] = _hidden(model, new, grown)
    _attention(model, new, grown)
    ffn = axes.tiled(old.ffn, new.ffn)
    grown.by_name |= {
        "ffn": ffn,
        "gate_up": axes.joined([ffn, ffn]),
        "experts": axes.tiled(max(1, old.experts), max(1, new.experts)),
        "vocab": axes.padded(old.vocab, new.vocab),
        "vocab_bias": axes.padded(old.vocab, new.vocab, "zero"),
    }
    _say(grown, model, new)
    return grown


def _hidden(model: Description, new: Sizes, grown: Axes) -> Axis:
    old, size = model.sizes.hidden, new.hidden
    change = f"hidden {old:,} -> {size:,}"
    if size % old == 0:
        if size != old:
            grown.exact.append(f"{change}: whole copies keep mean, variance and eps of every norm")
        return axes.tiled(old, size)
    if model.post_norm:
        low = size // old * old
        grown.lossy.append(
            f"--hidden {size}: {model.family} is post-norm, {old} -> {size} cannot be exact; use "
            + " or ".join(f"{each}" for each in (low, low + old) if each > old)
        )
        return axes.isometric(old, size)
    if model.norm == "rms":
        grown.exact.append(
            f"{change}: copies scaled so that the mean square stays, so RMSNorm's gain and eps do"
        )
        return axes.isometric(old, size)
    grown.exact.append(
        f"{change}: whole copies, and coordinates that carry the mean, which LayerNorm takes off"
    )
    return axes.averaged(old, size)


def _attention(model: Description, new: Sizes, grown: Axes) -> None:
    old = model.sizes
    heads = _heads(model, new)
    query, key = _key_widths(model, new, grown)
    value = axes.padded(old.value_dim, new.value_dim)
    read = Axis(value.source, value.index, value.scale, unread="zero")
    grown.by_name |= {
        "query": axes.repeated(heads.queries, heads.old[0], query),
        "key": axes.repeated(heads.keys, heads.old_keys, key),
        "value": axes.repeated(heads.values, heads.old_values, value),
        "mixed": axes.repeated(heads.mixed, heads.old[2], read),
        "head": axes.mapped(heads.old[1], heads.softmax),
        "key_head": axes.mapped(heads.old[0], heads.queries),
        "value_head": axes.mapped(heads.old[2], heads.mixed),
        "query_norm": query,
        "key_norm": Axis(key.source, key.index, key.scale, written="zero"),
    }
    grown.by_name["qkv"] = axes.joined([grown.by_name[name] for name in ("query", "key", "value")])
    if (new.heads, new.kv_heads) != (old.heads, old.kv_heads):
        if model.alibi:
            grown.lossy.append(
                f"--heads {new.heads}: {model.family} has ALiBi, whose slopes depend on the number of heads"
            )
        else:
            groups = f" in {old.kv_heads} -> {new.kv_heads} groups" if "kv_heads" in model.keys else ""
            grown.exact.append(
                f"heads {old.heads} -> {new.heads}{groups}: copies share their output's columns"
            )


@dataclass(frozen=True)
class _Heads:
    """Which old head each new one copies."""

    old: tuple[int, int, int]  # key heads, softmax heads, value heads
    old_keys: int
    old_values: int
    queries: Array
    softmax: Array
    mixed: Array
    keys: Array
    values: Array


def _heads(model: Description, new: Sizes) -> _Heads:
    """Finds the copies; with mixes between them, key heads, softmax heads and value heads are copied apart.

    A mix reads on one side and writes on the other, so copies of what it reads share its weights.
    """
    old = model.sizes
    key, _, value, talking = model.talking or (old.heads, old.heads, old.heads, "none")
    new_key, new_heads, new_value = talking_heads(model, new)
    shared = "kv_heads" in model.keys
    queries, keys = _copies(
        key, old.kv_heads if shared else key, new_key, new.kv_heads if shared else new_key
    )
    mixed, values = _copies(
        value, old.kv_heads if shared else value, new_value, new.kv_heads if shared else new_value
    )
    softmax = {"none": queries, "post": queries, "pre": mixed, "both": np.arange(new_heads) % old.heads}[
        talking
    ]
    groups = (old.kv_heads, old.kv_heads) if shared else (key, value)
    return _Heads((key, old.heads, value), *groups, queries, softmax, mixed, keys, values)


def _copies(heads: int, groups: int, new_heads: int, new_groups: int) -> tuple[Array, Array]:
    found = axes.grouped_heads(heads, groups, new_heads, new_groups)
    return found if found is not None else (np.arange(new_heads) % heads, np.arange(new_groups) % groups)


def _key_widths(model: Description, new: Sizes, grown: Axes) -> tuple[Axis, Axis]:
    """The growth inside a head: old dimensions keep their frequencies, new queries are zero, new keys random."""
    old, size = model.sizes.head_dim, new.head_dim
    if size == old:
        return axes.identity(old), axes.identity(old)
    index = _places(model, size, grown)
    gain = sqrt(size / old) if model.scores else 1.0
    query, key = Axis(old, index, np.full(size, gain), "zero"), Axis(old, index, np.ones(size), "random")
    if model.qk_norm:
        grown.lossy.append(
            f"--head-dim {size}: {model.family} has norms on queries and keys; exact only with new dimensions that "
            "never learn; grow --heads instead"
        )
        shrink = np.full(size, sqrt(old / size))
        return Axis(old, index, shrink * gain, "zero"), Axis(old, index, shrink, "random")
    grown.exact.append(
        f"head_dim {old} -> {size}: "
        + ("old pairs keep their rotary frequencies, " if model.rope else "")
        + "new queries start at zero, new values are not read yet"
    )
    return query, key


def _places(model: Description, size: int, grown: Axes) -> Array:
    """Where the old dimensions of a head go."""
    old = model.sizes.head_dim
    if model.rope is None:
        return axes.padded(old, size).index
    if model.rope not in POWERS or size % 2:
        why = (
            f"rotary positions of type {model.rope}"
            if size % 2 == 0
            else "an odd width cannot be turned in pairs"
        )
        grown.lossy.append(f"--head-dim {size}: {model.family} has {why}; use {option('heads')} instead")
    half, new_half, times = old // 2, size // 2, size // old
    index = np.full(size, NEW)
    if size % old == 0 and model.rope in SAME_THETA:
        pairs = np.arange(half) * times  # pair j is turned by theta^(-2j/d), so its place is k j among k d
    else:
        pairs = np.arange(half)
        grown.theta_power = size / old
    index[pairs], index[new_half + pairs] = np.arange(half), half + np.arange(half)
    return index


def _say(grown: Axes, model: Description, new: Sizes) -> None:
    old = model.sizes
    if new.ffn != old.ffn:
        grown.exact.append(
            f"feed-forward {old.ffn:,} -> {new.ffn:,}: copies of neurons share their output's columns"
        )
    if new.experts != old.experts:
        times = new.experts // old.experts
        grown.exact.append(
            f"experts {old.experts} -> {new.experts}, {times}x as many chosen: an expert's copies are chosen together"
        )
    if new.vocab != old.vocab:
        grown.exact.append(
            f"vocabulary {old.vocab:,} -> {new.vocab:,}: old logits stay; new ids take their share of probability"
        )
    added = new.layers - old.layers or new.decoder_layers - old.decoder_layers
    if not added:
        return
    if model.post_norm:
        grown.lossy.append(
            f"--layers {new.layers}: {model.family} is post-norm, and LN(x + 0) is not x; grow --ffn instead"
        )
    elif model.no_depth:
        grown.lossy.append(
            f"--layers {new.layers}: {model.family}: {model.no_depth}; grow --hidden or --ffn instead"
        )
    else:
        grown.exact.append(
            f"blocks {old.layers} -> {new.layers}: new ones add nothing to the residual stream yet"
        )
