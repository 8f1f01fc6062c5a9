"""Weights as a GGUF file for llama.cpp, written one tensor at a time.

- f16 and q8_0 are written by the `gguf` package; q4_k_m is made from f16 by llama.cpp itself.
- The file has no vocabulary, since llama.cpp has no jieba: token ids go in and come out.

Which models and how their weights are called: `gguf_families`. Linear weights are (outputs, inputs).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.lm.weights.gguf_families import architecture, describe, placed
from shoestring.lm.weights.sources import Source

TYPES = ("gguf-f16", "gguf-q8_0", "gguf-q4_k_m")
FILE = "model.gguf"
_BLOCK = 32  # weights that share a scale in q8_0


def write(folder: Path, weights: Source, to: str, progress: Callable[[int], Any]) -> int:
    """Writes model.gguf into a folder and returns its size in bytes.

    Args:
        folder: exists.
        weights: of a model of `gguf_families.ARCHITECTURES`.
        to: one of `TYPES`.
        progress: told the bytes read.

    Raises:
        OptionError: another kind of model, or a width that q8_0 cannot take.
        ExtraMissing: the extra gguf is not installed.
    """
    kind = architecture(weights.config, to)
    target = folder / FILE
    if to != "gguf-q4_k_m":
        _write(target, kind, weights, to.removeprefix("gguf-"), progress)
        return target.stat().st_size
    halfway = folder / "f16.gguf"
    _write(halfway, kind, weights, "f16", progress)
    _quantize(halfway, target)
    halfway.unlink()
    return target.stat().st_size


def _write(target: Path, kind: str, weights: Source, type_: str, progress: Callable[[int], Any]) -> None:
    gguf: Any = require("gguf", "gguf")
    writer = gguf.GGUFWriter(target, kind)
    describe(writer, weights.config)
    quantized = gguf.GGMLQuantizationType.Q8_0 if type_ == "q8_0" else gguf.GGMLQuantizationType.F16
    plan = list(placed(weights))
    for each in plan:
        _announce(gguf, writer, each.theirs, each.sizes, quantized if _is_matrix(each.theirs) else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for each in plan:
        values = each.change(weights.read(each.name)).contiguous().float().numpy()
        progress(weights.shapes[each.name].bytes)
        if _is_matrix(each.theirs):
            values = gguf.quants.quantize(values, quantized)
        writer.write_tensor_data(values)
    writer.close()


def _announce(gguf: Any, writer: Any, name: str, sizes: tuple[int, ...], kind: Any) -> None:
    count = torch.Size(sizes).numel()
    if kind is None:
        writer.add_tensor_info(name, sizes, gguf.quants.np.dtype("float32"), count * 4)
        return
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if sizes[-1] % block:
        raise OptionError(f"--to gguf-q8_0: {name} has {sizes[-1]} inputs, which {_BLOCK} does not divide")
    if block == 1:
        writer.add_tensor_info(name, sizes, gguf.quants.np.dtype("float16"), count * 2)
        return
    rows = (*sizes[:-1], sizes[-1] // block * size)
    writer.add_tensor_info(name, rows, gguf.quants.np.dtype("uint8"), count // block * size, kind)


def _is_matrix(name: str) -> bool:
    return name.endswith(".weight") and "norm" not in name and not name.startswith("position")


def _quantize(source: Path, target: Path) -> None:
    llama: Any = require("gguf", "llama_cpp")
    settings = llama.llama_model_quantize_default_params()
    settings.ftype = llama.LLAMA_FTYPE_MOSTLY_Q4_K_M
    settings.nthread = torch.get_num_threads()
    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, None)
    if llama.llama_model_quantize(str(source).encode(), str(target).encode(), settings) != 0:
        raise OptionError("--to gguf-q4_k_m: llama.cpp refused; the hidden size must be a multiple of 256")
