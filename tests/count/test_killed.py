"""Killed at any moment, full disks, Ctrl-C: the same bytes after --resume, or no output."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from count_corpus import counted, needs_signals, path_with, rows, sentences
from shoestring._errors import OptionError, OutputError
from shoestring.count import Job
from shoestring.count.counting.pipeline import Count

RUN = """
import sys
from pathlib import Path
from shoestring.count.job import Job
from shoestring.count.counting.pipeline import Count
from shoestring.count import output
corpus, target, resume, tokenizer, ngrams, checkpoint = sys.argv[1:]
job = Job(tokenizer, ngrams=(1, int(ngrams)), workers=2, part_bytes=20_000, memory=1 << 22)
counting = Count(job, [corpus], Path(target + ".runs"), bool(resume), checkpoint=float(checkpoint))
counting.run()
output.write(target, counting.pieces())
counting.close()
print(counting.resumed)
"""


@needs_signals
@pytest.mark.parametrize(("tokenizer", "longest"), [("jieba", 1), ("ngram", 3), ("whitespace", 2)])
def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(tokenizer, longest, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences(2000) * 5), encoding="utf-8")
    target = tmp_path / "out.tsv"

    def start(resume: str) -> subprocess.Popen:
        command = [sys.executable, "-c", RUN, str(corpus), str(target), resume, tokenizer, str(longest), "0"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path_with("")}
        )

    whole = start("")
    assert whole.communicate(timeout=120)[0] == "0\n"
    expected = target.read_bytes()
    target.unlink()
    rng, resumed, started = random.Random(tokenizer), 0, time.monotonic()
    for _ in range(4):
        process = start("1")
        time.sleep(rng.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start("1")
    resumed = int(last.communicate(timeout=120)[0])
    assert target.read_bytes() == expected
    assert not (tmp_path / "out.tsv.runs").exists()
    assert resumed > 0 or time.monotonic() - started < 60


def test_a_ledger_cut_short_is_trusted_as_far_as_it_goes_and_one_of_another_job_refused(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences(500)), encoding="utf-8")
    folder, job = tmp_path / "runs", Job(part_bytes=10_000, memory=1 << 20, workers=1)
    first = Count(job, [corpus], folder)
    first.run()
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 4
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    (folder / "run-00099").write_bytes(b"a run that the ledger does not know")
    again = Count(job, [corpus], folder, resume=True)
    again.run()
    assert 0 < again.resumed < len(again.batches)
    assert [row[:2] for piece in again.pieces() for row in piece.rows()] == rows(counted(sentences(500)))
    other = Count(Job(hmm=False, part_bytes=10_000), [corpus], folder, resume=True)
    with pytest.raises(OptionError, match="begun with other options"):
        other.run()
    kept = Count(job, [corpus], folder, resume=True)
    kept.run()
    assert kept.resumed == len(kept.batches)


@needs_signals
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5, 1.0])
def test_ctrl_c_leaves_no_output_or_all_of_it(delay, tmp_path):
    corpus = tmp_path / "corpus.txt"
    lines = sentences(2000)
    corpus.write_text("\n".join(lines * 60), encoding="utf-8")
    command = [sys.executable, "-m", "shoestring", "count", str(corpus), "-o", "out.tsv", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": path_with("")}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130, 1, -signal.SIGINT)
    if process.returncode == 0 or (tmp_path / "out.tsv").exists():  # the signal may come after the last byte
        written = (tmp_path / "out.tsv").read_text("utf-8").splitlines()
        assert sum(int(row.split("\t")[1]) for row in written) == 60 * sum(counted(lines).values())
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_disk_that_fills_while_spilling(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences(500)), encoding="utf-8")
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    from shoestring.count.counting import runs

    real, calls = runs.write_run, []

    def write(path, columns):
        calls.append(path)
        if len(calls) == 3:
            with open(full, "wb", buffering=0) as file:
                file.write(b"x")
        real(path, columns)

    monkeypatch.setattr(runs, "write_run", write)
    folder, job = tmp_path / "runs", Job(part_bytes=10_000, memory=1 << 20, workers=1)
    with pytest.raises((OSError, OutputError)):
        Count(job, [corpus], folder).run()
    monkeypatch.setattr(runs, "write_run", real)
    again = Count(job, [corpus], folder, resume=True)
    again.run()
    assert again.resumed > 0
    assert [row[:2] for piece in again.pieces() for row in piece.rows()] == rows(counted(sentences(500)))


def test_output_on_another_file_system(tmp_path, shoestring):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    (tmp_path / "a.txt").write_text("北京", encoding="utf-8")
    target = memory / f"shoestring-test-{os.getpid()}.tsv"
    try:
        assert shoestring("count", "a.txt", "-o", target).returncode == 0
        assert target.read_text("utf-8") == "北京\t1\n"
    finally:
        target.unlink(missing_ok=True)


def test_output_that_cannot_be_written_is_one_line(tmp_path, shoestring):
    (tmp_path / "a.txt").write_text("好的", encoding="utf-8")
    done = shoestring("count", "a.txt", "-o", "missing/out.tsv")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = shoestring("count", "a.txt", "-o", "out.doc")
    assert done.returncode == 1
    assert ".tsv, .csv, .parquet" in done.stderr
