"""Kinds of model against the bi-encoder: what each is worth over the number of labelled pairs, here and on other pairs.

- All kinds train on the same pairs for the same number of steps in all, by their own recipe, from several seeds; a
  seed draws the pairs, too, and the larger sets of one seed hold the smaller ones.
- `cross-from-bi` gives half of the steps to a bi-encoder from which the cross-encoder starts; `distilled` half to a
  cross-encoder whose order of the training pairs is what the bi-encoder learns (Thakur et al. 2021, arXiv 2010.08240).
- Steps and thresholds are chosen on the development pairs and measured on pairs that chose nothing: test pairs of the
  same kind, others, and those of the test pairs where the surface points the wrong way.
- A difference is of the same pairs and seeds; its interval is a bootstrap over both, so that it covers another draw of
  pairs to train on and to test on.
- Each run is stored as soon as it has ended, and an interrupted comparison goes on behind it.
- Searching n texts costs a bi-encoder one forward pass and n products, a cross-encoder n forward passes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shoestring._errors import OptionError
from shoestring.match.data.audit import guesser
from shoestring.match.data.pairs import Pairs
from shoestring.match.deciding.curve import Curves, Run
from shoestring.match.matcher import Matcher
from shoestring.match.training.settings import Training
from shoestring.match.training.train import Trained, settled, train
from shoestring.ui import UI

SIZES = (250, 1000, 4000, 16000)
LEAST = 60  # steps, however few the pairs
SPEED = 256  # pairs that are scored to tell how fast a kind is
HERE, MISLED = "test", "test, surface misleads"


KINDS = {  # kind -> the modes it trains one after another; the last is what is measured
    "bi": ("bi",),
    "cross": ("cross",),
    "joined": ("joined",),
    "cross-from-bi": ("bi", "cross"),
    "distilled": ("cross", "bi"),
}
DEFAULT = ("bi", "cross")


@dataclass(frozen=True)
class Comparison:
    """All runs, and what they say.

    Args:
        curves: accuracy and the like by kind, size and set of pairs.
        speeds: texts (of kinds that end as a bi-encoder) or pairs that a CPU second embeds or scores, by kind.
    """

    curves: Curves
    speeds: Mapping[str, float]

    def search_seconds(self, kind: str, texts: int, products_per_second: float = 1e7) -> float:
        """Returns the seconds of one query over so many texts, which a bi-encoder has embedded.

        Args:
            kind: which.
            texts: how many.
            products_per_second: scalar products of embeddings; 1e7 is one core at 384 components, 15 GB/s.
        """
        if KINDS[kind][-1] == "bi":
            return 1 / self.speeds[kind] + texts / products_per_second
        return texts / self.speeds[kind]


def compare(
    base: str | Path,
    pairs: Pairs,
    dev: Pairs,
    test: Pairs,
    output: str | Path,
    settings: Training | None = None,
    *,
    others: Mapping[str, Pairs] | None = None,
    kinds: Sequence[str] = DEFAULT,
    sizes: Sequence[int] = (),
    seeds: int = 1,
    cross: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Comparison:
    """Trains several kinds of model on growing numbers of pairs and measures them.

    Args:
        base: of all.
        pairs: to train on.
        dev: to choose steps and thresholds.
        test: to report on.
        output: folder that gets `runs`, and a folder for each kind with its model of the largest size.
        settings: of the bi-encoder, and but for prompt and pooling of the cross-encoder; seeds are set here, CoSENT's
            scale is each kind's own, and epochs are raised where they were fewer than 60 steps.
        others: more pairs to report on, of another kind, by name.
        kinds: of KINDS; the first is bi, what the others are compared with.
        sizes: numbers of pairs to train on; those that are too large become all. None is all only.
        seeds: runs of each kind and size.
        cross: settings of the cross-encoder that differ, such as `head_learning_rate`.
        overwrite: start again.
        ui: shows the progress.

    Raises:
        OptionError: the loss is not one that all kinds have, or a kind, size or number of seeds is none.
    """
    settings, ui, output = settled(settings or Training()), ui or UI(quiet=True), Path(output)
    if taken := {HERE, MISLED} & set(others or {}):
        raise OptionError(f"other {taken.pop()!r}: is what the test pairs are called; rename the file")
    sizes = sorted({min(size, len(pairs)) for size in sizes or (len(pairs),)})
    _require(settings, kinds, sizes, seeds)
    if overwrite:
        shutil.rmtree(output / "runs", ignore_errors=True)
    (output / "runs").mkdir(parents=True, exist_ok=True)
    given = settings.above
    above = dev.middle if given is None else given
    settings = replace(settings, above=above)
    sets = {HERE: test, **(others or {})}
    for each in sets.values() if given is None else ():
        each.require_scale(dev.levels[0], dev.levels[-1])
    truths = {name: each.binary(above) for name, each in sets.items()}
    wrong = (guesser(pairs, pairs.binary(above))(test) >= 0.5) != truths[HERE]
    recipes = {
        "bi": settings,
        "cross": replace(settings, mode="cross", prompt=None, pooling="mean", **(cross or {})),
    }
    if "joined" in kinds:
        recipes["joined"] = replace(settings, mode="joined", pooling="mean")
    runner = _Runner(base, pairs, dev, sets, recipes, output, ui)
    runs = [runner.untrained()]
    for seed in range(seeds):  # whole curves first: an interrupted comparison has all sizes
        for size in sizes:
            runs += [runner.run(kind, size, seed, keep=size == sizes[-1] and not seed) for kind in kinds]
    runner.close()
    labels = {name: each.labels for name, each in sets.items()}
    parts = {MISLED: (HERE, wrong)} if 20 <= wrong.sum() < len(wrong) else {}
    curves = Curves(tuple(runs), truths, labels, parts, settings.seed)
    kept = [kind for kind in kinds if kind != "joined"]
    return Comparison(curves, {kind: _speed(output / kind, test, settings) for kind in kept})


def _require(settings: Training, kinds: Sequence[str], sizes: Sequence[int], seeds: int) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or kinds[0] != "bi" or len(set(kinds)) < len(kinds):
        raise OptionError(
            f"kinds {','.join(kinds)!r}: choose of {', '.join(KINDS)}, each once; bi, what the others are compared "
            "with, comes first"
        )
    fitting = ("cosent",) if {"joined", "distilled"} & set(kinds) else ("cosent", "softmax")
    if settings.loss not in fitting:
        raise OptionError(
            f"loss {settings.loss!r}: what these kinds have in common is {' or '.join(fitting)}"
        )
    if sizes[0] < 2 * settings.batch_size:
        raise OptionError(f"size {sizes[0]}: must be at least two batches, {2 * settings.batch_size}")
    if seeds < 1:
        raise OptionError(f"seeds {seeds}: must be at least 1")


class _Runner:
    """Trains one model after another; lower layers that are frozen are computed once for all of them."""

    def __init__(
        self, base: str | Path, pairs: Pairs, dev: Pairs, sets: Mapping[str, Pairs], recipes: Mapping[str, Training],
        output: Path, ui: UI,
    ) -> None:  # fmt: skip
        from shoestring.match.training.frozen import Store

        self.base, self.pairs, self.dev, self.sets = base, pairs, dev, sets
        self.recipes, self.output, self.ui = recipes, output, ui
        self.store = Store()

    def close(self) -> None:
        """Gives the store back."""
        self.store.close()

    def untrained(self) -> Run:
        """Returns the bi-encoder as it is, with a threshold."""
        return self._stored("bi", 0, 0, self.pairs, [replace(self.recipes["bi"], epochs=0)], keep=False)

    def run(self, kind: str, size: int, seed: int, keep: bool) -> Run:
        """Returns a trained model's scores; keeps the model in the output."""
        order = np.random.default_rng(seed).permutation(len(self.pairs))
        part, stages = self.pairs.take(np.sort(order[:size])), KINDS[kind]
        own = self.recipes["bi"]
        steps = max(LEAST, round(own.epochs * size / own.batch_size)) // len(stages)
        changes: dict[str, Any] = {"seed": seed, "epochs": steps * own.batch_size / size}
        recipes = [replace(self.recipes[mode], **changes) for mode in stages]
        return self._stored(kind, size, seed, part, recipes, keep)

    def _stored(
        self, kind: str, size: int, seed: int, part: Pairs, recipes: Sequence[Training], keep: bool
    ) -> Run:
        path = self.output / "runs" / f"{kind}-{size}-{seed}.npz"
        identity, keep = self._identity(part, recipes), keep and kind != "joined"
        if path.exists() and (not keep or (self.output / kind / "matching.json").exists()):
            found = Run.read(path)
            if found.identity == identity:
                return found
        self.ui.say(f"{kind}, {size:,} pairs, seed {seed}:" if size else "bi, untrained:")
        folders = [path.with_suffix(f".{stage}") for stage in range(len(recipes))]
        done = self._trained(
            kind, part, recipes, [*folders[:-1], self.output / kind if keep else folders[-1]]
        )
        last = done[-1]
        run = Run(
            kind, size, seed, sum(each.steps for each in done), sum(each.seconds for each in done), last.rising,
            last.decision.threshold, dict(zip(self.sets, last.scores, strict=True)), identity,
        )  # fmt: skip
        run.write(path)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return run

    def _trained(
        self, kind: str, part: Pairs, recipes: Sequence[Training], folders: Sequence[Path]
    ) -> list[Trained]:
        done: list[Trained] = []
        base, also = self.base, (part,) if len(recipes) > 1 else tuple(self.sets.values())
        for recipe, folder in zip(recipes, folders, strict=True):
            there = (folder / "config.json").exists() or (folder / "modules.json").exists()
            done.append(
                train(
                    base,
                    part,
                    self.dev,
                    folder,
                    recipe,
                    overwrite=there,
                    ui=self.ui,
                    also=also,
                    store=self.store,
                )
            )
            also = tuple(self.sets.values())
            if kind == "distilled":
                part = replace(part, labels=_ranked(done[0].scores[0], part.levels))
            else:
                base = folder
        return done

    def _identity(self, part: Pairs, recipes: Sequence[Training]) -> str:
        values: dict[str, Any] = {
            "recipes": [{name: value for name, value in asdict(each).items() if name != "device"} for each in recipes],
            "base": str(self.base), "pairs": part.fingerprint, "dev": self.dev.fingerprint,
            "sets": {name: each.fingerprint for name, each in self.sets.items()},
        }  # fmt: skip
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _ranked(scores: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The order of scores, which is all that CoSENT takes from them, as labels over the same range."""
    return levels[0] + (levels[-1] - levels[0]) * np.argsort(np.argsort(scores)) / (len(scores) - 1)


def _speed(folder: Path, test: Pairs, settings: Training) -> float:
    """Texts that a bi-encoder embeds, or pairs that a cross-encoder scores, in a CPU second."""
    matcher, some = Matcher(folder, settings.device), list(test)[:SPEED]
    start = time.process_time()
    matcher.scores(some)
    count = len(some) if matcher.crossed else len({text for pair in some for text in pair})
    return count / (time.process_time() - start)
