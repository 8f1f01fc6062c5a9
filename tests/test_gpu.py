"""What will run on a GPU is rehearsed on the CPU: every part, small, with Triton interpreted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
A100 = 166_912  # bytes of shared memory that a program may have


def rehearse(out: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.gpu", out, "--rehearse", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_rehearsed_part_writes_figures_and_checks(tmp_path):
    done = rehearse(tmp_path, "--parts", "grow", "--minutes", "10")
    assert "grow: whole, 1 of 1 checks right" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    found = json.loads((tmp_path / "grow.json").read_text())
    assert found["rehearsal"]
    assert found["figures"]["GB written"]["value"] > 0


def test_a_part_that_runs_out_of_time_is_named(tmp_path):
    done = rehearse(tmp_path, "--parts", "lm", "--minutes", "0.001")
    assert "lm: cut at its time limit" in done.stdout
    assert done.returncode == 1


COMPILED_WITHOUT_A_GPU = """
import sys
from types import SimpleNamespace
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

target = GPUTarget("cuda", 90, 32)  # an H100
driver.set_active(SimpleNamespace(
    get_current_target=lambda: target, get_current_device=lambda: 0, get_current_stream=lambda device: 0,
))
from benchmarks.gpu import ahead, heads
from shoestring.transformer.talking_heads import function

function._check_kernel = lambda query, heads: None
ahead.SPREAD = 4
ahead._part((on_cpu := lambda form: heads.attempt(form, "cpu"), heads.Form("causal", "both", 33, torch.float32), 3))
"""


def test_kernels_of_many_heads_compile_for_a_gpu_and_fit_its_memory(tmp_path):
    """A real compiler, no interpreter: 33 heads in float32 took over ten minutes, and tiles that no GPU could hold."""
    pytest.importorskip("triton")
    settings = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    settings.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_WITHOUT_A_GPU],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "compiling" not in done.stdout, done.stdout
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.rglob("_[fb]*ward.json")}
    assert set(found) == {"_forward", "_backward"}
    assert all(kernel["shared"] <= A100 for kernel in found.values()), found


@pytest.mark.slow
def test_every_part_rehearses(tmp_path):
    done = rehearse(tmp_path, "--minutes", "30")
    for part in ("heads", "lm", "nvae", "match", "grow"):
        assert f"{part}: whole" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) < 60
