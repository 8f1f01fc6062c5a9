"""Small copies of a model to try a growth on: a truncation with its own weights, or a tiny random one of its kind.

- A truncation has the first blocks and the first ids of the vocabulary: a model of its own, with real numbers.
- Where even that is too large, a random model has every size divided by what old and new size have in common, so that
  the same rules apply: 4096 -> 5120 becomes 32 -> 40.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from math import gcd, lcm
from pathlib import Path
from typing import Any

import torch

from shoestring.grow.plan.family import Config, Description
from shoestring.grow.plan.planning import Plan, plan, rule_of
from shoestring.grow.plan.request import Request, Sizes
from shoestring.grow.plan.rules import FAMILIES
from shoestring.grow.stored.checkpoint import Checkpoint, main_dtype, opened
from shoestring.grow.stored.models import random_model
from shoestring.hub import silenced

BLOCKS, IDS = 2, 512
BUDGET = 48_000_000  # numbers of both small models together: in fp64 within half a gibibyte


def small_plan(planned: Plan, folder: Path) -> tuple[Plan, str]:
    """Makes a small model in a folder and returns the plan of the same growth for it, and what it is."""
    if planned.inferred:
        return _tiny_inferred(planned, folder)
    model = FAMILIES[str(planned.checkpoint.config["model_type"])](planned.checkpoint.config)
    truncation = _truncation(planned, model)
    if _fits(planned, truncation):
        checkpoint = _truncated(planned.checkpoint, model, truncation, folder)
        kept = f"{truncation.layers} of {model.sizes.layers} blocks and {truncation.vocab:,} ids of this checkpoint"
        return plan(checkpoint, _request(planned, truncation)), kept
    tiny = _tiny(planned.old, planned.new, model)
    config = with_sizes(planned.checkpoint.config, model, tiny)
    with silenced():
        kind = getattr(torch, main_dtype(planned.checkpoint))
        random_model(config, planned.request.seed).to(kind).save_pretrained(folder)
    return plan(opened(folder), _request(planned, tiny)), f"a random {model.family} with hidden {tiny.hidden}"


def _tiny_inferred(planned: Plan, folder: Path) -> tuple[Plan, str]:
    kind = getattr(torch, main_dtype(planned.checkpoint))
    with silenced():
        random_model(planned.inferred.config, planned.request.seed).to(kind).save_pretrained(folder)
    times = planned.new.hidden // planned.old.hidden
    hidden = f"{times}x" if planned.request.hidden else None
    request = replace(planned.request, hidden=hidden, heads=None, kv_heads=None, ffn=None)
    return planned.again(opened(folder), request), f"a tiny random {planned.family}"


def _truncation(planned: Plan, model: Description) -> Sizes:
    old = planned.old
    return replace(
        old, layers=min(BLOCKS, old.layers), decoder_layers=min(BLOCKS, old.decoder_layers),
        vocab=min(IDS, old.vocab),
    )  # fmt: skip


def _fits(planned: Plan, truncation: Sizes) -> bool:
    """Estimates both small models by the share of numbers that they keep."""
    old = planned.old
    tables = old.vocab * old.hidden * (1 if planned.tied else 2)
    blocks = max(0, planned.checkpoint.parameters - tables) * (truncation.layers + 1) / max(1, old.layers)
    grown = planned.parameters / max(1, planned.checkpoint.parameters)
    return (blocks + 2 * truncation.vocab * old.hidden) * (1 + grown) <= BUDGET


def _request(planned: Plan, small: Sizes) -> Request:
    """Asks of the small model what was asked of the large one; blocks and ids by a few."""
    old, new = asdict(planned.old), asdict(planned.new)
    asked: dict[str, str | None] = dict.fromkeys(planned.request.asked)
    settable = {each for each in asdict(small) if hasattr(planned.request, each)}
    for name, size in asdict(small).items():
        if name not in settable or not size:
            continue
        if name in ("layers", "vocab"):
            asked[name] = "+2" if new[name] != old[name] else None
        elif new[name] != old[name] or name in ("heads", "kv_heads", "ffn"):
            asked[name] = str(size * new[name] // old[name])
    keys = FAMILIES[str(planned.checkpoint.config["model_type"])](planned.checkpoint.config).keys
    chosen: dict[str, Any] = {name: value for name, value in asked.items() if name in keys}
    if planned.request.repeat:
        chosen |= {"layers": None, "repeat": "0-0"}
    return replace(planned.request, allow_lossy=True, **chosen)


def _truncated(checkpoint: Checkpoint, model: Description, small: Sizes, folder: Path) -> Checkpoint:
    """Copies the first blocks and the first ids, as stored."""
    folder.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    chunks, offset = [], 0
    for name, stored in checkpoint.tensors.items():
        found = rule_of(model, checkpoint, name)
        if found is None:
            continue
        tensor, numbers = found
        decoder = model.decoder_stack and name.startswith(model.decoder_stack)
        if numbers and int(numbers[0]) >= (small.decoder_layers if decoder else small.layers):
            continue
        shape = list(stored.shape)
        if tensor.dims and str(tensor.dims[0][0]).startswith("vocab"):
            shape[0] = min(shape[0], small.vocab)
        with stored.path.open("rb") as file:
            rows = stored.read(file.fileno(), 0, shape[0] if len(shape) > 1 else 1)
        data = (rows[:, : shape[0]] if len(shape) == 1 else rows).tobytes()
        header[name] = {"dtype": stored.dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(chunks)
    (folder / "config.json").write_text(json.dumps(with_sizes(checkpoint.config, model, small)), "utf-8")
    return replace(opened(folder), names=checkpoint.names)


def with_sizes(config: Config, model: Description, sizes: Sizes) -> dict[str, Any]:
    """Returns a config with other sizes; special ids beyond its vocabulary become 0."""
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    for name, value in asdict(sizes).items():
        for key in model.keys.get(name, ()):
            changed[key] = value
    for key, entries in model.layer_lists.items():
        changed[key] = entries[: sizes.layers]
    if model.top_k:
        changed[model.top_k] = min(changed.get(model.top_k, 2), sizes.experts)
    for key, value in changed.items():
        if key.endswith("token_id") and isinstance(value, int) and value >= sizes.vocab:
            changed[key] = 0
    return changed


def _tiny(old: Sizes, new: Sizes, model: Description) -> Sizes:
    """Divides sizes by what they have in common with the new ones."""
    head = _least([(old.heads, new.heads), (old.kv_heads, new.kv_heads)])
    least = 2 if old.heads == head else 1
    heads, kv_heads = old.heads // head * least, old.kv_heads // head * least
    width = gcd(old.head_dim, new.head_dim)
    head_dim = old.head_dim // width * (8 if width % 8 == 0 else width)
    unit = old.hidden // gcd(old.hidden, new.hidden)
    new_heads = new.heads // head * least
    hidden = lcm(unit, heads if not new_heads % heads else heads * new_heads)
    hidden = heads * head_dim if model.head_width_follows else hidden * -(-32 // hidden)
    shared = gcd(old.ffn, new.ffn)
    ffn = old.ffn // shared * max(1, min(shared, -(-16 // (old.ffn // shared))))
    return replace(
        old, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        value_dim=head_dim if old.value_dim == old.head_dim else old.value_dim, ffn=ffn,
        layers=min(BLOCKS, old.layers), decoder_layers=min(BLOCKS, old.decoder_layers),
        vocab=min(64, old.vocab), experts=min(4, old.experts),
    )  # fmt: skip


def _least(pairs: list[tuple[int, int]]) -> int:
    return gcd(*(size for pair in pairs for size in pair))
