"""Small copies of a model to try a growth on: a truncation with its own weights, or a tiny random one of its kind.

- A truncation has the first blocks and the first ids of the vocabulary: a model of its own, with real numbers.
- `--verify blocks` takes as much memory as is free for that, and works for inferred architectures too.
- Where even that is too large, a random model has every size divided by what old and new size have in common, so that
  the same rules apply: 4096 -> 5120 becomes 32 -> 40.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from math import gcd, lcm, prod
from pathlib import Path
from typing import Any, NoReturn

import torch

from shoestring._errors import OptionError
from shoestring.grow.infer.tiny import LAYERS, cut, number
from shoestring.grow.plan.family import Config, Description
from shoestring.grow.plan.planning import Plan, plan, rule_of
from shoestring.grow.plan.request import Request, Sizes
from shoestring.grow.plan.rules import FAMILIES
from shoestring.grow.stored.architecture import names_of
from shoestring.grow.stored.checkpoint import Checkpoint, main_dtype, opened
from shoestring.grow.stored.dtypes import size
from shoestring.grow.stored.models import auto_config, empty_model, random_model
from shoestring.grow.stored.tensor import Stored
from shoestring.hub import silenced

BLOCKS, IDS = 2, 512
BUDGET = 48_000_000  # numbers of both small models together: in fp64 within half a gibibyte
CHUNK = 4 << 20  # bytes copied at a time
BYTES = 12  # of memory for such a number, in fp64 and with what running takes


def small_plan(planned: Plan, folder: Path, budget: int | None = None) -> tuple[Plan, str]:
    """Makes a small model in a folder and returns the plan of the same growth for it, and what it is.

    Args:
        planned: the growth of the large model.
        folder: to write.
        budget: numbers that both small models may have; the small one has the model's own weights then. By default a
            random one stands in where its own weights are more than `BUDGET`.

    Raises:
        OptionError: its own weights are more than the budget.
    """
    if planned.inferred:
        return _tiny_inferred(planned, folder) if budget is None else _own_blocks(planned, folder, budget)
    model = FAMILIES[str(planned.checkpoint.config["model_type"])](planned.checkpoint.config)
    truncations = [_truncation(planned, blocks) for blocks in (BLOCKS, 1)]
    fitting = [each for each in truncations if _numbers(planned, each) <= (budget or BUDGET)]
    if not fitting and budget is None:
        return _tiny_random(planned, model, folder)
    if not fitting:
        _refuse_memory(_numbers(planned, truncations[-1]))
    checkpoint = _truncated(planned.checkpoint, model, fitting[0], folder)
    kept = (
        f"{fitting[0].layers} of {model.sizes.layers} blocks and {fitting[0].vocab:,} ids of this checkpoint"
    )
    return plan(checkpoint, _request(planned, fitting[0])), kept


def free_numbers() -> int:
    """Returns how many numbers the two small models may have in fp64 in the memory that is free."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // BYTES
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return kilobytes * 1024 // BYTES


def _refuse_memory(numbers: int) -> NoReturn:
    raise OptionError(
        f"--verify blocks: one block as it is and grown takes {numbers * BYTES / 1e9:.1f} GB of memory in fp64, and "
        f"{free_numbers() * BYTES / 1e9:.1f} GB are free; --verify logits has a small random model stand in"
    )


def _tiny_random(planned: Plan, model: Description, folder: Path) -> tuple[Plan, str]:
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


def _own_blocks(planned: Plan, folder: Path, budget: int) -> tuple[Plan, str]:
    """Copies what a model of the first blocks has; all ids are kept, since no rule says what else could be cut."""
    old, tried = planned.checkpoint, auto_config(planned.inferred.config)
    blocks = max(number(tried, name) for name in LAYERS)
    config = cut(old.config, auto_config(old.config), blocks)
    model = empty_model(config)
    there, names = set(model.state_dict()), names_of(model, old.tensors).renamed
    shapes = {name: each.shape for name, each in old.tensors.items() if names[name][0] in there}
    grown = 1 + planned.parameters / max(1, old.parameters)
    if (numbers := round(sum(map(prod, shapes.values())) * grown)) > budget:
        _refuse_memory(numbers)
    checkpoint = _copied(old, shapes, config, folder)
    return planned.again(checkpoint, planned.request), f"{blocks} blocks and all ids of this checkpoint"


def _truncation(planned: Plan, blocks: int) -> Sizes:
    old = planned.old
    return replace(
        old,
        layers=min(blocks, old.layers),
        decoder_layers=min(blocks, old.decoder_layers),
        vocab=min(IDS, old.vocab),
    )


def _numbers(planned: Plan, truncation: Sizes) -> int:
    """Estimates both small models by the share of numbers that they keep."""
    old = planned.old
    tables = old.vocab * old.hidden * (1 if planned.tied else 2)
    blocks = max(0, planned.checkpoint.parameters - tables) * (truncation.layers + 1) / max(1, old.layers)
    grown = planned.parameters / max(1, planned.checkpoint.parameters)
    return round((blocks + 2 * truncation.vocab * old.hidden) * (1 + grown))


def _request(planned: Plan, small: Sizes) -> Request:
    """Asks of the small model what was asked of the large one; blocks and ids by a few."""
    old, new = asdict(planned.old), asdict(planned.new)
    asked: dict[str, str | None] = dict.fromkeys(planned.request.asked)
    settable = {each for each in asdict(small) if hasattr(planned.request, each)}
    for name, extent in asdict(small).items():
        if name not in settable or not extent:
            continue
        if name in ("layers", "vocab"):
            asked[name] = "+2" if new[name] != old[name] else None
        elif new[name] != old[name] or name in ("heads", "kv_heads", "ffn"):
            asked[name] = str(extent * new[name] // old[name])
    keys = FAMILIES[str(planned.checkpoint.config["model_type"])](planned.checkpoint.config).keys
    chosen: dict[str, Any] = {name: value for name, value in asked.items() if name in keys}
    if planned.request.repeat:
        chosen |= {"layers": None, "repeat": "0-0"}
    return replace(planned.request, allow_lossy=True, **chosen)


def _truncated(checkpoint: Checkpoint, model: Description, small: Sizes, folder: Path) -> Checkpoint:
    """Copies the first blocks and the first ids, as stored."""
    shapes = {}
    for name, stored in checkpoint.tensors.items():
        found = rule_of(model, checkpoint, name)
        if found is None:
            continue
        tensor, numbers = found
        decoder = model.decoder_stack and name.startswith(model.decoder_stack)
        if numbers and int(numbers[0]) >= (small.decoder_layers if decoder else small.layers):
            continue
        ids = bool(tensor.dims) and str(tensor.dims[0][0]).startswith("vocab")
        first = (min(stored.shape[0], small.vocab),) if ids else stored.shape[:1]
        shapes[name] = (*first, *stored.shape[1:])
    return _copied(checkpoint, shapes, with_sizes(checkpoint.config, model, small), folder)


def _copied(
    checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]], config: Config, folder: Path
) -> Checkpoint:
    """Writes the first rows of tensors, as stored, and a config; a chunk at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        dtype = checkpoint.tensors[name].dtype
        end = offset + prod(shape) * size(dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.writelines(_rows(checkpoint.tensors[name], shape))
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return replace(opened(folder), names={name: checkpoint.names.get(name, name) for name in shapes})


def _rows(stored: Stored, shape: tuple[int, ...]) -> Iterator[bytes]:
    """Yields the numbers of a tensor's first rows, or of the start of a vector."""
    with stored.path.open("rb") as file:
        if len(shape) < 2:
            yield stored.read(file.fileno(), 0, 1)[:, : prod(shape)].tobytes()
            return
        rows = prod(shape[:-1])
        step = max(1, CHUNK // max(1, shape[-1] * size(stored.dtype)))
        for start in range(0, rows, step):
            yield stored.read(file.fileno(), start, min(start + step, rows)).tobytes()


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
