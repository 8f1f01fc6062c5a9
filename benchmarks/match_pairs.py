"""Parts of `benchmarks/match.py` on real pairs and with a real encoder, from the folder of data beside the checkout."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from match_search import stored

from shoestring.match.data.pairs import read_pairs

RESULT = Path(__file__).parent / "results" / "match.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HELD = ("ATEC.valid.data", "ATEC.test.data")


def settings(quick: bool) -> Any:
    """Eight of twelve layers stay as they are, so that a CPU can train the others."""
    from shoestring.match.training.settings import Training

    epochs = 0.1 if quick else 3
    return Training(
        freeze=8, batch_size=64, learning_rate=5e-5, epochs=epochs, prompt="query: ", device="cpu"
    )


def stsb(quick: bool) -> dict[str, Any]:
    """Spearman on STS-B's test pairs, before and after fine-tuning in each precision; CPU minutes of all of it."""
    from shoestring.match.matcher import Matcher
    from shoestring.match.training.settings import spearman
    from shoestring.match.training.train import train
    from shoestring.ui import UI

    base, folder = DATA / "models" / "me5-small-zh", DATA / "pairs" / "STS-B"
    pairs, dev, test = (read_pairs(folder / f"STS-B.{name}.data") for name in ("train", "valid", "test"))
    run, scores, minutes = settings(quick), {}, {}
    runs = {
        "zero_shot": replace(run, epochs=0),
        **{name: replace(run, precision=name) for name in ("fp32", "bf16")},
    }
    with tempfile.TemporaryDirectory() as work:
        for name, each in runs.items():
            start = time.process_time()
            done = train(base, pairs, dev, Path(work, name), each, ui=UI())
            minutes[name] = (time.process_time() - start) / 60
            scores[name] = spearman(Matcher(done.folder, "cpu").scores(list(test)), test.labels)
    return {
        "spearman": scores, "cpu_minutes": minutes, "epochs": run.epochs, "pairs": [len(pairs), len(dev), len(test)],
    }  # fmt: skip


def compared(data: str) -> tuple[Any, Any, str, Any]:
    """Pairs to train on, pairs of the same set that share none with them, and if one fits another set with its name."""
    from shoestring.match.data.leaks import exact_leaks

    def read(name: str) -> Any:
        return read_pairs(DATA / "pairs" / name)

    def without(pairs: Any, held: list[Any]) -> Any:
        leaked = [leak.row for each in held for leak in exact_leaks(pairs, each)]
        return pairs.take(np.setdiff1d(np.arange(len(pairs)), leaked))

    afqmc, lcqmc = read("AFQMC/dev.txt"), read("LCQMC/LCQMC.valid.data")
    if data == "AFQMC":
        return read("AFQMC/train.txt"), afqmc, "LCQMC", lcqmc
    if data == "ATEC":  # whose training file has pairs of both others
        pairs, *held = (read(f"ATEC/{name}") for name in ("atec_nlp_sim_train.csv", *HELD))
        return without(pairs, held), held[0], "LCQMC", lcqmc
    if data == "STS-B":  # grades from 0 to 5, as no other set has
        pairs, *held = (read(f"STS-B/STS-B.{name}.data") for name in ("train", "test"))
        return without(pairs, held), held[0], "", None
    if data == "PAWSX":  # 1,200 of its 2,000 pairs
        return *read("PAWSX/PAWSX.valid.data").split(0.4), "LCQMC", lcqmc
    return *lcqmc.split(0.2), "AFQMC", afqmc


def compare(
    quick: bool, sizes: list[int], seeds: int, kinds: str, epochs: float, data: str, work: str | None = None,
    freeze: int = 8,
) -> dict[str, Any]:  # fmt: skip
    """Accuracy of each kind over the number of pairs of one set, on its own and on the other's.

    Returns what was found beside what other numbers of epochs or other kinds had given.
    """
    from shoestring.match.commands.compare import accuracies, conclusions
    from shoestring.match.compare import compare as run
    from shoestring.match.training.settings import Training
    from shoestring.match.training.train import settled
    from shoestring.ui import UI

    rng, (pairs, held, name, other) = np.random.default_rng(0), compared(data)
    order = rng.permutation(len(held))
    dev, test = held.take(order[:300]), held.take(order[300:1100])
    others = {name: other.take(rng.permutation(len(other))[:500])} if name else {}
    own = Training(
        freeze=freeze, batch_size=32, prompt="query: ", device="cpu", epochs=epochs, max_length=48,
        learning_rate=None if freeze else 5e-5,
    )  # fmt: skip
    sizes, seeds = ([250], 1) if quick else (sizes, seeds)
    with tempfile.TemporaryDirectory() as temporary:
        found = run(
            DATA / "models" / "me5-small-zh", pairs, dev, test, work or temporary, own, others=others,
            kinds=kinds.split(","), sizes=sizes, seeds=seeds, ui=UI(),
        )  # fmt: skip
    curves = found.curves
    before = {} if quick or not RESULT.exists() else json.loads(RESULT.read_text("utf-8")).get("compare", {})
    kinds = " and ".join(curves.kinds) if len(curves.kinds) == 2 else "all kinds"
    name = f"{kinds}, {data}, epochs {epochs:g}, {' and '.join(f'{size:,}' for size in curves.sizes)} pairs"
    name += "" if freeze == 8 else f", {freeze} layers frozen"
    found_here = {
        "load": os.getloadavg()[0], "data": data, "frozen": freeze, "precision": settled(own).precision,
        "kinds": list(curves.kinds),
        "seeds": {str(size): len(curves.of("bi", size)) for size in curves.sizes},
        "steps": {str(size): curves.of("bi", size)[0].steps for size in curves.sizes},
        "pairs": {"dev": len(dev), **{name: int(curves.right("bi", 0, name).shape[1]) for name in curves.sets}},
        "accuracy": accuracies(found), "conclusions": conclusions(found), "speeds": dict(found.speeds),
        "rising": {kind: curves.rising(kind) for kind in curves.kinds},
        "spearman": {
            f"{run.mode}, {run.size} pairs, seed {run.seed}": curves.spearman(run) for run in curves.runs
        },
        "minutes_of_training": sum(run.seconds for run in curves.runs) / 60,
    }  # fmt: skip
    return {
        **{each: value for each, value in before.items() if isinstance(value, dict) and "rising" in value},
        name: found_here,
    }


def audit(quick: bool) -> dict[str, Any]:
    """What labels of the published sets can be guessed from without understanding."""
    from shoestring.match.data.audit import audit as run

    names = ("LCQMC/LCQMC.valid.data", "PAWSX/PAWSX.valid.data", "AFQMC/dev.txt", "ATEC/ATEC.valid.data",
             "STS-B/STS-B.train.data")  # fmt: skip
    return {
        name: {
            "pairs": found.pairs, "majority": found.majority,
            "guessed from": {kind: [each.accuracy, each.area] for kind, each in found.shortcuts.items()},
        }
        for name in names[: 2 if quick else None] for found in run([read_pairs(DATA / "pairs" / name)])
    }  # fmt: skip


def elsewhere(quick: bool) -> dict[str, Any]:
    """A threshold that LCQMC's pairs chose, applied to other sets: e5-small as it is, 400 pairs of each."""
    from shoestring.match.deciding.threshold import Curve
    from shoestring.match.training.settings import Training
    from shoestring.match.training.train import train
    from shoestring.ui import UI

    names = ("LCQMC/LCQMC.valid.data", "PAWSX/PAWSX.valid.data", "AFQMC/dev.txt", "ATEC/ATEC.valid.data")
    rng, few = np.random.default_rng(0), 100 if quick else 400
    sets = {name: read_pairs(DATA / "pairs" / name) for name in names}
    sets = {name: each.take(rng.permutation(len(each))[:few]) for name, each in sets.items()}
    chosen, *others = sets.values()
    run = Training(epochs=0, prompt="query: ", device="cpu")
    with tempfile.TemporaryDirectory() as work:
        done = train(
            DATA / "models" / "me5-small-zh", chosen, chosen, Path(work, "m"), run, also=others, ui=UI()
        )
    decision, out = done.decision, {}
    for name, pairs, scores in zip(names[1:], others, done.scores, strict=True):
        truth = pairs.binary()
        out[name] = {
            "there": float(((scores >= decision.threshold) == truth).mean()),
            "best there": Curve.of(scores, truth).best("accuracy").value,
            "majority": float(max(truth.mean(), 1 - truth.mean())),
        }
    own = {"here": decision.value, "on new pairs": list(decision.value_interval)}
    return {"chosen on": names[0], "pairs": few, "threshold": decision.threshold, **own, "elsewhere": out}


def unlike(quick: bool) -> dict[str, Any]:
    """Recall@10 of texts of AFQMC by e5-small, for queries of the same kind, a near one and others.

    Graphs as they are, and searched as if all queries were like the texts.
    """
    from shoestring.match.matcher import Matcher
    from shoestring.match.search.nearest import EVERYWHERE, Graph, exact

    rng, (many, few) = np.random.default_rng(0), (400, 50) if quick else (8000, 300)
    matcher = Matcher(DATA / "models" / "me5-small-zh", "cpu")

    def embedded(name: str, count: int) -> Any:
        texts = dict.fromkeys(text for pair in read_pairs(DATA / "pairs" / name) for text in pair)
        return matcher.embed([f"query: {text}" for text in rng.permutation(list(texts))[:count]])

    vectors = embedded("AFQMC/dev.txt", many)
    sets = {"AFQMC": vectors[:: many // few]}
    for name in ("ATEC/ATEC.valid.data", "LCQMC/LCQMC.valid.data", "PAWSX/PAWSX.valid.data"):
        sets[name.partition("/")[0]] = embedded(name, few)
    least = {name: exact(vectors, queries, 10)[1][:, -1:] - 1e-6 for name, queries in sets.items()}
    out: dict[str, Any] = {"texts": len(vectors), "queries": few}
    for kind, graph in (("HNSW", Graph()), ("HNSW, int4", Graph(compact=True))):
        graph.extend(vectors)
        out[kind] = {"width": graph.width, "bytes of a row": stored(graph) / len(vectors)}
        for way, reach in (("recall@10", graph.reach), ("recall@10 as if alike", EVERYWHERE)):
            graph.reach = reach
            out[kind][way] = {
                name: float((graph.nearest(vectors, queries, 10)[1] >= least[name]).mean())  # pyrefly: ignore
                for name, queries in sets.items()
            }
    return out
