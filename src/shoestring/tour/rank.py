"""The tour's look into the encoder: how many dimensions its attention has."""

from __future__ import annotations

from shoestring import files
from shoestring.tour import models
from shoestring.tour.stage import Outcome, Settings

LENGTHS = (16, 64, 128)


def rank(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Measures the effective rank of every head of the real encoder on the tour's text."""
    from shoestring.transformer.rank.report import draw, measured

    folder = str(models.encoder(settings.folder / "e5"))
    ranks = measured(folder, files.documents(before["text"].facts["files"]), LENGTHS)
    figure = settings.folder / "rank.png"
    draw(ranks, figure, "multilingual-e5-small")
    longest = [each for each in ranks if each.length == max(LENGTHS)]
    mean = sum(each.logits or 0 for each in longest) / len(longest)
    key_size = longest[0].key_size
    return Outcome(
        f"the logits of {max(LENGTHS)} tokens have an effective rank of {mean:.1f} on average; "
        f"the key size allows {key_size}",
        {"heads": [vars(each) for each in ranks]},
        figures=[("Effective rank of attention: what the key size leaves of the length", figure)],
        command="shoestring rank YOUR-MODEL",
    )
