"""The tour's look into the encoder: how many dimensions its attention has."""

from __future__ import annotations

from shoestring import files
from shoestring.tour.stage import Outcome, Settings

LENGTHS = (8, 16, 32, 64, 128)


def rank(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Measures the effective rank of every head of the encoder on the tour's text."""
    from shoestring.transformer.rank.report import draw, measured

    folder = before["encoder"].facts["folder"]
    ranks = measured(folder, files.documents(before["text"].facts["files"]), LENGTHS)
    figure = settings.folder / "rank.png"
    draw(ranks, figure, "the encoder")
    longest = [each for each in ranks if each.length == max(LENGTHS)]
    rows = [
        (each.layer, each.head, round(each.logits or 0, 1), round(each.weights or 0, 1)) for each in longest
    ]
    mean = sum(row[2] for row in rows) / len(rows)
    key_size = longest[0].key_size
    return Outcome(
        f"the logits of {max(LENGTHS)} tokens have an effective rank of {mean:.1f} on average; "
        f"the key size allows {key_size}",
        {"heads": [vars(each) for each in ranks]},
        figures=[("Effective rank of attention: what the key size leaves of the length", figure)],
        tables=[(f"Effective ranks at {max(LENGTHS)} tokens", ("layer", "head", "logits", "weights"), rows)],
    )
