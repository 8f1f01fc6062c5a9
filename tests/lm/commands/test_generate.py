"""Settings that the command would not heed are refused before a model is looked for."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--beams", "0"], "'--beams': 0 is not in the range"),
        (["--logprobs", "2"], "--logprobs: not without --json; leave it out"),
        (["--length-penalty", "1"], "--length-penalty: not without --beams; leave it out"),
        (["--beams", "2", "--samples", "2"], "--samples: not with --beams; leave it out"),
    ],
)
def test_what_would_change_nothing_is_refused(given, says):
    command = [sys.executable, "-m", "shoestring", "lm", "generate", "no-model", "x", *given]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert says in done.stderr
