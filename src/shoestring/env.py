"""`shoestring env`: what this machine has, for a bug report."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata

from shoestring import __version__, ui

PACKAGES = (
    "torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "pyarrow", "jieba", "rjieba",
    "sentence-transformers", "peft", "matplotlib", "dask", "faiss-cpu",
)  # fmt: skip


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
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


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
