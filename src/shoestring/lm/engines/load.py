"""A model folder becomes an engine: the choice between torch and llama.cpp."""

from __future__ import annotations

import os
from pathlib import Path

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
    """Loads a model folder.

    Args:
        path: a folder made by `shoestring lm convert`, or of a Hugging Face decoder.
        backend: one of `BACKENDS`; auto takes llama.cpp for a folder with model.gguf.
        precision: one of `PRECISIONS`; auto keeps a quantized folder's, takes bf16 on a GPU, and on the CPU
            fp32 for up to 300 million weights and int8 above.
        device: cpu, cuda, cuda:1, mps; by default the CPU unless there is a GPU.
        threads: of llama.cpp; 0 is every core.

    Raises:
        InputError: not a model folder, damaged, or its vocabulary does not fit.
        OptionError: what was asked for does not go together.
        ExtraMissing: llama-cpp-python is not installed.
    """
    from shoestring.lm.weights import gguf_file

    if precision not in PRECISIONS:
        raise OptionError(f"--precision {precision}: unknown; choose one of {', '.join(PRECISIONS)}")
    if backend not in BACKENDS:
        raise OptionError(f"--backend {backend}: unknown; choose one of {', '.join(BACKENDS)}")
    gguf = (Path(path) / gguf_file.FILE).is_file()
    if backend == "llama.cpp" and not gguf:
        raise OptionError(
            f"{path}: has no {gguf_file.FILE}; make one with: shoestring lm convert {path} OUT --to gguf-q8_0"
        )
    if gguf and backend != "torch":
        if precision != "auto":
            raise OptionError(f"--precision {precision}: a GGUF file has its own; convert to another one")
        from shoestring.lm.engines.llama import LlamaEngine

        return LlamaEngine(Path(path), threads)
    from shoestring.lm.engines.torch import TorchEngine

    return TorchEngine(hub.require_model_folder(path), precision, device)
