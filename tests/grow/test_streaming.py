"""The writer: the same bytes however the work is cut, interrupted or sharded; what needs no growth is copied."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from shoestring._errors import OutputError
from shoestring.grow import writing
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.checkpoint import opened

from .models import make

ALL = {"hidden": "1.5x", "layers": "+1", "vocab": "+3"}


def digest(folder):
    """What is stored, by name; where it is stored does not count."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                tensor = file.get_tensor(name)
                found[name] = (
                    tuple(tensor.shape),
                    str(tensor.dtype),
                    tensor.view(torch.uint8).numpy().tobytes(),
                )
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_neither_chunks_nor_threads_nor_shards_change_a_byte(family, tmp_path, plan_of, monkeypatch):
    planned = plan_of(make(tmp_path / "small", family, torch.bfloat16), **ALL)
    writing.write(planned, tmp_path / "a", threads=1)
    monkeypatch.setattr(writing, "CHUNK", 300)
    writing.write(planned, tmp_path / "b", threads=4)
    writing.write(planned, tmp_path / "c", threads=2, shard=5_000)
    assert len(list((tmp_path / "c").glob("*.safetensors"))) > 2
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == digest(tmp_path / "c")


def test_shards_in_are_shards_like_one_file_in(tmp_path, enlarge):
    source = make(tmp_path / "one", "llama")
    model = AutoModelForCausalLM.from_pretrained(source)
    model.save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert opened(tmp_path / "many").sharded
    assert digest(enlarge(source, "a", hidden="2x")) == digest(enlarge(tmp_path / "many", "b", hidden="2x"))


def test_the_seed_decides(tmp_path, enlarge):
    source = make(tmp_path / "small", "llama")
    one, same, other = (
        enlarge(source, name, hidden="2x", seed=seed) for name, seed in zip("abc", (1, 1, 2), strict=True)
    )
    assert digest(one) == digest(same) != digest(other)


def test_a_growth_of_nothing_copies_bytes(tmp_path, enlarge):
    source = make(tmp_path / "small", "llama", torch.bfloat16)
    assert digest(enlarge(source, ffn="1x")) == digest(source)


def test_a_killed_growth_goes_on_and_gives_the_same_bytes(tmp_path, plan_of):
    planned = plan_of(make(tmp_path / "small", "llama"), **ALL)
    writing.write(planned, tmp_path / "whole")
    calls, first = [], writing._Files.chunk

    class Killed(BaseException):
        pass

    def dying(self, *arguments, **settings):
        calls.append(arguments)
        if len(calls) > 12:
            raise Killed
        return first(self, *arguments, **settings)

    writing._Files.chunk = dying
    try:
        with pytest.raises(Killed):
            writing.write(planned, tmp_path / "again", threads=1)
    finally:
        writing._Files.chunk = first
    written = writing.write(planned, tmp_path / "again")
    assert 0 < written.resumed < len(planned.growths)
    assert digest(tmp_path / "again") == digest(tmp_path / "whole")
    writing.finish(tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["model.safetensors"]


def test_a_draft_of_another_growth_is_not_gone_on_with(tmp_path, plan_of):
    source = make(tmp_path / "small", "llama")
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / writing.STATE).write_text(json.dumps({"growth": "other", "boot": writing._boot()}))
    (tmp_path / "draft" / writing.JOURNAL).write_text("model.norm.weight\n")
    assert writing.write(plan_of(source, hidden="2x"), tmp_path / "draft").resumed == 0


def test_a_process_that_is_killed_leaves_what_the_next_one_needs(tmp_path):
    """SIGKILL, as the kernel does when memory is short."""
    source = make(tmp_path / "small", "llama", hidden_size=128, intermediate_size=1024, num_hidden_layers=8)
    whole = grow(source, tmp_path / "whole", Request(hidden="4x", ffn="6x"), verify="algebra")
    command = [sys.executable, "-m", "shoestring", "grow", str(source), str(tmp_path / "grown"), "-q"]
    command += ["--hidden", "4x", "--ffn", "6x", "--verify", "algebra"]
    process = subprocess.Popen(command)
    journal = tmp_path / ".grown.growing" / writing.JOURNAL
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 200):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
    process.wait()
    assert subprocess.run(command, check=False).returncode == 0 or (tmp_path / "grown").exists()
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "grown"))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    assert whole.plan.bytes < len(one)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    source = make(tmp_path / "small", "llama")
    monkeypatch.setattr(writing, "MARGIN", 10**18)
    with pytest.raises(OutputError, match=r"GB are needed and .* GB are free; make room"):
        grow(source, tmp_path / "big", Request(hidden="2x"))
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_every_tensor_is_projected_back(tmp_path, plan_of):
    planned = plan_of(make(tmp_path / "small", "gemma2"), **ALL)
    written = writing.write(planned, tmp_path / "draft")
    assert written.checked == len(planned.growths)
    assert 0 < written.distance < writing.ROUNDINGS


def test_a_wrong_byte_is_noticed(tmp_path, plan_of, monkeypatch):
    from shoestring._errors import InputError
    from shoestring.grow.tensors import rows as tensors

    planned = plan_of(make(tmp_path / "small", "llama"), hidden="2x")
    right = tensors.divided

    def wrong(*arguments):
        parts = right(*arguments)
        parts[0] = parts[0] * 1.001
        return parts

    monkeypatch.setattr(tensors, "divided", wrong)
    with pytest.raises(InputError, match="is not given back by what it grew into"):
        writing.write(planned, tmp_path / "draft")
