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
    from shoestring.match.compare import HERE, compare
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
    curves, (size,) = found.curves, found.curves.sizes
    sides = {mode: curves.of(mode, size)[0] for mode in ("bi", "cross")}
    plot.score_distributions(
        {
            f"{mode}-encoder": (side.scores[HERE].tolist(), truth.tolist(), side.threshold)
            for mode, side in sides.items()
        },
        figure, title="Two sentences of one paragraph, or of two",
    )  # fmt: skip
    gap, least, most = ahead = curves.ahead(size, HERE)
    accuracy = {mode: curves.accuracy(mode, size, HERE)[0] for mode in sides}
    rows = [
        (mode, f"{curves.spearman(side)[HERE]:.3f}", f"{accuracy[mode]:.1%}", round(found.speeds[mode]))
        for mode, side in sides.items()
    ]
    return Outcome(
        f"same paragraph or not: bi-encoder {accuracy['bi']:.1%} right at the threshold {sides['bi'].threshold:.3f} "
        f"({low:.3f} to {high:.3f}), cross-encoder {gap:+.1%} ({least:+.1%} to {most:+.1%})",
        {"accuracy": accuracy, "ahead": {"accuracy": ahead}, "threshold": [low, high]},
        figures=[("Scores of the test pairs; the threshold was chosen on others", figure)],
        tables=[
            (
                f"{len(truth)} test pairs",
                ("encoder", "Spearman", "accuracy", "texts or pairs per CPU second"),
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
