"""Two sentences of one paragraph, or of two? The real encoder as it is, fine-tuned as bi- and as cross-encoder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shoestring import files, plot
from shoestring.tour import models
from shoestring.tour.stage import Outcome, Settings

if TYPE_CHECKING:
    from shoestring.match.data.pairs import Pairs

PAIRS = (480, 200, 400)  # to train, to choose the threshold, to report on
LENGTHS = range(8, 41)  # characters of a sentence
FREEZE = 8  # lower layers, computed once for each text


def match(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Measures the encoder untrained, then each kind trained on the same pairs."""
    import numpy as np

    from shoestring.match import Matcher, Training, train

    base = models.encoder(settings.folder / "e5")
    learned, dev, test = pairs(before["text"].facts["files"], settings.seed)
    truth, rows, scores, spans = test.binary(), [], {}, {}
    for name, mode, epochs in (("bi, untrained", "bi", 0), ("bi", "bi", 1), ("cross", "cross", 1)):
        run = Training(
            mode=mode, epochs=epochs, batch_size=32, learning_rate=2e-4, max_length=48, seed=settings.seed,
            freeze=FREEZE if epochs else 0, device="cpu",
        )  # fmt: skip
        done = train(
            base, learned, dev, settings.folder / "match" / name, run, overwrite=True, ui=settings.ui
        )
        matcher, decision = Matcher(done.folder, "cpu"), done.decision
        found = np.asarray(matcher.scores(list(test)))
        right = float((decision.verdicts(found) == truth).mean())
        low, high = decision.threshold_interval
        rows.append(
            (
                name,
                f"{right:.1%}",
                f"{decision.threshold:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{done.seconds:.0f} s",
            )
        )
        scores[name], spans[name] = (found.tolist(), truth.tolist(), decision.threshold), right
    figure = settings.folder / "scores.png"
    plot.score_distributions(scores, figure, title="Two sentences of one paragraph, or of two")
    gap = 100 * (spans["cross"] - spans["bi"])
    return Outcome(
        f"right: {rows[0][1]} untrained, {rows[1][1]} as bi-encoder, {rows[2][1]} as cross-encoder, which is "
        f"{abs(gap):.1f} points {'ahead' if gap >= 0 else 'behind'} with so few pairs",
        {"accuracy": spans},
        figures=[("Scores of the test pairs; each threshold was chosen on others", figure)],
        tables=[(
            f"{PAIRS[2]} test pairs, {PAIRS[0]} to learn from",
            ("encoder", "right", "threshold", "its 95 % interval", "trained"), rows,
        )],
        command="shoestring match train --base MODEL --data PAIRS.tsv -o matcher",
    )  # fmt: skip


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
