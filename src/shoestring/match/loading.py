"""How a folder becomes a SentenceTransformer or a CrossEncoder, and in which precision it computes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shoestring import hub
from shoestring._errors import InputError
from shoestring._extras import require

PRECISIONS = ("fp32", "bf16", "auto")


def load_model(folder: str | Path, device: str = "auto") -> Any:
    """Loads a SentenceTransformer or a CrossEncoder, whichever the folder is.

    Raises:
        InputError: it cannot be loaded.
    """
    folder = require_known(folder)
    transformer: Any = require("match", "sentence_transformers", "torch")
    family = transformer.CrossEncoder if is_cross(folder) else transformer.SentenceTransformer
    with hushed():
        try:
            model = family(str(folder), device=None if device == "auto" else device)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.float()


def halve(module: Any) -> None:
    """Lets a module of sentence-transformers compute in bf16 and give fp32."""

    def widened(_: Any, __: Any, found: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value.float()
            if hasattr(value, "is_floating_point") and value.is_floating_point()
            else value
            for name, value in found.items()
        }

    module.bfloat16().register_forward_hook(widened)


def takes_bf16(precision: str, device: Any) -> bool:
    """Tells whether a torch device shall multiply in bf16; `auto` asks whether it does so faster than in fp32."""
    import torch

    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return any(able.get(name) for name in ("amx_bf16", "avx512_bf16"))


@contextmanager
def hushed() -> Iterator[None]:
    """Keeps the remarks of transformers and sentence-transformers off the screen."""
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with hub.silenced():
            yield
    finally:
        logger.setLevel(level)


def require_known(model: str | Path) -> Path:
    """Returns the folder of a model, refuses what is none, and makes our own family known.

    Args:
        model: a folder, or `hf:OWNER/NAME`.

    Raises:
        InputError: it is not.
    """
    folder = hub.located(model)
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        raise InputError(f"{model}: not a model folder, config.json is missing")
    if (folder / "config.json").is_file() and '"shoestring' in (folder / "config.json").read_text("utf-8"):
        from shoestring.transformer.model.heads import register

        register()
    return folder


def is_cross(folder: Path) -> bool:
    """Tells whether a folder holds a cross-encoder."""
    for name in ("config_sentence_transformers.json", "config.json"):
        if (folder / name).is_file():
            config = json.loads((folder / name).read_text("utf-8"))
            if "model_type" in config and name.startswith("config_s"):
                return config["model_type"] == "CrossEncoder"
            if any(each.endswith("ForSequenceClassification") for each in config.get("architectures") or ()):
                return True
    return False
