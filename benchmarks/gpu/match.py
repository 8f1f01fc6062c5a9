"""Bi- and cross-encoder on PAWSX and LCQMC with the encoder that `carry` packed, all layers trained, three seeds.

Prediction: 6 operations a weight and token; 21 million weights of blocks, 64 or 128 tokens a pair's text, at 30 % of
the peak: an epoch of 7,000 pairs takes a second or two, and the start of a run more than that.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report

from shoestring.match import Matcher, Pairs, Training, read_pairs, train
from shoestring.ui import UI

SETS = ("LCQMC", "PAWSX")
SEEDS = 3


def run(report: Report, data: Path) -> None:
    """Trains each kind on each set and reports accuracy on the held-out pairs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, sets = (rehearsal(folder) if report.small else (data / "encoder", {
            each: read_pairs(data / f"{each}.valid.data") for each in SETS if (data / f"{each}.valid.data").is_file()
        }))  # fmt: skip
        if not Path(base).is_dir():
            report.check(
                "there is an encoder", right=False, detail=f"{base} is missing; see benchmarks/gpu/carry.py"
            )
            return
        if not sets:
            report.check("there are pairs", right=False, detail=f"{data}: none of {', '.join(SETS)}")
            return
        rows: list[list[object]] = []
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(1 if report.small else SEEDS):
            for each, pairs in sets.items():
                for mode in ("bi", "cross"):
                    if report.left < 15:
                        return
                    accuracy, seconds = one(base, pairs, mode, seed, folder / f"{each}{mode}{seed}", report)
                    rows.append([each, mode, seed, accuracy, seconds])
                    found.setdefault((each, mode), []).append(accuracy)
                    report.figure("set, kind, seed, accuracy, seconds", rows)
                    report.figure(f"{each}, {mode}: mean accuracy", mean(found[each, mode]))


def one(
    base: Path | str, pairs: Pairs, mode: str, seed: int, folder: Path, report: Report
) -> tuple[float, float]:
    """Returns the accuracy on a fifth of the pairs that shares no text with the others, and the seconds of training."""
    others, test = pairs.split(0.2, seed)
    learned, dev = others.split(0.15, seed)
    rate = 1e-4 if mode == "bi" else 5e-5
    settings = Training(
        mode=mode, epochs=1 if report.small else 4, learning_rate=rate, seed=seed, device=report.device.type
    )
    settings = replace(settings, batch_size=4 if report.small else 64)
    begun = time.monotonic()
    done = train(base, learned, dev, folder, settings, ui=UI(quiet=True))
    spent = time.monotonic() - begun
    matcher = Matcher(done.folder, report.device.type)
    verdicts = matcher.predict(list(test)).verdicts
    return float(np.mean(np.asarray(verdicts) == test.binary(done.decision.above))), spent


def rehearsal(folder: Path) -> tuple[Path, dict[str, Pairs]]:
    """Returns a tiny BERT and pairs that it could learn."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "encoder")
    draw = np.random.default_rng(0)
    texts = [[" ".join(draw.choice(list("abcdefghij"), 6)) for _ in range(2)] for _ in range(60)]
    first = [one for one, _ in texts]
    second = [other if at % 2 else one[::-1] for at, (one, other) in enumerate(texts)]
    labels = np.array([1 - at % 2 for at in range(60)], float)
    return folder / "encoder", {"letters": Pairs(first, second, labels, "letters")}


if __name__ == "__main__":
    start(run)
