"""Every command ends in one line and the right exit code, whatever is done to it: a sample of `make misuse`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_sample_of_all_misuse():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "misuse.py", "--fast"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
