"""Bi-encoder against cross-encoder: what each is worth over the number of labelled pairs, here and on other pairs.

- Both kinds train on the same pairs for the same number of steps, by their own recipe, from several seeds; a seed
  draws the pairs, too, and the larger sets of one seed hold the smaller ones.
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
from shoestring.match.training.train import train
from shoestring.ui import UI

SIZES = (250, 1000, 4000, 16000)
LEAST = 60  # steps, however few the pairs
SPEED = 256  # pairs that are scored to tell how fast a kind is
HERE, MISLED = "test", "test, surface misleads"


@dataclass(frozen=True)
class Comparison:
    """All runs, and what they say.

    Args:
        curves: accuracy and the like by kind, size and set of pairs.
        speeds: texts (bi) or pairs (cross) that a CPU second embeds or scores.
    """

    curves: Curves
    speeds: Mapping[str, float]

    def search_seconds(self, texts: int, products_per_second: float = 1e7) -> tuple[float, float]:
        """Returns the seconds of one query over so many embedded texts: (bi, cross).

        Args:
            texts: how many.
            products_per_second: scalar products of embeddings; 1e7 is one core at 384 components, 15 GB/s.
        """
        return 1 / self.speeds["bi"] + texts / products_per_second, texts / self.speeds["cross"]


def compare(
    base: str | Path,
    pairs: Pairs,
    dev: Pairs,
    test: Pairs,
    output: str | Path,
    settings: Training | None = None,
    *,
    others: Mapping[str, Pairs] | None = None,
    sizes: Sequence[int] = (),
    seeds: int = 1,
    cross: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    ui: UI | None = None,
) -> Comparison:
    """Trains both kinds on growing numbers of pairs and measures them.

    Args:
        base: of both.
        pairs: to train on.
        dev: to choose steps and thresholds.
        test: to report on.
        output: folder that gets `bi` and `cross`, the models of the largest size, and `runs`.
        settings: of the bi-encoder, and but for prompt and pooling of the cross-encoder; seeds are set here, CoSENT's
            scale is each kind's own, and epochs are raised where they were fewer than 60 steps.
        others: more pairs to report on, of another kind, by name.
        sizes: numbers of pairs to train on; those that are too large become all. None is all only.
        seeds: runs of each kind and size.
        cross: settings of the cross-encoder that differ, such as `head_learning_rate`.
        overwrite: start again.
        ui: shows the progress.

    Raises:
        OptionError: the loss is not one that both kinds have, or a size or number of seeds is none.
    """
    settings, ui, output = settings or Training(), ui or UI(quiet=True), Path(output)
    sizes = sorted({min(size, len(pairs)) for size in sizes or (len(pairs),)})
    _require(settings, sizes, seeds)
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
    crossed = replace(settings, mode="cross", prompt=None, pooling="mean", **(cross or {}))
    runner = _Runner(base, pairs, dev, sets, settings, crossed, output, ui)
    runs = [runner.untrained()]
    for seed in range(seeds):  # whole curves first: an interrupted comparison has all sizes
        for size in sizes:
            runs += [
                runner.run(mode, size, seed, keep=size == sizes[-1] and not seed) for mode in ("bi", "cross")
            ]
    runner.close()
    labels = {name: each.labels for name, each in sets.items()}
    parts = {MISLED: (HERE, wrong)} if 20 <= wrong.sum() < len(wrong) else {}
    curves = Curves(tuple(runs), truths, labels, parts, settings.seed)
    return Comparison(curves, {mode: _speed(output / mode, test, settings) for mode in ("bi", "cross")})


def _require(settings: Training, sizes: Sequence[int], seeds: int) -> None:
    if settings.loss not in ("cosent", "softmax"):
        raise OptionError(f"loss {settings.loss!r}: both kinds have cosent and softmax; choose one of them")
    if sizes[0] < 2 * settings.batch_size:
        raise OptionError(f"size {sizes[0]}: must be at least two batches, {2 * settings.batch_size}")
    if seeds < 1:
        raise OptionError(f"seeds {seeds}: must be at least 1")


class _Runner:
    """Trains one model after another; lower layers that are frozen are computed once for all of them."""

    def __init__(
        self, base: str | Path, pairs: Pairs, dev: Pairs, sets: Mapping[str, Pairs], settings: Training,
        crossed: Training, output: Path, ui: UI,
    ) -> None:  # fmt: skip
        from shoestring.match.training.frozen import Store

        self.base, self.pairs, self.dev, self.sets = base, pairs, dev, sets
        self.settings, self.crossed, self.output, self.ui = settings, crossed, output, ui
        self.store = Store()

    def close(self) -> None:
        """Gives the store back."""
        self.store.close()

    def untrained(self) -> Run:
        """Returns the bi-encoder as it is, with a threshold."""
        return self._stored("bi", 0, 0, self.pairs, replace(self.settings, epochs=0), keep=False)

    def run(self, mode: str, size: int, seed: int, keep: bool) -> Run:
        """Returns a trained model's scores; keeps the model in the output."""
        order = np.random.default_rng(seed).permutation(len(self.pairs))
        part = self.pairs.take(np.sort(order[:size]))
        batch = self.settings.batch_size
        steps = max(LEAST, round(self.settings.epochs * size / batch))
        recipe = self.settings if mode == "bi" else self.crossed
        settings = replace(recipe, seed=seed, epochs=steps * batch / size)
        return self._stored(mode, size, seed, part, settings, keep)

    def _stored(self, mode: str, size: int, seed: int, part: Pairs, settings: Training, keep: bool) -> Run:
        path = self.output / "runs" / f"{mode}-{size}-{seed}.npz"
        identity = self._identity(part, settings)
        if path.exists() and (not keep or (self.output / mode / "matching.json").exists()):
            found = Run.read(path)
            if found.identity == identity:
                return found
        self.ui.say(f"{mode}-encoder, {size:,} pairs, seed {seed}:" if size else "bi-encoder, untrained:")
        folder = self.output / mode if keep else self.output / "runs" / "model"
        done = train(
            self.base, part, self.dev, folder, settings, overwrite=(folder / "config.json").exists() or
            (folder / "modules.json").exists(), ui=self.ui, also=tuple(self.sets.values()), store=self.store,
        )  # fmt: skip
        run = Run(
            mode, size, seed, done.steps, done.seconds, done.rising, done.decision.threshold,
            dict(zip(self.sets, done.scores, strict=True)), identity,
        )  # fmt: skip
        run.write(path)
        if not keep:
            shutil.rmtree(folder)
        return run

    def _identity(self, part: Pairs, settings: Training) -> str:
        values: dict[str, Any] = {name: value for name, value in asdict(settings).items() if name != "device"}
        values |= {"base": str(self.base), "pairs": part.fingerprint, "dev": self.dev.fingerprint}
        values["sets"] = {name: each.fingerprint for name, each in self.sets.items()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _speed(folder: Path, test: Pairs, settings: Training) -> float:
    """Texts that a bi-encoder embeds, or pairs that a cross-encoder scores, in a CPU second."""
    matcher, some = Matcher(folder, settings.device), list(test)[:SPEED]
    start = time.process_time()
    matcher.scores(some)
    count = len(some) if matcher.crossed else len({text for pair in some for text in pair})
    return count / (time.process_time() - start)
