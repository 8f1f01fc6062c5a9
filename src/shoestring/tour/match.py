"""The tour's matching: are two sentences from the same paragraph? The tour's own encoder, fine-tuned both ways."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shoestring import files, plot
from shoestring.tour.stage import Outcome, Settings

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs

PAIRS = (2400, 400, 800)  # to train, to choose the threshold, to report on
LENGTHS = range(8, 41)  # characters of a sentence


def match(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Trains a bi-encoder and a cross-encoder on pairs from the newspaper and compares them."""
    from shoestring.match.compare import compare
    from shoestring.match.deciding.decision import read_decision
    from shoestring.match.training.settings import Training

    parts = pairs(before["text"].facts["files"], settings.seed)
    folder = settings.folder / "match"
    run = Training(
        epochs=2, batch_size=32, learning_rate=5e-4, max_length=48, seed=settings.seed, device="cpu"
    )
    train, dev, test = parts
    base = before["encoder"].facts["folder"]
    found = compare(base, train, dev, test, folder, run, overwrite=True, ui=settings.ui)
    decision = read_decision(folder / "bi")
    low, high = decision.threshold_interval if decision else (0.0, 0.0)
    truth = test.binary()
    figure = folder / "scores.png"
    sides = (found.bi, found.cross)
    plot.score_distributions(
        {f"{side.mode}-encoder": (side.scores.tolist(), truth.tolist(), side.threshold) for side in sides}, figure,
        title="Two sentences of one paragraph, or of two",
    )  # fmt: skip
    gap, least, most = found.ahead["accuracy"]
    rows = [
        (
            side.mode,
            f"{side.spearman:.3f}",
            f"{side.accuracy:.1%}",
            f"{side.f1:.3f}",
            round(side.pairs_per_second),
        )
        for side in sides
    ]
    return Outcome(
        f"same paragraph or not: bi-encoder {found.bi.accuracy:.1%} right at the threshold {found.bi.threshold:.3f} "
        f"({low:.3f} to {high:.3f}), cross-encoder {gap:+.1%} ({least:+.1%} to {most:+.1%})",
        {
            "accuracy": {side.mode: side.accuracy for side in sides},
            "ahead": found.ahead,
            "threshold": [low, high],
        },
        figures=[("Scores of the test pairs; the threshold was chosen on others", figure)],
        tables=[
            (
                f"{found.pairs} test pairs",
                ("encoder", "Spearman", "accuracy", "F1", "pairs per CPU second"),
                rows,
            )
        ],
    )


def pairs(sources: Sequence[str], seed: int) -> list[Pairs]:
    """Returns pairs to train on, to choose the threshold and to report on, each from paragraphs of its own."""
    import numpy as np

    from shoestring.match.data.pairs import Pairs

    newspaper = [source for source in sources if Path(source).stem == "newspaper"]
    cut = [
        [each for each in paragraph.split("。") if len(each) in LENGTHS]
        for paragraph in files.documents(newspaper)
    ]
    several = [sentences for sentences in cut if len(sentences) > 1]
    rng = random.Random(seed)
    rng.shuffle(several)
    parts, start = [], 0
    for count in PAIRS:
        here = several[start : start + count]
        start += count
        rows = []
        for at, sentences in enumerate(here):
            one, two = rng.sample(sentences, 2)
            label = rng.random() < 0.5
            rows.append((one, two if label else rng.choice(here[at - 1]), float(label)))
        first, second, labels = zip(*rows, strict=True)
        parts.append(Pairs(first, second, np.array(labels), "newspaper"))
    return parts
