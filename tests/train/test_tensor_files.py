"""Tensors reach the disk or an OSError tells why, and no other place of the package writes safetensors by itself."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shoestring.train.tensor_files import save_tensors

SOURCE = Path(__file__).parents[2] / "src" / "shoestring"


def test_what_is_saved_is_loaded(tmp_path):
    tensors = {"a": torch.randn(3, 4).T, "b": torch.arange(5)}
    save_tensors(tensors, tmp_path / "x.safetensors")
    again = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(again[name], value) for name, value in tensors.items())


def test_what_the_system_refuses_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="No such file") as caught:
        save_tensors({"a": torch.zeros(3)}, tmp_path / "none" / "x.safetensors")
    assert caught.value.errno == errno.ENOENT
    command = (
        "import torch; from pathlib import Path; from shoestring.train.tensor_files import save_tensors;"
        f"save_tensors({{'a': torch.zeros(10**6)}}, Path({str(tmp_path / 'x.safetensors')!r}))"
    )
    full = subprocess.run(
        ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", sys.executable, "-c", command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"OSError: [Errno {errno.EFBIG}] File too large" in full.stderr


def test_there_is_one_place():
    writing = re.compile(r"safetensors(\.torch)? import .*\bsave_file\b|\bsafetensors\.\w+\.save_file\(")
    found = [path.name for path in SOURCE.rglob("*.py") if writing.search(path.read_text("utf-8"))]
    assert found == ["tensor_files.py"]
