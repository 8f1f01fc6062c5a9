"""Finds out what a checkpoint is and reads its tensors: safetensors, `.bin` (weights only), TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.transformer.checkpoints import tensorflow
from shoestring.transformer.checkpoints.huggingface import ADAPTERS, Adapter, State, supported

ENDINGS = {  # of the class that a checkpoint was saved from -> head
    "ForMaskedLM": "masked-lm", "ForPreTraining": "masked-lm", "ForCausalLM": "causal-lm", "LMHeadModel": "causal-lm",
    "ForSequenceClassification": "sequence-classification", "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A checkpoint as it was found.

    Args:
        folder: where its tokenizer may be.
        kind: such as `bert`.
        head: what it was saved as; the name of its class where that has a head of which we know nothing.
        adapter: how it becomes one of ours.
        config: theirs.
        tensors: theirs, by Hugging Face's names.
    """

    folder: Path
    kind: str
    head: str
    adapter: Adapter
    config: Any
    tensors: Mapping[str, Tensor] = field(repr=False)


def find(path: str | Path, kind: str | None = None) -> Source:
    """Opens a checkpoint.

    Args:
        path: a Hugging Face folder, or a TensorFlow checkpoint: its folder or its path without `.index`.
        kind: of a TensorFlow checkpoint that does not tell.

    Raises:
        InputError: it is none, damaged, or of an architecture that is not converted.
        OptionError: a kind that does not fit.
    """
    path = Path(path)
    if (prefix := tensorflow.found_in(path)) is not None:
        return _tensorflow(prefix, kind)
    folder = hub.require_model_folder(path)
    if kind is not None:
        raise OptionError(f"--kind {kind}: is for TensorFlow checkpoints; {path} says itself what it is")
    described = json.loads((folder / "config.json").read_text("utf-8"))
    kind = str(described["model_type"])
    if kind not in ADAPTERS:
        known = ", ".join(supported())
        extra = (
            "is of our family already"
            if kind == "shoestring"
            else f"cannot be converted; those that can: {known}"
        )
        raise InputError(f"{path}: a {kind} {extra}")
    return Source(folder, kind, _head_of(described), ADAPTERS[kind], config_of(folder), _tensors(folder))


def config_of(folder: Path) -> Any:
    """Returns the config of a Hugging Face folder, of a kind that is converted.

    A `head_dim` of its own makes it no matter whether the heads divide hidden_size, as in 1792 / 24 heads of 128;
    transformers' config classes refuse that all the same, so the size is put in behind their check.

    Raises:
        InputError: transformers refuses the config for another reason.
    """
    described = json.loads((folder / "config.json").read_text("utf-8"))
    sizes = [described.get(name) for name in ("hidden_size", "num_attention_heads", "head_dim")]
    hidden, heads, width = (size if isinstance(size, int) else 0 for size in sizes)
    try:
        if not (width and heads and hidden % heads):
            with hub.silenced():
                return AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = str(described.pop("model_type"))
        config = AutoConfig.for_model(kind, **{**described, "hidden_size": heads * width})
    except Exception as error:  # huggingface_hub's checks have errors of their own
        why = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{folder}: transformers does not take its config.json: {why}") from error
    config.hidden_size = hidden
    return config


def _tensorflow(prefix: Path, kind: str | None) -> Source:
    bundle, config = tensorflow.opened(prefix), tensorflow.config_of(prefix)
    kind = tensorflow.kind_of(config, bundle, kind)
    head = "masked-lm" if "cls/predictions/output_bias" in bundle else "none"
    return Source(prefix.parent, kind, head, tensorflow.KINDS[kind], config, tensorflow.tensors_of(bundle))


def _head_of(described: Mapping[str, Any]) -> str:
    for architecture in described.get("architectures") or ():
        for ending, head in ENDINGS.items():
            if architecture.endswith(ending):
                return head
        if re.search(r"For[A-Z]|Heads?Model$", architecture):
            return architecture
    return "none"


def _tensors(folder: Path) -> State:
    """Reads all tensors of a Hugging Face folder."""
    tensors: State = {}
    for path in _files(folder):
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors |= load_file(path)
        else:
            try:
                tensors |= torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises whatever its unpickler does
                raise InputError(
                    f"{path}: cannot be read as weights alone ({type(error).__name__})"
                ) from error
    return tensors


def _files(folder: Path) -> list[Path]:
    for stem in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{stem}.index.json"
        if (folder / stem).is_file():
            return [folder / stem]
        if index.is_file():
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
            if missing := [name for name in names if not (folder / name).is_file()]:
                raise InputError(f"{folder}: {missing[0]} is missing; {index.name} says that it has weights")
            return [folder / name for name in names]
    raise InputError(f"{folder}: has no weights")
