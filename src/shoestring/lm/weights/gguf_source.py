"""A GGUF file as weights under their Hugging Face names, with the configuration and the tokenizer that it carries.

Any type that the package `gguf` can unpack: f32, f16, bf16, q4_0 to q8_0, k-quants, i-quants. Weights come as float32.
Models that `gguf_families` does not name are refused, as is what the file says and Hugging Face's model would not do.
"""

from __future__ import annotations

import os
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch

from shoestring import hub
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.lm.weights.gguf_families import config_from, placed_back
from shoestring.lm.weights.gguf_header import read_header
from shoestring.lm.weights.gguf_tokenizer import ends_of_gguf, tokenizer_of_gguf
from shoestring.lm.weights.safetensors_file import Shape


class GgufSource:
    """See `sources.Source`.

    Args:
        path: a .gguf file.

    Raises:
        InputError: damaged, one of several parts, or a kind of model that is not known here.
        ExtraMissing: the package gguf is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = Path(path)
        self._gguf: Any = require("gguf", "gguf")
        self.values, self._tensors = read_header(self.folder)
        parts = self.values.get("split.count", 0)
        if parts > 1:
            raise InputError(f"{path}: one of {parts} parts; join them with llama-gguf-split --merge")
        self._require_whole()
        sizes = {name: tensor.sizes for name, tensor in self._tensors.items()}
        self.config = config_from(self.values, sizes, path) | hub.stamp()
        self._placed = {each.name: each for each in placed_back(self.config, sizes, path)}
        self.shapes = {name: Shape(torch.float32, each.sizes) for name, each in self._placed.items()}

    def read(self, name: str) -> torch.Tensor:
        """Returns one weight in float32."""
        np, placed = self._gguf.quants.np, self._placed[name]
        tensor = self._tensors[placed.theirs]
        kind = self._gguf.GGMLQuantizationType(tensor.type)
        block, size = self._gguf.GGML_QUANT_SIZES[kind]
        rows, row = prod(tensor.sizes[:-1]), tensor.sizes[-1] // block * size
        with self.folder.open("rb") as file:
            file.seek(tensor.offset)
            stored = np.frombuffer(file.read(rows * row), np.uint8).reshape(rows, row)
        numbers = {kind.F32: np.float32, kind.F16: np.float16}.get(kind)
        values = self._gguf.quants.dequantize(stored.view(numbers) if numbers else stored, kind)
        return placed.change(torch.from_numpy(values.astype(np.float32)).view(tensor.sizes))

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that the file carries."""
        return tokenizer_of_gguf(self.values, self.folder)

    @property
    def ends(self) -> list[int]:
        """Ids that end a text."""
        return ends_of_gguf(self.values)

    def _require_whole(self) -> None:
        size, types = self.folder.stat().st_size, {each.value for each in self._gguf.GGMLQuantizationType}
        for name, tensor in self._tensors.items():
            if tensor.type not in types:
                raise InputError(
                    f"{self.folder}: {name} is of type {tensor.type}, which this release of gguf lacks"
                )
            block, bytes_ = self._gguf.GGML_QUANT_SIZES[self._gguf.GGMLQuantizationType(tensor.type)]
            if tensor.offset + prod(tensor.sizes) // block * bytes_ > size:
                raise InputError(f"{self.folder}: damaged, it ends within {name}; copy it again")
