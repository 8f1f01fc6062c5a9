"""Small real inputs and real models in a folder, for the README's recipes and for trying things out.

| what | from |
|---|---|
| corpus/ | 2,000 reviews of each kind and 2,000 paragraphs of the newspaper |
| pairs.tsv, test-pairs.tsv | two sentences of one paragraph (1) or of two (0), with a header |
| shots.tsv, reviews.tsv | reviews with their judgement, TAB between |
| decoder/ | SmolLM2-135M-Instruct (Apache-2.0) |
| encoder/ | multilingual-e5-small (MIT) |
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from shoestring import files
from shoestring._errors import ExtraMissing
from shoestring.files.delimited import written
from shoestring.tour import models, text
from shoestring.tour.matching import pairs
from shoestring.ui import UI

DOCUMENTS = 2000
JUDGED = {"好": "good-reviews", "差": "bad-reviews"}
SHOTS, ASKED = 2, 20  # reviews of each kind


def write(folder: Path, ui: UI) -> dict[str, str]:
    """Writes everything that this installation has, and returns what was written and what could not be.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        ui: says what it does.
    """
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    whole = text.write(folder / ".whole")
    for name, source in whole.items():
        with files.atomic(corpus / f"{name}.txt") as file:
            file.writelines(f"{document}\n" for document in islice(files.documents([source]), DOCUMENTS))
    found = {"corpus": f"{DOCUMENTS:,} documents of each of {', '.join(whole)}"}
    learned, _, test = pairs([str(each) for each in whole.values()], seed=0)
    for name, part in (("pairs.tsv", learned), ("test-pairs.tsv", test)):
        rows = zip(part.first, part.second, part.labels.astype(int), strict=True)
        _table(folder / name, [("sentence1", "sentence2", "label"), *rows])
        found[name] = f"{len(part):,} pairs of sentences"
    shots, asked = _judged(whole)
    _table(folder / "shots.tsv", shots)
    _table(folder / "reviews.tsv", asked)
    found |= {"shots.tsv": f"{len(shots)} reviews", "reviews.tsv": f"{len(asked)} others"}
    for source in whole.values():
        source.unlink()
    (folder / ".whole").rmdir()
    for name, make in (("decoder", models.decoder), ("encoder", models.encoder)):
        ui.say(f"{name} ...")
        try:
            found[name] = str(make(folder / name))
        except ExtraMissing as missing:
            found[name] = f"left out: {missing}"
    return found


def _judged(whole: dict[str, Path]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    def short() -> Iterator[list[tuple[str, str]]]:
        for label, name in JUDGED.items():
            fitting = (each for each in files.documents([whole[name]]) if 8 <= len(each) < 40)
            yield [(document, label) for document in islice(fitting, SHOTS + ASKED)]

    good, bad = short()
    mixed = [each for pair in zip(good, bad, strict=True) for each in pair]
    return mixed[: 2 * SHOTS], mixed[2 * SHOTS :]


def _table(path: Path, rows: list[tuple[object, ...]] | list[tuple[str, str]]) -> None:
    with files.atomic(path) as file:
        file.writelines(written(row) for row in rows)
