"""What transformers makes of a checkpoint, asked of transformers itself, on tensors without numbers.

- The class that config.json names is made on torch's meta device and loads the checkpoint's names and shapes: what is
  missing then is missing, and what has another shape than the config says is found before anything is written.
- Names of old and of new checkpoints, with a prefix and without, `LayerNorm.gamma` and experts one by one: its own
  conversion mapping says what they are in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from shoestring._errors import InputError
from shoestring.grow.stored.checkpoint import Checkpoint
from shoestring.grow.stored.dtypes import TORCH
from shoestring.grow.stored.models import empty_model
from shoestring.hub import silenced


@dataclass(frozen=True)
class Names:
    """What the stored names are in memory.

    Args:
        renamed: stored name -> (name in memory, which of several tensors of its the stored one is, if so).
        unread: stored names that the model has no place for.
        ties: name in memory of what is tied -> of what it is tied to.
    """

    renamed: Mapping[str, tuple[str, str | None]]
    unread: tuple[str, ...]
    ties: Mapping[str, str]


def as_read(checkpoint: Checkpoint) -> Checkpoint:
    """Returns a checkpoint with what transformers calls its tensors.

    Raises:
        InputError: transformers knows no such architecture, or would miss a tensor, or refuse a shape.
    """
    model = modelled(checkpoint)
    found = names_of(model, checkpoint.tensors)
    _require_complete(checkpoint, model)
    names = {name: known for name, (known, _) in found.renamed.items() if known != name}
    return replace(checkpoint, names=names, unread=found.unread)


def modelled(checkpoint: Checkpoint) -> Any:
    """Returns the model of a checkpoint's config, without numbers.

    Raises:
        InputError: it cannot be made.
    """
    try:
        return empty_model(checkpoint.config)
    except Exception as error:  # whatever a model's own code raises on a config that it does not like
        if isinstance(error, KeyError) and error.args == (checkpoint.config["model_type"],):
            kind = checkpoint.config["model_type"]
            raise InputError(
                f"{checkpoint.folder}: transformers knows no architecture {kind!r}; nothing can be inferred"
            ) from error
        raise InputError(
            f"{checkpoint.folder}: transformers cannot make a {checkpoint.config['model_type']!r} of its config.json: "
            f"{reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """Returns in one line what an error of transformers says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [type(error).__name__])[0]
    return text if len(text) < 300 else text[:297] + "..."


def names_of(model: Any, stored: Any) -> Names:
    """Finds what the tensors of a checkpoint are in a model.

    Args:
        model: of transformers, on any device.
        stored: the names in the checkpoint.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping, there = get_model_conversion_mapping(model), model.state_dict()
    renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
    converters = [each for each in mapping if isinstance(each, WeightConverter)]
    renamed: dict[str, tuple[str, str | None]] = {}
    for name in stored:
        known, part = rename_source_key(name, renamings, converters, model.base_model_prefix, there)
        if known not in there and name in there:
            known, part = rename_source_key(name, [], [], model.base_model_prefix, there)
        renamed[name] = known, part
    unread = tuple(name for name, (known, _) in renamed.items() if known not in there)
    return Names(renamed, unread, dict(model.all_tied_weights_keys))


def _require_complete(checkpoint: Checkpoint, model: Any) -> None:
    stored: dict[str, Tensor] = {
        name: torch.empty(each.shape, dtype=getattr(torch, TORCH.get(each.dtype, "int64")), device="meta")
        for name, each in checkpoint.tensors.items()
    }
    try:
        with silenced():
            _, found = type(model).from_pretrained(
                None, config=model.config, state_dict=stored, device_map={"": "meta"}, ignore_mismatched_sizes=True,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # of transformers' own loading
        raise InputError(
            f"{checkpoint.folder}: transformers cannot load it: {reason(error)}; save it again"
        ) from error
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(
            f"{checkpoint.folder}: lacks {missing[0]}{more}, which its config.json asks for; transformers would load "
            "random numbers there; get the whole checkpoint, or correct config.json"
        )
    if mismatched := sorted(found["mismatched_keys"]):
        name, there, wanted = mismatched[0]
        raise InputError(
            f"{checkpoint.folder}: {name} is {_shape(there)}, but by config.json it should be {_shape(wanted)}"
        )


def _shape(sizes: Any) -> str:
    return " x ".join(map(str, sizes))
