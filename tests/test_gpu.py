"""What will run on a GPU is rehearsed on the CPU: every part, small, with Triton interpreted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.mark.slow
def test_every_part_rehearses(tmp_path):
    done = rehearse(tmp_path, "--minutes", "30")
    for part in ("heads", "lm", "nvae", "match", "grow"):
        assert f"{part}: whole" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) < 60
