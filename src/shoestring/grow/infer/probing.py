"""What each tensor of an unknown architecture does, found by making tiny models of it.

1. A tiny model and one with all sizes times k are made and saved: a dimension that is k times as large is one that
   grows. Saved names and shapes count, so whatever transformers converts or ties on the way is covered.
2. The kind of module says which side reads: the columns of Linear, the rows of GPT-2's Conv1D, none of an Embedding.
3. What cannot be seen so is tried: which side of a bare parameter reads, how a fused projection is divided, a factor
   on the last norm or on the embeddings for tied heads and for constants that depend on sizes. Only a trial whose
   outputs equal the tiny model's in fp64 is accepted.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shoestring.grow.infer.tiny import scaled, sizes_of
from shoestring.grow.stored.architecture import names_of
from shoestring.grow.stored.checkpoint import Checkpoint, opened
from shoestring.grow.stored.models import (
    auto_config,
    empty_model,
    idle_parameters,
    outputs,
    random_model,
    trial_ids,
)
from shoestring.hub import silenced

ACCEPTED = 1e-10  # of the largest output, in fp64
TRIALS = 64
CHOICES = 24  # ways to read bare parameters and to divide fused ones that are tried
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Kind:
    """What all tensors of one name, block numbers aside, do.

    Args:
        grows: for each dimension whether it does.
        reads: the dimension that reads; None if there is none.
        parts: what a fused dimension consists of, such as ("q", "kv", "kv"); one part is not fused.
        factor: multiplies all numbers.
        shift: is added before and subtracted after that.
        last: the factor is for the last block only.
    """

    grows: tuple[bool, ...]
    reads: int | None
    parts: tuple[str, ...] = ("all",)
    factor: float = 1.0
    shift: float = 0.0
    last: bool = False


@dataclass
class Finding:
    """What is known of an architecture.

    Args:
        kinds: what such tensors do, by what they are in memory.
        error: of the accepted trial, as a fraction of the largest output.
        fixes: what had to be tried besides tiling, for the report.
        mode: what grows with hidden.
        config: of the tiny model.
        idle: names that the outputs of the tiny model do not depend on.
        silence: what makes a new block add nothing, and the number that all of it becomes.
    """

    kinds: dict[Key, Kind]
    error: float
    fixes: list[str] = field(default_factory=list)
    mode: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    silence: dict[Key, float] = field(default_factory=dict)


def signature(name: str) -> str:
    """Returns a name without the numbers of blocks and experts.

    >>> signature("model.layers.3.mlp.up_proj.weight")
    'model.layers.*.mlp.up_proj.weight'
    """
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def keys_of(renamed: Mapping[str, tuple[str, str | None]]) -> dict[str, Key]:
    """Returns by what each stored tensor is known: its name in memory, and which part of that it is."""
    return {name: (signature(known), part) for name, (known, part) in renamed.items()}


def computed_from_sizes(finding: Finding, grown: Mapping[str, Any]) -> list[str]:
    """Returns what a model has that is not stored and changes with its sizes, such as sinusoids for positions.

    Args:
        finding: of the model, at a tiny size.
        grown: the settings that grow, with their new numbers.
    """
    old, new = (_held(empty_model({**finding.config, **change})) for change in ({}, grown))
    stored = {key[0] for key in finding.kinds}
    return [name for name in old if signature(name) not in stored and old[name] != new.get(name, old[name])]


def _held(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor that a model holds under its own name, also where it is no parameter."""
    found = {}
    for prefix, module in model.named_modules():
        own = {**vars(module), **module._parameters, **module._buffers}
        for name, tensor in own.items():
            if isinstance(tensor, Tensor):
                found[f"{prefix}.{name}".lstrip(".")] = tuple(tensor.shape)
    return {
        name: shape
        for name, shape in found.items()
        if name not in getattr(model, "all_tied_weights_keys", {})
    }


class Probe:
    """A tiny model and its k-fold, saved, with every candidate for what their tensors do.

    Args:
        config: of the tiny model.
        times: the factor.
        mode: what grows with hidden.
        folder: scratch space, empty.
        seed: of the tiny model's weights.

    Raises:
        ValueError: the tiny model computes no numbers.
    """

    def __init__(self, config: Mapping[str, Any], times: int, mode: str, folder: Path, seed: int = 0) -> None:
        self.times, self.config, self.folder = times, dict(config), folder
        self.target = {**self.config, **scaled(auto_config(config), times, mode)}
        self.model = random_model(self.config, seed)
        with silenced():
            self.model.save_pretrained(folder / "tiny")
            random_model(self.target, seed).save_pretrained(folder / "target")
        self.small: Checkpoint = opened(folder / "tiny")
        self.renamed = names_of(self.model, self.small.tensors).renamed
        self.keys = keys_of(self.renamed)
        self.shapes = {name: stored.shape for name, stored in opened(folder / "target").tensors.items()}
        self.sizes = sizes_of(auto_config(self.config))
        self.ids = trial_ids(auto_config(self.config).vocab_size, seed)
        self.shape_errors: list[float] = []
        self.truth = outputs(folder / "tiny", self.config, "float64", self.ids)
        if not isfinite(float(self.truth.abs().max())):
            raise ValueError("a tiny random model of it computes no numbers")

    def base_kinds(self) -> dict[Key, Kind] | str:
        """Returns what shapes and modules say, or why they say nothing."""
        if set(self.shapes) != set(self.small.tensors):
            odd = sorted(set(self.shapes) ^ set(self.small.tensors))
            return f"its tensors change with its sizes ({odd[0]})"
        kinds: dict[Key, Kind] = {}
        modules = dict(self.model.named_modules())
        tables = {id(each.weight) for each in modules.values() if isinstance(each, nn.Embedding)}
        for name, stored in self.small.tensors.items():
            ratios = [
                new / old if old else 1 for old, new in zip(stored.shape, self.shapes[name], strict=True)
            ]
            if any(ratio not in (1, self.times) for ratio in ratios):
                return f"{signature(name)} goes from {stored.shape} to {self.shapes[name]}"
            grows = tuple(ratio != 1 for ratio in ratios)
            kind = Kind(grows, _reads(self.renamed[name], grows, modules, tables))
            if kinds.setdefault(self.keys[name], kind) != kind:
                return f"{signature(name)} is of another shape in some blocks than in others"
        return kinds

    def candidates(self, kinds: dict[Key, Kind]) -> Iterator[tuple[dict[Key, Kind], list[str]]]:
        """Yields what may be the truth, the likeliest first."""
        chosen: list[tuple[dict[Key, Kind], list[str]]] = []
        for changed, words in itertools.islice(self._choices(kinds), CHOICES):
            chosen.append((changed, words))
            yield changed, words
        order = sorted(range(len(chosen)), key=lambda index: self.shape_errors[index])
        for changed, words in (chosen[index] for index in order):
            for fixed, what in self._fixes(changed):
                yield fixed, [*words, what]

    def _choices(self, kinds: dict[Key, Kind]) -> Iterator[tuple[dict[Key, Kind], list[str]]]:
        """Yields every way to divide fused projections and to read bare parameters, those alike together."""
        fused, bare = self._fused(kinds), self._bare(kinds)
        ways = itertools.product(itertools.product(*bare.values()), itertools.product(*fused.values()))
        for reads, parts in ways:
            changed, words = dict(kinds), []
            for alike, dimension in zip(bare, reads, strict=True):
                changed |= {key: replace(kinds[key], reads=dimension) for key in alike}
                if dimension != kinds[alike[0]].reads:
                    words.append(f"{alike[0][0]} reads its dimension {dimension}")
            for key, divided in zip(fused, parts, strict=True):
                for each in (key, (key[0].removesuffix("weight") + "bias", key[1])):
                    if each in kinds:
                        changed[each] = replace(changed[each], parts=divided)
                words += [f"{key[0]} is {' + '.join(divided)}"] if divided != ("all",) else []
            yield changed, words

    def _bare(self, kinds: Mapping[Key, Kind]) -> dict[tuple[Key, ...], list[int | None]]:
        """Returns the parameters of no known module, those alike together, with the dimensions that may read."""
        modules, alike = dict(self.model.named_modules()), {}
        for name, key in self.keys.items():
            known, part = self.renamed[name]
            module, grows = modules.get(known.rpartition(".")[0]), kinds[key].grows
            if (
                isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d)
                or part
                or len(grows) < 2
                or not any(grows)
            ):
                continue
            if type(module).__name__ == "Conv1D" or key in alike.get((grows, kinds[key].reads), ()):
                continue
            alike.setdefault((grows, kinds[key].reads), []).append(key)
        found = {}
        for (grows, first), keys in alike.items():
            others = [None, *(dimension for dimension in reversed(range(len(grows))) if grows[dimension])]
            found[tuple(keys)] = [first, *(each for each in others if each != first)]
        return found

    def _fused(self, kinds: Mapping[Key, Kind]) -> dict[Key, list[tuple[str, ...]]]:
        """Returns the projections that may be fused, with what they may consist of."""
        found = {}
        shapes = {self.keys[name]: stored.shape for name, stored in self.small.tensors.items()}
        for key, kind in kinds.items():
            if kind.reads is None or len(kind.grows) < 2:
                continue
            out = len(kind.grows) - 2 if kind.reads == len(kind.grows) - 1 else len(kind.grows) - 1
            size = shapes[key][out]
            if not kind.grows[out]:
                continue
            choices = [parts for parts in _PARTS if sum(self.sizes[part] for part in parts) == size]
            if choices and not any(size == self.sizes[part] for part in ("ffn", "hidden", "q", "kv")):
                found[key] = [("all",), *choices]
        return found

    def _fixes(self, kinds: Mapping[Key, Kind]) -> Iterator[tuple[dict[Key, Kind], str]]:
        """Yields the kinds with a factor on the last norm, on the embeddings, or on both."""
        k = float(self.times)
        norms = [key for key, kind in kinds.items() if _is_norm(key, kind) and key[0].endswith("weight")]
        outer = [(key, False) for key in norms if "*" not in key[0]]
        inner = [(key, True) for key in norms if "*" in key[0]]
        likely = [each for each in inner if "decoder" in each[0][0] and "final" in each[0][0]]
        tables = [key for key, kind in kinds.items() if _is_table(key, kind)]
        factors = (1.0, k**-0.5), (1 / k, k**-0.5, k**0.5, 1.0)
        for embed, factor, (key, last), shift in itertools.chain(
            itertools.product(*factors, [*reversed(outer), *likely], (0.0, 1.0)),
            itertools.product(*factors, [each for each in inner if each not in likely], (0.0,)),
        ):
            if (factor, shift) == (1.0, 1.0) or (factor, embed) == (1.0, 1.0):
                continue
            changed = dict(kinds)
            for each in (key, (key[0].replace("weight", "bias"), key[1])):
                if each in kinds and factor != 1:
                    shifted = shift if each == key else 0.0
                    changed[each] = replace(kinds[each], factor=factor, shift=shifted, last=last)
            for table in tables if embed != 1 else ():
                changed[table] = replace(kinds[table], factor=embed)
            words = [f"{key[0]} x {factor:.4g}"] + [f"embeddings x {embed:.4g}"] * (embed != 1)
            yield changed, ", ".join(words) + " (gain is 1 + weight)" * (shift != 0)

    def error(self, folder: Path, config: Mapping[str, Any] | None = None) -> float:
        """Returns how far a grown tiny model is from the tiny one, as a fraction of the largest output.

        What is left when outputs may be multiplied by any number is kept: it tells a wrong division from a factor.
        """
        target = self.target if config is None else config
        (folder / "config.json").write_text(json.dumps(target), "utf-8")
        got = outputs(folder, target, "float64", self.ids)[..., : self.truth.shape[-1]]
        multiple = (got * self.truth).sum() / (got * got).sum()
        self.shape_errors.append(float((got * multiple - self.truth).abs().max() / self.truth.abs().max()))
        error = float((got - self.truth).abs().max() / self.truth.abs().max())
        return error if isfinite(error) else float("inf")

    def idle(self) -> list[str]:
        """Returns the tensors that the outputs do not depend on, such as a pooler under a language model's head."""
        return idle_parameters(self.folder / "tiny", self.config, self.ids)


_PARTS: list[tuple[str, ...]] = [
    ("q", "kv", "kv"), ("ffn", "ffn"), ("hidden",) * 3, ("hidden",) * 2, ("q",) * 4, ("kv", "kv"), ("q", "q"),
]  # fmt: skip


def _reads(
    renamed: tuple[str, str | None], grows: tuple[bool, ...], modules: Mapping[str, Any], tables: set[int]
) -> int | None:
    """Returns the dimension that reads, as the kind of module says, or as is usual for a bare parameter."""
    (name, part), last = renamed, len(grows) - 1
    module = modules.get(name.rpartition(".")[0])
    if isinstance(module, nn.Embedding) or id(getattr(module, "weight", None)) in tables or last < 1:
        return None
    if type(module).__name__ == "Conv1D":
        return 0
    if isinstance(module, nn.Conv1d):
        return 1 if grows[1] else None
    if isinstance(module, nn.Linear) or part or (name.endswith("weight") and last == 1) or sum(grows) > 1:
        return last
    return None


def _is_norm(key: Key, kind: Kind) -> bool:
    return len(kind.grows) == 1 and bool(re.search(r"norm|ln_f|ln\b|layer_norm", key[0], re.IGNORECASE))


def _is_table(key: Key, kind: Kind) -> bool:
    return len(kind.grows) == 2 and kind.reads is None and kind.grows[1] and "position" not in key[0]
