"""The one place where tensors become a safetensors file: on disk when it returns, or an `OSError` like any other.

safetensors has errors of its own for a full disk, and leaves it to the system when bytes reach the disk.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors; they are brought to the CPU and made contiguous.

    Raises:
        OSError: no space, no permission, ...
    """
    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(ready, path, metadata)
    except SafetensorError as error:
        text = (str(error).splitlines() or ["safetensors failed"])[0]
        number = re.search(r"os error (\d+)", text)
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else text, str(path)) from error
    with open(path, "rb") as file:
        os.fsync(file.fileno())
