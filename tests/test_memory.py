"""Freed memory: a process that keeps it faults no more pages in; one that gives it back shrinks."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from shoestring.train.memory import giving_back, keep_freed

def step():
    return len([torch.ones(1 << 21) for _ in range(8)])  # 8 MB each, freed together

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

torch.set_num_threads(1)
keep_freed()
for _ in range(4):  # until the heap's pieces have found their places
    step()
before = faults()
step()
print(faults() - before)
"""
SHRINKS = """
import re, torch
from pathlib import Path
from shoestring.train.memory import giving_back

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

stays = []
with giving_back():
    before = resident()
    for _ in range(20):  # 20 MB that go, between 2 MB that stay
        temporary = torch.ones(5 << 20)
        stays.append(torch.ones(1 << 19))
        del temporary
print(resident() - before)
"""


def _run(program: str) -> int:
    if not sys.platform.startswith("linux"):
        pytest.skip("asks Linux for pages and memory")
    return int(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    )


def test_kept_memory_is_not_faulted_in_again():
    assert _run(PROGRAM) <= 100  # of the 16,384 pages that eight tensors have


def test_given_back_memory_is_gone():
    assert _run(SHRINKS) < 60e6  # 42 MB stay
