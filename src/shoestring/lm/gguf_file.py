"""GPT-2 weights as a GGUF file for llama.cpp, written one tensor at a time.

- f16 and q8_0 are written by the `gguf` package; q4_k_m is made from f16 by llama.cpp itself.
- The file has no vocabulary, since llama.cpp has no jieba: token ids go in and come out.

Names: llama.cpp's architecture "gpt2". Linear weights are (outputs, inputs) there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.lm.sources import Source

TYPES = ("gguf-f16", "gguf-q8_0", "gguf-q4_k_m")
FILE = "model.gguf"
_TOP = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_BLOCK = 32  # weights that share a scale in q8_0


def write(folder: Path, weights: Source, to: str, progress: Callable[[int], Any]) -> int:
    """Writes model.gguf into a folder and returns its size in bytes.

    Args:
        folder: exists.
        weights: of a GPT-2.
        to: one of `TYPES`.
        progress: told the bytes read.

    Raises:
        OptionError: not a GPT-2, or a width that q8_0 cannot take.
        ExtraMissing: the extra gguf is not installed.
    """
    if weights.config["model_type"] != "gpt2":
        raise OptionError(
            f"--to {to}: written for gpt2, this is {weights.config['model_type']}; llama.cpp's own "
            "convert_hf_to_gguf.py has the other kinds"
        )
    target = folder / FILE
    if to != "gguf-q4_k_m":
        _write(target, weights, to.removeprefix("gguf-"), progress)
        return target.stat().st_size
    halfway = folder / "f16.gguf"
    _write(halfway, weights, "f16", progress)
    _quantize(halfway, target)
    halfway.unlink()
    return target.stat().st_size


def tensors(weights: Source) -> Iterator[tuple[str, str, bool]]:
    """Yields (our name, GGUF name, whether it is to be transposed)."""
    for name in weights.shapes:
        *path, part = name.removeprefix("transformer.").split(".")
        if path[0] in _TOP:
            yield name, f"{_TOP[path[0]]}.{part}", False
        elif path[0] == "h" and (theirs := _LAYER.get(".".join(path[2:]))):
            yield name, f"blk.{path[1]}.{theirs}.{part}", theirs[-4:] != "norm" and part == "weight"
        elif not name.endswith((".attn.bias", ".attn.masked_bias", "lm_head.weight")):
            raise InputError(f"{weights.folder}: {name} is not a weight of GPT-2")


def _write(target: Path, weights: Source, kind: str, progress: Callable[[int], Any]) -> None:
    gguf: Any = require("gguf", "gguf")
    writer = gguf.GGUFWriter(target, "gpt2")
    _describe(writer, weights.config)
    quantized = gguf.GGMLQuantizationType.Q8_0 if kind == "q8_0" else gguf.GGMLQuantizationType.F16
    plan = list(tensors(weights))
    for name, theirs, transposed in plan:
        sizes = weights.shapes[name].sizes
        sizes = tuple(reversed(sizes)) if transposed else sizes
        _announce(gguf, writer, theirs, sizes, quantized if _is_matrix(theirs) else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, theirs, transposed in plan:
        tensor = weights.read(name)
        progress(weights.shapes[name].bytes)
        values = (tensor.t() if transposed else tensor).contiguous().float().numpy()
        if _is_matrix(theirs):
            values = gguf.quants.quantize(values, quantized)
        writer.write_tensor_data(values)
    writer.close()


def _describe(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")


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
