"""Worker processes that die, hang or raise: the same counts, or one line that names what they worked on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from count_corpus import needs_signals, path_with
from shoestring._errors import OptionError
from shoestring.count import parallel_map
from shoestring.count.counting.parallel import ItemFailed, WorkerDied


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
