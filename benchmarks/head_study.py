"""Do wider keys or talking heads pay, at equal parameters? The study that `head_width.py` runs.

- Language models over characters, 2 layers. Three forms with exactly as many parameters, the feed-forward layer giving
  what attention takes: keys of hidden / heads, keys four times as wide, and talking heads.
- Losses are compared within a seed, which fixes the order of the text; intervals are 95 % by Student's t over
  the seeds.
- The learning rate is constant, so a run of n steps is the beginning of a longer one: one curve tells the loss after as
  many steps and the loss after as much of the processor's time.

The table of its results is in the guide of the transformer.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring import plot
from shoestring.ui import UI

if TYPE_CHECKING:
    from torch import Tensor

    from shoestring.transformer import ShoestringForCausalLM

STUDENT = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
    8: 2.365,
    10: 2.262,
}  # 97.5 %, for so many seeds
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """How large the study is.

    Args:
        hidden_size: of the models; 2 num_heads^2 must be a multiple of 3 hidden_size.
        num_heads: of them.
        characters: the vocabulary; rarer ones share an id.
        length: of a piece of text, in characters.
        batch_size: pieces in a step.
        steps: of a run.
        seeds: how many runs each form has.
        held_out: pieces that the loss is measured on.
        learning_rate: after a rise of 20 steps.
    """

    hidden_size: int = 96
    num_heads: int = 12
    characters: int = 1600
    length: int = 64
    batch_size: int = 16
    steps: int = 500
    seeds: int = 5
    held_out: int = 256
    learning_rate: float = 2e-3

    @property
    def forms(self) -> dict[str, dict[str, Any]]:
        """What the models differ in; the first is what the others are compared with."""
        hidden, heads = self.hidden_size, self.num_heads
        key = hidden // heads
        return {
            f"keys of {key} = hidden / heads": {"key_size": key, "intermediate_size": 4 * hidden},
            f"keys of {4 * key}": {"key_size": 4 * key, "intermediate_size": 2 * hidden},
            "talking heads": {
                "key_size": key,
                "intermediate_size": 4 * hidden - 2 * heads**2 // (3 * hidden),
                "talking_heads": "both",
            },
        }

    @property
    def jobs(self) -> list[tuple[str, int]]:
        """The runs, (form, seed), each seed's together."""
        return [(form, seed) for seed, form in product(range(self.seeds), self.forms)]


@dataclass(frozen=True)
class Corpus:
    """A text as character ids, 0 for all rare ones; every 20th document is held out."""

    train: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, documents: Iterable[str], characters: int) -> Corpus:
        """Numbers the most frequent characters."""
        texts = [f"{document}\n" for document in documents]
        frequent = Counter("".join(texts)).most_common(characters - 1)
        ids = {character: index for index, (character, _) in enumerate(frequent, 1)}

        def numbered(some: Sequence[str]) -> np.ndarray:
            return np.array([ids.get(character, 0) for text in some for character in text], dtype=np.int64)

        kept = [text for index, text in enumerate(texts) if index % 20]
        return cls(numbered(kept), numbered(texts[::20]))


class Pieces:
    """Pieces of a text, the same for every form of a seed."""

    def __init__(self, text: np.ndarray, starts: np.ndarray, length: int) -> None:
        self.text, self.starts, self.length = text, starts, length

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.text[self.starts[index] : self.starts[index] + self.length]


class Stopwatch:
    """Makes batches and notes the processor's time at each."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, pieces: list[np.ndarray]) -> dict[str, Tensor]:
        """Returns pieces as a batch whose targets are its inputs."""
        import torch

        self.times.append(time.process_time())
        ids = torch.from_numpy(np.stack(pieces))
        return {"input_ids": ids, "labels": ids}

    @property
    def step(self) -> float:
        """Seconds of the processor for one step; the median does not see evaluations."""
        return statistics.median(later - earlier for earlier, later in pairwise(self.times))


def new_model(study: Study, form: str, seed: int) -> ShoestringForCausalLM:
    """Returns an untrained model."""
    import torch

    from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM

    torch.manual_seed(seed)
    config = ShoestringConfig(
        vocab_size=study.characters, hidden_size=study.hidden_size, num_layers=2, num_heads=study.num_heads,
        value_size=study.hidden_size // study.num_heads, is_decoder=True, pad_token_id=None, **study.forms[form],
    )  # fmt: skip
    return ShoestringForCausalLM(config)


def trained(study: Study, corpus: Corpus, form: str, seed: int) -> Run:
    """Trains one form from one seed; returns its held-out losses on the way and the cost of a step."""
    from shoestring.train import TrainSettings, fit

    text, length = corpus.train, study.length
    starts = np.random.default_rng(seed).integers(0, len(text) - length, study.steps * study.batch_size)
    places = np.linspace(0, len(corpus.held_out) - length, study.held_out).astype(int)
    settings = TrainSettings(
        steps=study.steps, batch_size=study.batch_size, learning_rate=study.learning_rate, schedule="constant",
        warmup=min(1.0, 20 / study.steps), seed=seed, device="cpu", save_every=10**9,
    )  # fmt: skip
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        done = fit(
            new_model(study, form, seed), Pieces(text, starts, length), settings, folder, collate=watch,  # pyrefly: ignore
            eval_examples=Pieces(corpus.held_out, places, length),  # pyrefly: ignore
            eval_every=max(1, study.steps // 10), ui=UI(quiet=True),
        )  # fmt: skip
    return {"losses": [list(point) for point in done.eval_losses], "seconds per step": watch.step}


def compared(study: Study, runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Compares the forms after as many steps, and after as much time as the first one takes.

    Args:
        study: what was run.
        runs: form -> its runs, in the order of the seeds.

    Returns:
        `equal steps` and `equal time`: form -> loss, difference to the first form, half of its interval;
        `seconds per step` and `steps in equal time`: form -> number.
    """
    first = next(iter(study.forms))
    cost = {form: statistics.median(run["seconds per step"] for run in runs[form]) for form in study.forms}
    afford = {form: min(study.steps, study.steps * cost[first] / cost[form]) for form in study.forms}
    everywhere = dict.fromkeys(study.forms, float(study.steps))
    return {
        "equal steps": _differences(study, runs, everywhere),
        "equal time": _differences(study, runs, afford),
        "seconds per step": cost,
        "steps in equal time": {form: round(steps) for form, steps in afford.items()},
    }


def _differences(
    study: Study, runs: Mapping[str, Sequence[Run]], steps: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    losses = {form: [_loss(run, steps[form]) for run in runs[form]] for form in study.forms}
    base, found = next(iter(losses.values())), {}
    for form, values in losses.items():
        gaps = [mine - theirs for mine, theirs in zip(values, base, strict=True)]
        half = STUDENT[len(gaps)] * statistics.stdev(gaps) / math.sqrt(len(gaps))
        found[form] = {"loss": statistics.mean(values), "difference": statistics.mean(gaps), "half": half}
    return found


def _loss(run: Run, step: float) -> float:
    """Returns the held-out loss at a step, between two measurements on the line between them."""
    steps, losses = zip(*run["losses"], strict=True)
    return float(np.interp(step, steps, losses))


def draw(found: Mapping[str, Any], path: Any, title: str) -> None:
    """Draws the differences to the first form as `plot.differences` does."""
    groups = {
        kind: {form: (row["difference"], row["half"]) for form, row in list(found[kind].items())[1:]}
        for kind in ("equal steps", "equal time")
    }
    plot.differences(groups, path, title=title)
