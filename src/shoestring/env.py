"""`shoestring env`: what this machine has, for a bug report."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sys
from importlib import metadata
from importlib.util import find_spec
from urllib.parse import urlparse

from shoestring import __version__, ui
from shoestring._extras import packages, pip_line

PACKAGES = (
    "torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "pyarrow", "jieba", "rjieba",
    "sentence-transformers", "peft", "matplotlib", "dask", "faiss-cpu",
)  # fmt: skip


EXTRAS = ("count", "transformer", "lm", "gguf", "grow", "nvae", "match", "faiss", "qdrant", "dask", "tour")


@ui.command("env")
def env(ui: ui.UI) -> None:
    """Versions, devices, cores and memory, for a bug report."""
    ui.result(describe())


def describe() -> dict[str, object]:
    """Returns versions and hardware; packages that are not installed are left out."""
    return {
        "shoestring": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": f"{_memory() / 2**30:.1f} GiB",
        "free disk": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB here",
        "device": _device(),
        "kernel of count": "there"
        if find_spec("shoestring.count._kernel")
        else "absent; counting is slower without it",
        "C compiler": shutil.which(os.environ.get("CC", "cc")) or "none, so that no kernel can be built",
        "hub": _hub(),
        **{f"extra {name}": _extra(name) for name in EXTRAS},
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


def _extra(name: str) -> str:
    lacks = [each for each in map(_bare, packages(name)) if _version(each) is None]
    return f"lacks {', '.join(lacks)}; type: {pip_line(name)}" if lacks else "there"


def _bare(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _hub() -> str:
    """Tells whether models can be fetched by `hf:OWNER/NAME`; nothing is sent but the opening of a connection."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return "off (HF_HUB_OFFLINE)"
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname or ""
    try:
        with socket.create_connection((host, 443), timeout=3):
            return f"{host} answers"
    except OSError as error:
        return f"{host} cannot be reached ({error.strerror or error}); give folders instead of hf: names"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0


def _device() -> str:
    if _version("torch") is None:
        return "cpu (torch is not installed)"
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return "mps" if torch.backends.mps.is_available() else f"cpu, {torch.get_num_threads()} threads"
