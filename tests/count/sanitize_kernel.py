"""Builds the native kernel with AddressSanitizer and UndefinedBehaviorSanitizer and runs its tests and the fuzzer.

`make sanitize`, or `python tests/count/sanitize_kernel.py [SECONDS]`; needs gcc or clang on Linux.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNEL = ROOT / "src" / "shoestring" / "count" / "kernel"
FLAGS = (
    "-std=c11 -g -O1 -fno-omit-frame-pointer -ffp-contract=off -fPIC -shared -Wall -Wextra -Werror "
    "-fsanitize=address,undefined -fno-sanitize-recover=all"
)


def main(seconds: str) -> int:
    """Builds into a copy of the package and runs; returns the exit code of the first failure."""
    compiler = os.environ.get("CC", "gcc")
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "shoestring"
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "transformer", "tour", "relay", "train")
        shutil.copytree(ROOT / "src" / "shoestring", package, ignore=ignored)
        target = package / "count" / "_kernel.so"
        sources = sorted(map(str, KERNEL.glob("*.c")))
        include = f"-I{sysconfig.get_paths()['include']}"
        subprocess.run([compiler, *FLAGS.split(), include, *sources, "-o", str(target), "-lm"], check=True)
        library = subprocess.run(
            [compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        ).stdout.strip()
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join([name, str(HERE)]), "LD_PRELOAD": library,
            "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc", "SHOESTRING_CACHE": str(Path(name) / "cache"),
        }  # fmt: skip
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "(kernel or tallies or user_words or block) and not memory",
        ]
        for command in (
            [sys.executable, str(HERE / "fuzz_kernel.py"), seconds, "1"],
            [
                *tests,
                *(
                    str(next(HERE.rglob(f"test_{name}.py")))
                    for name in ("cut", "laws", "long_block", "packed", "whole_words", "word_runs")
                ),
            ],
        ):
            if code := subprocess.run(command, env=environment, cwd=name, check=False).returncode:
                return code
    print("no undefined behaviour, no bad memory access")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "60"))
