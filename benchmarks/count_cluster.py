"""`shoestring count --dask`, a worker killed: `python benchmarks/count_cluster.py [GB]` -> results/count_cluster.json.

- The text is that of benchmarks/count.py, shuffled ten times, in as many copies as make so many gigabytes; the counts
  must be so many times those of one copy, whatever happened to the workers.
- A local cluster of two workers with one thread each; one is killed by SIGKILL when about a third is done.
- Memory: the peak of each process as Linux has it (VmHWM), of the killed worker until then.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

from count import write_corpus
from shoestring.count import Job
from shoestring.count.counting.pipeline import Count

RESULTS = Path(__file__).parent / "results" / "count_cluster.json"


def peak_mb(process: int | str) -> float:
    """Peak resident memory of a process, 0 if it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def pids(cluster) -> list[int]:
    """The processes of the cluster's workers that live now."""
    return [nanny.pid for nanny in cluster.workers.values() if nanny.pid]


def watch(cluster, peaks: dict[int, float], done: Event) -> None:
    """Notes the peak of every worker twice a second."""
    while not done.wait(0.5):
        for pid in pids(cluster):
            peaks[pid] = max(peaks.get(pid, 0.0), peak_mb(pid))


def rows_of(counting: Count) -> dict[str, int]:
    """The whole table."""
    return {word: count for piece in counting.pieces() for word, count, _ in piece.rows()}


def counted(folder: Path, address: str, kill) -> tuple[dict[str, int], float, int]:
    """Counts the folder on the cluster; `kill` is called when a third is done."""
    counting, state = Count(Job(part_bytes=16 << 20), [folder], dask=address), {"bytes": 0, "killed": False}

    def progress(size: int) -> None:
        state["bytes"] += size
        if not state["killed"] and state["bytes"] * 3 > counting.bytes:
            state["killed"] = True
            kill()

    counting.progress = progress
    started = time.perf_counter()
    counting.run()
    found = rows_of(counting)
    return found, time.perf_counter() - started, counting.bytes


def main(gigabytes: float) -> None:
    """Writes the text, counts it on a cluster, compares and records."""
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory(prefix="shoestring-cluster-") as name:
        folder, one = Path(name) / "text", Path(name) / "one.txt"
        folder.mkdir()
        copies = max(1, round(gigabytes * 1e9 / write_corpus(one, 10)))
        for copy in range(copies):
            shutil.copyfile(one, folder / f"{copy:05}.txt")
        single = Count(Job(), [one])
        single.run()
        wanted = {word: count * copies for word, count in rows_of(single).items()}
        peaks: dict[int, float] = {}
        done = Event()
        with LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=name
        ) as cluster:
            watcher = Thread(target=watch, args=(cluster, peaks, done), daemon=True)
            watcher.start()
            found, seconds, size = counted(
                folder, cluster.scheduler_address, lambda: os.kill(pids(cluster)[0], signal.SIGKILL)
            )
            done.set()
            watcher.join()
    values = {
        "bytes": size, "copies": copies, "seconds": round(seconds, 1), "mb_per_second": round(size / seconds / 1e6, 1),
        "equal": found == wanted, "workers": 2, "killed": 1, "processes_met": len(peaks),
        "largest_worker_mb": round(max(peaks.values())), "client_and_scheduler_mb": round(peak_mb("self")),
        "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    print(json.dumps(values, indent=1))
    RESULTS.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
