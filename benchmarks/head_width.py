"""Do wider keys or talking heads pay, at equal parameters? `python benchmarks/head_width.py [--quick]`.

- The study of `head_study.py` at its full size: 5 seeds of three forms, one after the other on one thread.
- Every run is saved as it ends; interrupted, the same command goes on with the next one. From the third seed on what is
  there is compared.

-> results/head_width.json, docs/head_width.png
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from head_study import Corpus, Study, compared, draw, new_model, trained

from shoestring import files
from shoestring.tour import text

ROOT = Path(__file__).resolve().parents[1]
RESULTS, FIGURE = ROOT / "benchmarks" / "results" / "head_width.json", ROOT / "docs" / "head_width.png"


def corpus(study: Study) -> Corpus:
    """Returns the tour's text."""
    with tempfile.TemporaryDirectory() as folder:
        return Corpus.of(files.documents(list(text.write(Path(folder)).values())), study.characters)


def begun(study: Study) -> dict[str, Any]:
    """Returns what an interrupted study has found, if it was the same one."""
    if RESULTS.exists():
        found = json.loads(RESULTS.read_text("utf-8"))
        if found["study"] == asdict(study):
            return found
    parameters = {form: new_model(study, form, 0).num_parameters() for form in study.forms}
    runs: dict[str, list] = {form: [] for form in study.forms}
    return {
        "study": asdict(study),
        "torch": torch.__version__,
        "parameters": parameters,
        "load": [],
        "runs": runs,
    }


def save(result: dict[str, Any]) -> None:
    """Writes what is known."""
    with files.atomic(RESULTS) as file:
        file.write(json.dumps(result, indent=1) + "\n")


def main() -> None:
    """Trains what is missing."""
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv
    study = Study(steps=20, seeds=2, held_out=32) if quick else Study()
    result, given = begun(study), corpus(study)
    for form, seed in study.jobs:
        if seed < len(result["runs"][form]):
            continue
        result["load"].append(round(os.getloadavg()[0], 2))
        run = trained(study, given, form, seed)
        result["runs"][form].append(run)
        print(f"{form:28} seed {seed}: {run['losses'][-1][1]:.4f} nats, "
              f"{1e3 * run['seconds per step']:.1f} ms a step", flush=True)  # fmt: skip
        concluded(study, result, quick)


def concluded(study: Study, result: dict[str, Any], quick: bool) -> None:
    """Saves what is known, and compares the seeds that all forms have had."""
    seeds = min(map(len, result["runs"].values()))
    if seeds >= (2 if quick else 3) and seeds == max(map(len, result["runs"].values())):
        result |= {"seeds": seeds, **compared(study, result["runs"])}
        for kind in ("equal steps", "equal time"):
            for form, row in result[kind].items():
                print(f"{kind:12} {form:28} {row['loss']:.4f}  {row['difference']:+.4f} ± {row['half']:.4f}")
    if not quick:
        save(result)
        if "seeds" in result:
            draw(result, FIGURE, "Held-out loss against keys of hidden / heads")


if __name__ == "__main__":
    main()
