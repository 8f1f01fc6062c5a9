"""Packs what the machine with the GPU lacks into a folder.

    python -m benchmarks.gpu.carry [DIR] [--mnist M] [--encoder E] [--pairs P]

Wheels come from the index that pip is set up for; the encoder is written in fp16, at half its size. Says how many MB
travel, since a call takes 64 MiB with the repository: what is larger goes in two calls (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

MOST = 58  # MiB, beside a repository of 4 to 5
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    """Fills the folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.carry", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".gpu"))
    parser.add_argument("--mnist", type=Path, help="Folder of MNIST's four idx files.")
    parser.add_argument("--encoder", type=Path, help="Folder of a Hugging Face encoder.")
    parser.add_argument("--pairs", type=Path, help="Folder with LCQMC/ and PAWSX/.")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    wheels = Path(__file__).with_name("wheels.txt")
    platforms = [word for each in PLATFORMS for word in ("--platform", each)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", "3.12",
         "--implementation", "cp", *platforms, "-d", str(options.folder / "wheels"), "-r", str(wheels)],
        check=True,
    )  # fmt: skip
    if options.mnist:
        shutil.copytree(options.mnist, options.folder / "mnist", dirs_exist_ok=True)
    if options.encoder:
        halved(options.encoder, options.folder / "encoder")
    for name in ("LCQMC", "PAWSX") if options.pairs else ():
        shutil.copy(options.pairs / name / f"{name}.valid.data", options.folder)
    size = sum(each.stat().st_size for each in options.folder.rglob("*") if each.is_file()) / 2**20
    print(f"{options.folder}: {size:.1f} MiB travel")
    if size > MOST:
        sys.exit(f"more than {MOST} MiB, which one call takes: send it in two, as docs/gpu.md says")


def halved(source: Path, target: Path) -> None:
    """Copies a model with its weights in fp16."""
    import torch
    from safetensors.torch import load_file, save_file

    target.mkdir(exist_ok=True)
    for each in source.iterdir():
        if each.suffix == ".safetensors":
            weights = {
                name: w.half() if w.dtype == torch.float32 else w for name, w in load_file(each).items()
            }
            save_file(weights, target / each.name, metadata={"format": "pt"})
        elif each.is_file():
            shutil.copy(each, target)


if __name__ == "__main__":
    main()
