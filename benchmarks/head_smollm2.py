"""Do talking heads pay in a real model? `python benchmarks/head_smollm2.py SMOLLM2` (a Hugging Face folder).

- SmolLM2-135M trained on for a few steps, as it is and with talking heads switched on: they begin as the identity, so
  both start with the same function. The first adds nothing, the second 2 x 9 x 9 numbers a layer.
- The mixes learn at a rate of their own, `MIXES` times as high: at the model's they would hardly leave the identity.
- Text: Python's own language reference (`pydoc_data.topics`), every 8th topic held out.
- Compared as in `head_study.py`: within a seed, which fixes the order of the text, after as many steps and after as
  much of the processor's time. Every run is saved as it ends; interrupted, the same command goes on with the next one.

-> results/head_smollm2.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from head_study import Corpus, Pieces, Run, Study, compared

from shoestring import files, hub
from shoestring.transformer import from_checkpoint

RESULT = Path(__file__).parent / "results" / "head_smollm2.json"
MIXES = 40


@dataclass(frozen=True)
class RealStudy(Study):
    """As `Study`; characters, hidden_size and num_heads are the model's own and not read."""

    length: int = 128
    batch_size: int = 2
    steps: int = 24
    seeds: int = 3
    held_out: int = 16
    learning_rate: float = 5e-5
    every: int = 8  # steps between two evaluations

    @property
    def forms(self) -> dict[str, dict[str, Any]]:
        """What is switched on."""
        return {"SmolLM2-135M as it is": {}, "talking heads switched on": {"talking_heads": "both"}}


def corpus(folder: Path) -> Corpus:
    """Returns the text as the model's own tokens."""
    texts = [hub.load_tokenizer(folder)(topics[name])["input_ids"] for name in sorted(topics)]
    kept = [ids for index, ids in enumerate(texts) if index % 8]
    return Corpus(np.concatenate(kept), np.concatenate(texts[::8]))


def batches(pieces: Pieces, size: int) -> Iterator[torch.Tensor]:
    """Yields (size, length) ids."""
    for start in range(0, len(pieces), size):
        yield torch.from_numpy(np.stack([pieces[index] for index in range(start, start + size)])).long()


def held_out_loss(model: Any, pieces: Pieces, size: int) -> float:
    """Returns the mean loss over pieces."""
    model.eval()
    with torch.no_grad():
        losses = [float(model(input_ids=ids, labels=ids).loss) for ids in batches(pieces, size)]
    model.train()
    return statistics.mean(losses)


def optimizer_of(study: RealStudy, model: Any) -> torch.optim.Optimizer:
    """Returns AdamW without decay, the mixes at their own rate."""
    named = list(model.named_parameters())
    mixes = [parameter for name, parameter in named if name.endswith("_mix")]
    others = [parameter for name, parameter in named if not name.endswith("_mix")]
    rate = study.learning_rate
    groups = [{"params": others, "lr": rate}, {"params": mixes, "lr": MIXES * rate}]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)


def trained(study: RealStudy, folder: Path, text: Corpus, form: str, seed: int) -> Run:
    """Trains one form from one seed; returns its held-out losses on the way and the cost of a step."""
    torch.manual_seed(seed)
    model = from_checkpoint(folder, head="causal-lm", settings=study.forms[form]).model.train()
    optimizer, length = optimizer_of(study, model), study.length
    starts = np.random.default_rng(seed).integers(0, len(text.train) - length, study.steps * study.batch_size)
    places = np.linspace(0, len(text.held_out) - length, study.held_out).astype(int)
    held_out = Pieces(text.held_out, places, length)
    losses, seconds = [[0, held_out_loss(model, held_out, study.batch_size)]], []
    for step, ids in enumerate(batches(Pieces(text.train, starts, length), study.batch_size), 1):
        began = time.process_time()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - began)
        if step % study.every == 0:
            losses.append([step, held_out_loss(model, held_out, study.batch_size)])
            print(form, seed, losses[-1], f"{statistics.median(seconds):.2f} s a step", flush=True)
    moved = [
        float(p.detach().sub(torch.eye(*p.shape)).abs().max())
        for n, p in model.named_parameters()
        if n.endswith("_mix")
    ]
    return {
        "losses": losses,
        "seconds per step": statistics.median(seconds),
        "mixes moved": max(moved, default=0.0),
    }


def begun(study: RealStudy) -> dict[str, Any]:
    """Returns what an interrupted study has found, if it was the same one."""
    if RESULT.exists():
        found = json.loads(RESULT.read_text("utf-8"))
        if found["study"] == asdict(study):
            return found
    runs: dict[str, list] = {form: [] for form in study.forms}
    return {"study": asdict(study), "torch": torch.__version__, "load": [], "runs": runs}


def main(folder: Path) -> None:
    """Trains what is missing and compares the seeds that both forms have had."""
    torch.set_num_threads(1)
    study = RealStudy()
    result, text = begun(study), corpus(folder)
    for form, seed in study.jobs:
        if seed < len(result["runs"][form]):
            continue
        result["load"].append(round(os.getloadavg()[0], 2))
        result["runs"][form].append(trained(study, folder, text, form, seed))
        if min(map(len, result["runs"].values())) == study.seeds:
            result |= compared(study, result["runs"])
        with files.atomic(RESULT) as file:
            file.write(json.dumps(result, indent=1) + "\n")
    for kind in ("equal steps", "equal time"):
        for form, row in result[kind].items():
            print(f"{kind:12} {form:28} {row['loss']:.4f}  {row['difference']:+.4f} ± {row['half']:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
