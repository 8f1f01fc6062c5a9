"""The tour's language model stage: the tour's own decoder judges reviews from a few examples.

Honest figures: the decoder is tiny and trained for minutes, so it may well be no better than always giving the
more frequent answer, which stands beside each figure. The judged reviews are not among the shots; the decoder may
have met their text in training, never a label.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

from shoestring import files
from shoestring.tour.stage import Outcome, Settings

LABELS = {"很好": "good-reviews", "很差": "bad-reviews"}
SHOTS, ASKED = 2, 60  # of each label
_LENGTHS = range(
    10, 30
)  # characters, so that shots and review fit into the length the decoder was trained on
_WAYS = {  # name -> (score, calibrated)
    "likelihood of the label": ("likelihood", False),
    "the same, calibrated": ("likelihood", True),
    "likelihood of the review after the label": ("channel", False),
}


def few_shot(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Judges held-out reviews after a few shots, by choosing among the labels."""
    from shoestring.lm.engines.load import load
    from shoestring.lm.fewshot.choosing import FewShot
    from shoestring.lm.fewshot.evaluate import accuracy, predictions
    from shoestring.lm.fewshot.template import Template

    engine = load(before["decoder"].facts["folder"], precision="fp32", device="cpu")
    shots, asked = _reviews(Path(before["text"].facts["files"][0]).parent, settings.seed)
    template = Template("review", "{input}总之{output}", channel="{output}：{input}")
    rows, facts = [], {}
    for title, (score, calibrate) in _WAYS.items():
        task = FewShot(engine, template, shots, sorted(LABELS), score, calibrate)
        found = list(settings.ui.track(predictions(task, asked), "judging reviews", len(asked)))
        facts[title] = accuracy(found)
        given = Counter(each.answer for each in found)
        rows.append((title, *(f"{facts[title][key]:.0%}" for key in ("accuracy", "majority")), _tally(given)))
    main = facts["the same, calibrated"]
    return Outcome(
        f"{len(asked)} reviews judged after {len(shots)} examples: {main['accuracy']:.0%} right, "
        f"always the same answer: {main['majority']:.0%}",
        {"shots": len(shots), "asked": len(asked), "scores": facts},
        tables=[
            ("Few-shot judgement of reviews", ("score", "right", "always the same answer", "answers"), rows)
        ],
    )


def _reviews(folder: Path, seed: int) -> tuple[list[tuple[str, str]], list[tuple[str, str | None]]]:
    """Returns shots from the beginning of the files and questions from their end, labels alternating."""
    draw = random.Random(seed)
    shots: list[tuple[str, str]] = []
    asked: list[tuple[str, str | None]] = []
    for label, name in LABELS.items():
        fitting = [text for text in files.documents([folder / f"{name}.txt"]) if len(text) in _LENGTHS]
        middle = len(fitting) // 2
        shots += [(text, label) for text in islice(fitting, SHOTS)]
        asked += [(text, label) for text in draw.sample(fitting[middle:], ASKED)]
    draw.shuffle(shots)
    draw.shuffle(asked)
    return shots, asked


def _tally(given: Counter[str]) -> str:
    return ", ".join(f"{answer} {count}" for answer, count in given.most_common())
