"""What each tensor of an unknown architecture does, found by making tiny models of it.

1. A tiny model and one with all sizes times k are made and saved: a dimension that is k times as large is one that
   grows. Saved names and shapes count, so whatever transformers converts or ties on the way is covered.
2. The kind of module says which side reads: the columns of Linear, the rows of GPT-2's Conv1D, none of an Embedding.
3. What cannot be seen so is tried: how a fused projection is divided, and a factor on the last norm or on the
   embeddings for tied heads and for constants that depend on sizes. Only a trial whose outputs equal the tiny
   model's in fp64 is accepted.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from shoestring.grow.stored.checkpoint import Checkpoint, opened
from shoestring.grow.stored.models import outputs, random_model, trial_ids
from shoestring.hub import silenced

HIDDEN = ("hidden_size",)
HEADS = ("num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "decoder_attention_heads")
FFN = (
    "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "encoder_ffn_dim",
    "decoder_ffn_dim", "ffn_dim", "d_ff", "n_inner",
)  # fmt: skip
AS_HIDDEN = ("embedding_size", "word_embed_proj_dim")  # follow hidden where they equal it
LAYERS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")
ACCEPTED = 1e-10  # of the largest output, in fp64
TRIALS = 96


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
        kinds: signature -> what such tensors do.
        error: of the accepted trial, as a fraction of the largest output.
        fixes: what had to be tried besides tiling, for the report.
    """

    kinds: dict[str, Kind]
    error: float
    fixes: list[str] = field(default_factory=list)


def signature(name: str) -> str:
    """Returns a name without the numbers of blocks and experts.

    >>> signature("model.layers.3.mlp.up_proj.weight")
    'model.layers.*.mlp.up_proj.weight'
    """
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def sizes_of(config: Any) -> dict[str, int]:
    """Returns the widths that fused projections are made of: q, kv, ffn and hidden."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    ffn = next((getattr(config, name) for name in FFN if isinstance(getattr(config, name, None), int)), 0)
    return {
        "q": heads * width,
        "kv": groups * width,
        "ffn": ffn or 4 * config.hidden_size,
        "hidden": config.hidden_size,
    }


def scaled(config: Any, times: int) -> dict[str, int]:
    """Returns the keys of a config that grow, with their new numbers."""
    names = {**getattr(config, "attribute_map", {})}
    keys = {names.get(name, name) for name in (*HIDDEN, *HEADS, *FFN)}
    found = {key: getattr(config, key, None) for key in keys}
    found |= {
        key: getattr(config, key, None) for key in AS_HIDDEN if getattr(config, key, 0) == config.hidden_size
    }
    return {
        key: value * times
        for key, value in found.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }


def tiny_settings(config: Any) -> dict[str, Any]:
    """Returns the settings of a tiny model of the same kind: every size that may be small is."""
    names = getattr(config, "attribute_map", {})
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    width = min(16, getattr(config, "head_dim", None) or config.hidden_size // heads)
    few = min(4, heads)
    wanted: dict[str, Any] = {
        "hidden_size": few * 16 if not getattr(config, "head_dim", None) else 64,
        "num_attention_heads": few, "num_key_value_heads": max(1, few * groups // heads), "vocab_size": 97,
        "encoder_attention_heads": few, "decoder_attention_heads": few, "max_position_embeddings": 64,
    }  # fmt: skip
    wanted |= dict.fromkeys(FFN, 80) | dict.fromkeys(LAYERS, 2)
    if getattr(config, "head_dim", None):
        wanted["head_dim"] = width
    changed = {}
    for name, value in wanted.items():
        key = names.get(name, name)
        if isinstance(old := getattr(config, key, None), int) and old > value:
            changed[key] = value
    for key in AS_HIDDEN:
        if (
            getattr(config, key, 0) == config.hidden_size
            and names.get("hidden_size", "hidden_size") in changed
        ):
            changed[key] = changed[names.get("hidden_size", "hidden_size")]
    for key in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "mask_token_id"):
        if isinstance(getattr(config, key, None), int) and getattr(config, key) >= 97:
            changed[key] = 0
    return changed


class Probe:
    """A tiny model and its k-fold, saved, with every candidate for what their tensors do.

    Args:
        config: the config.json of the model to grow.
        times: the factor.
        folder: scratch space.
        seed: of the tiny model's weights.
    """

    def __init__(self, config: Mapping[str, Any], times: int, folder: Path, seed: int = 0) -> None:
        self.times, self.folder = times, folder
        self.config = {**config, **tiny_settings(auto_config(config))}
        self.target = {**self.config, **scaled(auto_config(self.config), times)}
        self.model = random_model(self.config, seed)
        with silenced():
            self.model.save_pretrained(folder / "tiny")
            random_model(self.target, seed).save_pretrained(folder / "target")
        self.small: Checkpoint = opened(folder / "tiny")
        self.shapes = {name: stored.shape for name, stored in opened(folder / "target").tensors.items()}
        self.sizes = sizes_of(auto_config(self.config))
        self.ids = trial_ids(auto_config(self.config).vocab_size, seed)
        self.shape_errors: list[float] = []
        self.truth = outputs(folder / "tiny", self.config, "float64", self.ids)

    def base_kinds(self) -> dict[str, Kind] | str:
        """Returns what shapes and modules say, or why they say nothing."""
        if set(self.shapes) != set(self.small.tensors):
            odd = sorted(set(self.shapes) ^ set(self.small.tensors))
            return f"its tensors change with its sizes ({odd[0]})"
        kinds = {}
        modules = dict(self.model.named_modules())
        tables = {id(each.weight) for each in modules.values() if isinstance(each, nn.Embedding)}
        for name, stored in self.small.tensors.items():
            ratios = [new / old for old, new in zip(stored.shape, self.shapes[name], strict=True)]
            if any(ratio not in (1, self.times) for ratio in ratios):
                return f"{signature(name)} goes from {stored.shape} to {self.shapes[name]}"
            module = modules.get(name.rpartition(".")[0])
            table = isinstance(module, nn.Embedding) or id(getattr(module, "weight", None)) in tables
            reads = None if table or len(stored.shape) < 2 else len(stored.shape) - 1
            if type(module).__name__ == "Conv1D" and len(stored.shape) == 2:
                reads = 0
            kinds[signature(name)] = Kind(tuple(ratio != 1 for ratio in ratios), reads)
        return kinds

    def fused(self, kinds: Mapping[str, Kind]) -> dict[str, list[tuple[str, ...]]]:
        """Returns the projections that may be fused, with what they may consist of."""
        found = {}
        shapes = {signature(name): stored.shape for name, stored in self.small.tensors.items()}
        for name, kind in kinds.items():
            if kind.reads is None or len(kind.grows) < 2:
                continue
            out = len(kind.grows) - 2 if kind.reads == len(kind.grows) - 1 else len(kind.grows) - 1
            if not kind.grows[out]:
                continue
            choices = [
                parts
                for parts in self._partitions()
                if sum(self.sizes[p] for p in parts) == shapes[name][out]
            ]
            if choices and not any(shapes[name][out] == self.sizes[p] for p in ("ffn", "hidden", "q", "kv")):
                found[name] = [("all",), *choices]
        return found

    def _partitions(self) -> list[tuple[str, ...]]:
        return [("q", "kv", "kv"), ("ffn", "ffn"), ("hidden",) * 3, ("hidden",) * 2, ("q",) * 4, ("kv", "kv")]

    def fixes(self, kinds: Mapping[str, Kind]) -> Iterator[tuple[dict[str, Kind], str]]:
        """Yields the kinds with a factor on the last norm, on the embeddings, or on both."""
        k = float(self.times)
        norms = [name for name, kind in kinds.items() if _is_norm(name, kind) and name.endswith("weight")]
        outer = [(name, False) for name in norms if "*" not in name]
        inner = [(name, True) for name in norms if "*" in name and "decoder" in name and "final" in name]
        tables = [name for name, kind in kinds.items() if _is_table(name, kind)]
        norm_factors = (1 / k, k**-0.5, k**0.5, 1.0)
        for embed, (name, last), factor, shift in itertools.product(
            (1.0, k**-0.5), [*outer, *inner], norm_factors, (0.0, 1.0)
        ):
            if (factor, shift) == (1.0, 1.0) or (factor, embed) == (1.0, 1.0):
                continue
            changed = dict(kinds)
            for each in (name, name.replace("weight", "bias")):
                if each in kinds and factor != 1:
                    shifted = shift if each == name else 0.0
                    changed[each] = _changed(kinds[each], factor, shifted, last)
            for table in tables if embed != 1 else ():
                changed[table] = _changed(kinds[table], embed, 0.0, False)
            words = [f"{name} x {factor:.4g}"] + [f"embeddings x {embed:.4g}"] * (embed != 1)
            yield changed, ", ".join(words) + " (gain is 1 + weight)" * (shift != 0)

    def candidates(self, kinds: dict[str, Kind]) -> Iterator[tuple[dict[str, Kind], list[str]]]:
        """Yields what may be the truth, the likeliest first."""
        fused = self.fused(kinds)
        divided: list[tuple[dict[str, Kind], list[str]]] = []
        for choice in itertools.product(*fused.values()):
            changed, words = dict(kinds), []
            for name, parts in zip(fused, choice, strict=True):
                for each in (name, name.replace("weight", "bias")):
                    if each in kinds:
                        kind = kinds[each]
                        changed[each] = Kind(kind.grows, kind.reads, parts)
                words += [f"{name} is {' + '.join(parts)}"] if parts != ("all",) else []
            divided.append((changed, words))
            yield changed, words
        order = sorted(range(len(divided)), key=lambda index: self.shape_errors[index])
        for changed, words in (divided[index] for index in order):
            for fixed, what in self.fixes(changed):
                yield fixed, [*words, what]

    def error(self, folder: Path) -> float:
        """Returns how far a grown tiny model is from the tiny one, as a fraction of the largest output.

        What is left when outputs may be multiplied by any number is kept: it tells a wrong division from a factor.
        """
        (folder / "config.json").write_text(json.dumps(self.target), "utf-8")
        got = outputs(folder, self.target, "float64", self.ids)[..., : self.truth.shape[-1]]
        multiple = (got * self.truth).sum() / (got * got).sum()
        self.shape_errors.append(float((got * multiple - self.truth).abs().max() / self.truth.abs().max()))
        return float((got - self.truth).abs().max() / self.truth.abs().max())


def auto_config(config: Mapping[str, Any]) -> Any:
    """Returns transformers' config object."""
    from transformers import AutoConfig

    settings = {key: value for key, value in config.items() if key != "model_type"}
    return AutoConfig.for_model(config["model_type"], **settings)


def _changed(kind: Kind, factor: float, shift: float, last: bool) -> Kind:
    return Kind(kind.grows, kind.reads, kind.parts, factor, shift, last)


def _is_norm(name: str, kind: Kind) -> bool:
    return len(kind.grows) == 1 and bool(re.search(r"norm|ln_f|ln\b", name, re.IGNORECASE))


def _is_table(name: str, kind: Kind) -> bool:
    return len(kind.grows) == 2 and kind.reads is None and kind.grows[1] and "position" not in name
