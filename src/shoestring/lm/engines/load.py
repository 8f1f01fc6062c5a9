"""A model folder becomes an engine: the choice between torch and llama.cpp."""

from __future__ import annotations

import importlib.util
import os

from shoestring import hub
from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine

PRECISIONS = ("auto", "fp32", "bf16", "int8", "int4")
BACKENDS = ("auto", "torch", "llama.cpp")


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    threads: int = 0,
) -> Engine:
    """Loads a model.

    Args:
        path: a folder made by `shoestring lm convert`, one of a Hugging Face decoder, or a .gguf file.
        backend: one of `BACKENDS`; auto takes llama.cpp for a folder with model.gguf, and for a .gguf file where it is
            installed and no precision is asked for.
        precision: one of `PRECISIONS`; auto keeps a quantized folder's, takes bf16 on a GPU and fp32 on the CPU, where
            fp32 that does not fit is refused: fewer bits cost quality and are asked for by name.
        device: cpu, cuda, cuda:1, mps; by default the CPU unless there is a GPU.
        threads: of llama.cpp; 0 is every core.

    Raises:
        InputError: not a model folder, damaged, or its vocabulary does not fit.
        OptionError: what was asked for does not go together.
        ExtraMissing: llama-cpp-python is not installed.
    """
    from shoestring.lm.weights import gguf_file
    from shoestring.lm.weights.opening import gguf_alone

    if precision not in PRECISIONS:
        raise OptionError(f"--precision {precision}: unknown; choose one of {', '.join(PRECISIONS)}")
    if backend not in BACKENDS:
        raise OptionError(f"--backend {backend}: unknown; choose one of {', '.join(BACKENDS)}")
    where = hub.located(path)
    alone, ours = gguf_alone(where), where / gguf_file.FILE
    gguf = ours if ours.is_file() else alone
    if backend == "llama.cpp" and gguf is None:
        raise OptionError(
            f"{path}: has no {gguf_file.FILE}; make one with: shoestring lm convert {path} OUT --to gguf-q8_0"
        )
    if backend == "llama.cpp" and precision != "auto":
        raise OptionError(
            f"--precision {precision}: llama.cpp runs a GGUF file as it is; pass --backend torch"
        )
    if gguf is not None and backend != "torch" and not (alone and (precision != "auto" or not _has_llama())):
        if precision != "auto":
            raise OptionError(f"--precision {precision}: a GGUF file has its own; convert to another one")
        from shoestring.lm.engines.llama import LlamaEngine

        return LlamaEngine(gguf, threads)
    from shoestring.lm.engines.torch import TorchEngine

    return TorchEngine(alone or where, precision, device)


def _has_llama() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None
