"""A path becomes weights: a GGUF file, a Hugging Face folder, or the folder of CPM's shards."""

from __future__ import annotations

import os
from pathlib import Path

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.gguf_source import GgufSource
from shoestring.lm.weights.sources import FolderSource, MegatronSource


def gguf_alone(path: Path) -> Path | None:
    """Returns a GGUF file that is a model by itself: the path, or the only one in a folder without config.json.

    Raises:
        OptionError: there are several.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    found = list(path.glob("*.gguf")) if path.is_dir() and not (path / "config.json").exists() else []
    if len(found) > 1:
        names = ", ".join(sorted(each.name for each in found)[:3])
        raise OptionError(f"{path}: has {len(found)} GGUF files, such as {names}; name one of them")
    return found[0] if found else None


def open_source(
    path: str | os.PathLike[str], heads: int | None = None
) -> MegatronSource | FolderSource | GgufSource:
    """Returns the weights at a path, whichever they are."""
    folder = hub.located(path)
    if gguf := gguf_alone(folder):
        return GgufSource(gguf)
    if not folder.is_dir():
        raise InputError(
            f"{path}: is a file; give a .gguf file, or the folder of mp_rank_00_model_states.pt or config.json"
        )
    if (folder / "config.json").exists():
        return FolderSource(folder)
    return MegatronSource(folder, heads)
