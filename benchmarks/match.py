"""Claims of `shoestring match`, measured again: `python benchmarks/match.py [--quick|--quality]` -> results/match.json.

- thresholds: accuracy + F1 + MCC by ours, accuracy + F1 by sentence-transformers, alternately, CPU seconds.
- loss: CoSENT forward and backward by ours and by sentence-transformers, alternately, on scores.
- cached: CPU seconds and peak memory of 16,384 pairs in one batch, beside batches of 64, each in its own process.
- search: exact products beside the memory bandwidth; faiss HNSW and hnswlib beside exact, on clustered vectors.
- quality (--quality, about an hour on one core; else the recorded figures stay): a real encoder on real pairs,
  from the folder of data beside the checkout. One thread, CPU seconds of the whole training.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from shoestring.match.pairs import read_pairs

RESULT = Path(__file__).parent / "results" / "match.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def quality() -> dict[str, Any]:
    """STS-B fine-tuned; bi against cross on LCQMC's validation pairs, cut in three parts without shared texts."""
    from shoestring.match.training import Training

    settings = Training(freeze=8, batch_size=32, learning_rate=5e-5, epochs=2, prompt="query: ", device="cpu")
    return {"stsb": stsb(settings), "lcqmc": lcqmc(settings)}


def stsb(settings: Any) -> dict[str, Any]:
    from shoestring.match.matcher import Matcher
    from shoestring.match.training import spearman, train
    from shoestring.ui import UI

    base, folder = DATA / "models" / "me5-small-zh", DATA / "pairs" / "STS-B"
    pairs, dev, test = (read_pairs(folder / f"STS-B.{name}.data") for name in ("train", "valid", "test"))
    with tempfile.TemporaryDirectory() as work:
        start = time.process_time()
        done = train(base, pairs, dev, Path(work, "model"), settings, ui=UI())
        minutes = (time.process_time() - start) / 60
        zero = train(base, pairs, dev, Path(work, "zero"), _untrained(settings), ui=UI())
        score = {name: spearman(Matcher(each.folder).scores(list(test)), test.labels)
                 for name, each in (("zero_shot", zero), ("tuned", done))}  # fmt: skip
    result = {**score, "cpu_minutes": minutes, "epochs": settings.epochs, "dev": dict(done.spearman)}
    print("STS-B", result, flush=True)
    return result


def lcqmc(settings: Any) -> dict[str, Any]:
    from shoestring.match.compare import compare
    from shoestring.ui import UI

    base = DATA / "models" / "me5-small-zh"
    every = read_pairs(DATA / "pairs" / "LCQMC" / "LCQMC.valid.data")
    rest, test = every.split(0.25, seed=0)
    pairs, dev = rest.split(0.15, seed=0)
    with tempfile.TemporaryDirectory() as work:
        start = time.process_time()
        found = compare(base, pairs, dev, test, work, settings, ui=UI())
        minutes = (time.process_time() - start) / 60
    sides = {
        side.mode: {name: getattr(side, name) for name in ("spearman", "accuracy", "f1", "pairs_per_second")}
        for side in (found.bi, found.cross)
    }
    result = {
        **sides,
        "cross_ahead": found.ahead,
        "pairs": [len(pairs), len(dev), len(test)],
        "cpu_minutes": minutes,
    }
    print("LCQMC", result, flush=True)
    return result


def _untrained(settings: Any) -> Any:
    from dataclasses import replace

    return replace(settings, epochs=0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="smaller sizes, nothing written")
    parser.add_argument("--quality", action="store_true", help="train on the real pairs, too")
    options = parser.parse_args()
    before = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    result = {"load": os.getloadavg()[0], "quality": before.get("quality")}
    if options.quality:
        result["quality"] = quality()
    if not options.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
