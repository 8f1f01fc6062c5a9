"""What a half-finished count may be continued with: only the very same parts, settings and words.

The law: the fingerprint changes with everything that the ledger's batches or their counts depend on, and with nothing
that they do not depend on. A change that it does not see would add up two different corpora without a word.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from count_corpus import counted, rows, sentences
from shoestring import files
from shoestring._errors import InputError, OptionError
from shoestring.count.counting.pipeline import Count
from shoestring.count.job import SAME_COUNTS, Job
from shoestring.files import Part, Reading

OTHER = {
    "tokenizer": "char", "engine": "jieba", "hmm": False, "ngrams": (1, 2), "workers": 3, "memory": 1 << 25,
    "min_count": 2, "top": 9, "df": True, "shard": (1, 2), "part_bytes": 77, "whole_words": True,
    "reading": Reading(errors="skip"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, text in (
        ("a.txt", "我来到\n北京\n" * 9),
        ("b.txt", "清华大学\n" * 9),
        ("words.txt", "来到北京\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def fingerprint(folder: Path, job: Job, names=("a.txt", "b.txt")) -> str:
    return job.fingerprint(files.parts([folder / name for name in names], job.reading, job.part_bytes))


def test_every_setting_that_changes_counts_changes_the_fingerprint_and_no_other_does(folder):
    job = Job(part_bytes=100, user_dict=str(folder / "words.txt"), stopwords=str(folder / "words.txt"))
    first = fingerprint(folder, job)
    for each in fields(Job):
        if each.name in OTHER:
            other = fingerprint(folder, replace(job, **{each.name: OTHER[each.name]}))
            assert (other == first) == (each.name in SAME_COUNTS), each.name
        else:
            assert each.name in ("user_dict", "stopwords"), f"say what another {each.name} is"
            assert fingerprint(folder, replace(job, **{each.name: str(folder / "a.txt")})) != first


def test_every_change_of_the_files_changes_the_fingerprint(folder):
    job = Job(part_bytes=30, user_dict=str(folder / "words.txt"))
    first = fingerprint(folder, job)
    assert fingerprint(folder, job) == first
    for names in (("b.txt", "a.txt"), ("a.txt",)):
        assert fingerprint(folder, job, names) != first
    parts = files.parts([folder / "a.txt", folder / "b.txt"], job.reading, job.part_bytes)
    for each in fields(Part):
        value = getattr(parts[0], each.name)
        other = value + 1 if isinstance(value, int) else not value if isinstance(value, bool) else "x"
        if each.name != "path":
            assert job.fingerprint([replace(parts[0], **{each.name: other}), *parts[1:]]) != first, each.name
    state = os.stat(folder / "a.txt")
    os.utime(folder / "a.txt", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    changed = fingerprint(folder, job)
    assert changed != first
    (folder / "words.txt").write_text("来到京北\n", encoding="utf-8")  # of the same size
    assert fingerprint(folder, job) not in (first, changed)


def test_standard_input_cannot_be_resumed(tmp_path, shoestring):
    done = shoestring("count", "-", "-o", "out.tsv", "--resume", input="我来到北京")
    assert done.returncode == 1
    assert "--resume: standard input cannot be read a second time" in done.stderr


def test_the_same_files_in_another_order_or_twice_are_refused_not_added_up(tmp_path):
    lines = sentences(900)
    paths = [tmp_path / f"{name}.txt" for name in "abc"]
    for index, path in enumerate(paths):
        path.write_text("\n".join(lines[300 * index : 300 * index + 300 - 99 * index]), encoding="utf-8")
    job = Job(part_bytes=5000, memory=1 << 20, workers=1)
    begun = Count(job, paths, tmp_path / "runs")
    begun.run()
    ledger = tmp_path / "runs" / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:4]))
    with pytest.raises(OptionError, match="begun with other options"):
        Count(job, paths[::-1], tmp_path / "runs", resume=True).run()
    with pytest.raises(InputError, match="given twice"):
        Count(job, [*paths, paths[0]], tmp_path / "runs", resume=True).run()
    again = Count(job, paths, tmp_path / "runs", resume=True)
    again.run()
    assert 0 < again.resumed < len(again.batches)
    wanted = rows(counted([line for path in paths for line in path.read_text("utf-8").split("\n")]))
    assert [row[:2] for piece in again.pieces() for row in piece.rows()] == wanted


def test_drafts_of_killed_runs_go_and_those_of_other_targets_stay(folder, shoestring):
    drafts = [folder / f".{name}.0123abcd.part" for name in ("out.tsv", "other.tsv", "out[1].tsv")]
    for draft in drafts:
        draft.write_text("left", encoding="utf-8")
    for name, left in (("out.tsv", drafts[1:]), ("out[1].tsv", drafts[1:2])):
        assert shoestring("count", "a.txt", "-o", name, "--resume").returncode == 0
        assert sorted(folder.glob(".*")) == left
