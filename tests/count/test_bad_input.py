"""Broken data, full disks, killed processes: one clear line or the exact counts, never a hang, never half a file."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from count_corpus import counted, rows, sentences
from shoestring import files
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.count import FrequencyTable, Job, count_words, parallel_map
from shoestring.count.counting.parallel import ItemFailed, WorkerDied
from shoestring.count.counting.pipeline import Count

HAS_KERNEL = find_spec("shoestring.count._kernel") is not None
TEXT = "我来到北京清华大学。\r\n他来到了网易杭研大厦\n小明硕士毕业于中国科学院计算所"
LINES = TEXT.replace("\r\n", "\n").split("\n")


def reading(**settings) -> files.Reading:
    return files.Reading(**{"errors": "strict", "max_document_bytes": None, **settings})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("engine", ["auto", "jieba"])
def test_encodings_and_bom(encoding, engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode(encoding))
    assert list(count_words(path, engine=engine).items()) == rows(counted(LINES))


@pytest.mark.parametrize("engine", ["auto", "jieba"])
def test_broken_bytes_are_refused_replaced_or_skipped(engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("好的\n中\n".encode() * 40 + b"\xe4\xb8\n" + "北京\n".encode())
    with pytest.raises(InputError, match=r"a\.txt: line 81, byte 440: e4 b8"):
        count_words(path, engine=engine, reading=reading(encoding="utf-8"))
    replaced = count_words(path, engine=engine, reading=reading(encoding="utf-8", errors="replace"))
    assert replaced.report.broken_bytes == 2
    assert replaced["\ufffd"] >= 1
    skipped = count_words(path, engine=engine, reading=reading(encoding="utf-8", errors="skip"))
    assert skipped.report.skipped == 1
    assert list(skipped.items()) == rows(counted(["好的", "中"] * 40 + ["北京"]))


def test_damaged_gzip_is_refused_or_salvaged(tmp_path):
    whole = gzip.compress(("\n".join(sentences(300)) + "\n").encode())
    cases = {"cut": whole[: len(whole) // 2], "crc": whole[:-8] + b"\0" * 8}
    for name, data in cases.items():
        path = tmp_path / f"{name}.txt.gz"
        path.write_bytes(data)
        with pytest.raises(InputError, match=name):
            count_words(path)
        kept = count_words(path, reading=reading(salvage=True))
        assert list(kept.items()) == rows(counted(sentences(300)[: kept.report.documents]))
        assert kept.report.truncated == 1
    both = tmp_path / "two.txt.gz"
    both.write_bytes(whole * 2)
    assert list(count_words(both).items()) == rows(counted(sentences(300) * 2))


def test_nul_line_ends_within_lines_and_lone_surrogates(tmp_path):
    lines = ["中\0国\x85人民\u2028银行\x0b好\rx", "\0\0", "a\r"]
    path = tmp_path / "a.txt"
    path.write_bytes("\n".join(lines).encode())
    assert list(count_words(path).items()) == rows(counted(lines))
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "中国\\ud800人民"}\n{"text": "a\\nb"}\n')
    found = count_words(path)
    assert list(found.items()) == rows(counted(["中国\ufffd人民", "a\nb"]))
    assert found.report.surrogates == 1


def test_a_long_line(tmp_path):
    line = "，".join(sentences(1500)) * 4
    path = tmp_path / "a.txt"
    path.write_text(line + "\n好\n", encoding="utf-8")
    found = count_words(path, part_bytes=1000, workers=2)
    assert found["酒店"] == counted([line])["酒店"]
    assert found.total == counted([line]).total() + 1


@pytest.mark.slow
def test_a_line_of_200_megabytes(tmp_path):
    path = tmp_path / "a.txt"
    block = ("，".join(sentences(1000)) + "。").encode()
    with open(path, "wb") as file:
        for _ in range(200_000_000 // len(block)):
            file.write(block)
    assert count_words(path)["酒店"] == counted([block.decode()])["酒店"] * (200_000_000 // len(block))


def test_empty_files_and_nothing_at_all(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(InputError, match="no document"):
        count_words(tmp_path / "empty.txt")
    (tmp_path / "lines.txt").write_bytes(b"\n\r\n\n")
    with pytest.raises(InputError, match="no document"):
        count_words([tmp_path / "empty.txt", tmp_path / "lines.txt"])
    (tmp_path / "one.txt").write_text("好", encoding="utf-8")
    assert count_words(tmp_path).top() == [("好", 1)]


def test_many_tiny_files(tmp_path):
    for index in range(3000):
        (tmp_path / f"{index}.txt").write_text(f"文件{index % 7}\n", encoding="utf-8")
    found = count_words(tmp_path, workers=2)
    assert (found["文件"], found.report.files, found.report.documents) == (3000, 3000, 3000)


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path):
    for index in range(100_000):
        (tmp_path / f"{index}.txt").write_text("好", encoding="utf-8")
    assert count_words(tmp_path).top() == [("好", 100_000)]


def test_unreadable_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("好")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(InputError, match=r"a\.txt: cannot be read"):
        count_words(path)


def test_settings_out_of_range_say_what_is_allowed():
    for settings in (
        {"tokenizer": "mecab"}, {"engine": "x"}, {"ngrams": (3, 2)}, {"tokenizer": "ngram", "ngrams": (1, 5)},
        {"shard": (3, 2)}, {"shard": (1, 2), "top": 5}, {"workers": -1}, {"memory": 10}, {"min_count": 0},
    ):  # fmt: skip
        with pytest.raises(OptionError):
            Job(**settings)


# ---- processes that die ----


def kill_once(item):
    """Dies the first time it meets 3; the marker file says that it has."""
    number, marker = item
    if number == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def kill_always(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number):
    if number == 3:
        raise ValueError("three")
    return number


def slow_first(number):
    time.sleep(0.3 if number == 0 else 0)
    return number


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


@needs_signals
def test_a_worker_killed_once_changes_nothing(tmp_path):
    items = [(number, str(tmp_path / "marker")) for number in range(10)]
    assert list(parallel_map(kill_once, items, workers=2)) == [number * number for number in range(10)]


@needs_signals
def test_a_worker_killed_always_is_named():
    with pytest.raises(WorkerDied, match=r"item 3: the process that worked on it died twice"):
        list(parallel_map(kill_always, range(10), workers=2, name=lambda number: f"item {number}"))


def test_an_exception_names_the_item_and_results_before_it_arrive():
    results = parallel_map(fail, range(10), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ItemFailed, match="3: ValueError: three"):
        next(results)


def test_results_keep_their_order():
    assert list(parallel_map(slow_first, range(20), workers=2)) == list(range(20))


@needs_signals
def test_no_process_outlives_its_parent(tmp_path):
    code = (
        "from shoestring.count import parallel_map; import time, os\n"
        "if __name__ == '__main__': list(parallel_map(time.sleep, [60, 60], 2))\n"
    )
    (tmp_path / "parent.py").write_text(code)
    psutil = pytest.importorskip("psutil")
    environment = {**os.environ, "PYTHONPATH": path_with("")}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment)
    family = []
    for _ in range(200):
        time.sleep(0.1)
        family = psutil.Process(parent.pid).children(recursive=True)
        if len(family) >= 2:
            break
    time.sleep(1)
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert (len(gone) >= 2, alive) == (True, [])


def test_a_lambda_is_refused_in_one_line():
    with pytest.raises(OptionError, match="top of a module"):
        list(parallel_map(lambda item: item, [1]))


DEADLY = """
import os, signal
from pathlib import Path
def cut(text):
    if "雷" in text and not Path(os.environ["MARKER"]).exists():
        Path(os.environ["MARKER"]).touch() if os.environ["ONCE"] else None
        os.kill(os.getpid(), signal.SIGKILL)
    return text.split()
"""


@needs_signals
@pytest.mark.parametrize("once", ["1", ""])
def test_a_batch_whose_worker_dies(once, tmp_path, shoestring):
    (tmp_path / "deadly.py").write_text(DEADLY)
    corpus = tmp_path / "corpus.txt"
    with open(corpus, "wb") as file:
        for index in range(3 << 20 >> 4):
            file.write((f"a b{index % 7} c\n" if index != 70_000 else "雷 d\n").encode().rjust(16))
    environment = {
        **os.environ,
        "MARKER": str(tmp_path / "marker"),
        "ONCE": once,
        "PYTHONPATH": path_with(tmp_path),
    }
    done = shoestring(
        "count", corpus, "-o", "out.tsv", "--tokenizer", "deadly:cut", "--workers", 2, env=environment
    )
    if once:
        assert done.returncode == 0, done.stderr
        assert "雷\t1\n" in (tmp_path / "out.tsv").read_text("utf-8")
    else:
        assert done.returncode == 1
        assert (
            "corpus.txt, bytes 1,048,576 to 2,097,152: the process that worked on it died twice"
            in done.stderr
        )
        assert not (tmp_path / "out.tsv").exists()


def path_with(folder) -> str:
    return os.pathsep.join([str(folder), *(each for each in sys.path if each)])


# ---- kill -9 and --resume, Ctrl-C, full disks ----


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


def test_broken_tables_are_named(tmp_path):
    for content, message in (("a\t1\nb\n", "line 2"), ("a\tx\n", "line 1"), ("a\t1\t2\t3\n", "line 1")):
        (tmp_path / "a.tsv").write_text(content)
        with pytest.raises(InputError, match=message):
            FrequencyTable.read(tmp_path / "a.tsv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match="parquet"):
        FrequencyTable.read(tmp_path / "a.parquet")


def test_command_line_counts_shows_and_reports(tmp_path, shoestring):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8", newline="")
    done = shoestring("count", "a.txt", "-o", "out.tsv", "--json")
    values = json.loads(done.stdout)
    wanted = counted(LINES)
    assert (values["documents"], values["tokens"], values["distinct"]) == (3, wanted.total(), len(wanted))
    assert (tmp_path / "out.tsv").read_text("utf-8") == "".join(
        f"{word}\t{count}\n" for word, count in rows(wanted)
    )
    shown = shoestring("count", "a.txt", "--top", 2, "--json")
    assert json.loads(shown.stdout)["top"] == [{"word": w, "count": c} for w, c in rows(wanted)[:2]]
    piped = shoestring("count", "-", "-o", "piped.tsv", input=TEXT)
    assert piped.returncode == 0, piped.stderr
    assert (tmp_path / "piped.tsv").read_bytes() == (tmp_path / "out.tsv").read_bytes()


def test_shards_and_merge_on_the_command_line(tmp_path, shoestring):
    (tmp_path / "a.txt").write_text("\n".join(sentences(200)), encoding="utf-8")
    for index in (1, 2):
        assert shoestring("count", "a.txt", "--shard", f"{index}/2", "-o", f"{index}.parquet").returncode == 0
    done = shoestring("count", "merge", "1.parquet", "2.parquet", "-o", "both.tsv")
    assert done.returncode == 0, done.stderr
    assert FrequencyTable.read(tmp_path / "both.tsv") == FrequencyTable(counted(sentences(200)))
    assert Counter(dict(FrequencyTable.read(tmp_path / "both.tsv").items())) == counted(sentences(200))
