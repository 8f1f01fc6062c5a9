"""Claims of `shoestring match`: `python benchmarks/match.py [--quick] [--only PART]` -> results/match.json.

- thresholds: accuracy + F1 + MCC by ours, accuracy + F1 by sentence-transformers, alternately, CPU seconds.
- loss: CoSENT forward and backward by ours and by sentence-transformers, alternately, on scores.
- cached: CPU seconds and peak memory of 16,384 pairs in one batch, beside batches of 64, each in its own process.
- search: exact products beside the memory bandwidth; our HNSW and hnswlib beside exact, on clustered vectors.
- million (when asked for): an index of a million texts, built in steps, with a cheap encoder.
- killed (when asked for): three processes on one index, killed at random.
- elsewhere (minutes, when asked for): a threshold of one set on others.
- unlike (minutes, when asked for): queries of other kinds than the texts of a graph.
- precision (when asked for): embedding in fp32 and bf16, alternately, seconds on all cores.
- audit, stsb (twenty CPU minutes), compare (hours, and less with --sizes and --seeds; all when asked for): on real
  pairs, and with a real encoder, from the folder of data beside the checkout. CPU seconds of the whole training.

Each part is written as soon as it is measured, beside those that were measured before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from match_search import alternately, million, precision, search, stored

from shoestring.match.data.pairs import read_pairs

RESULT = Path(__file__).parent / "results" / "match.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HELD = ("ATEC.valid.data", "ATEC.test.data")


def thresholds(quick: bool) -> dict[str, Any]:
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator as Theirs

    from shoestring.match.deciding.threshold import Curve

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_000 if quick else 200_000)
    scores = (rng.normal(size=len(labels)) + labels).astype(np.float32)

    def ours() -> None:
        curve = Curve.of(scores, labels)
        for metric in ("accuracy", "f1", "mcc"):
            curve.best(metric)

    def theirs() -> None:
        Theirs.find_best_acc_and_threshold(scores, labels, True)
        Theirs.find_best_f1_and_threshold(scores, labels, True)

    ways = {"ours: accuracy, F1, MCC": ours, "sentence-transformers: accuracy, F1": theirs}
    return {"n": len(labels), "cpu_seconds": alternately(ways, 7)}


def loss(quick: bool) -> dict[str, Any]:
    import torch
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    from shoestring.match.training.cosent import cosent

    torch.set_num_threads(1)
    theirs = CoSENTLoss(torch.nn.Identity(), similarity_fct=lambda one, two: one)
    out = {}
    for size in (64, 1024) if quick else (64, 256, 1024, 4096, 16384, 65536):
        scores, labels = torch.rand(size) * 2 - 1, torch.randint(0, 6, (size,)).float()
        repeat = max(1, 20_000 // size)

        def ours(scores: Any = scores, labels: Any = labels, repeat: int = repeat) -> None:
            for _ in range(repeat):
                cosent(scores.clone().requires_grad_(), labels).backward()

        def peers(scores: Any = scores, labels: Any = labels, repeat: int = repeat) -> None:
            for _ in range(repeat):
                values = scores.clone().requires_grad_()
                theirs.compute_loss_from_embeddings([values, values], labels).backward()

        found = alternately({"ours": ours, "sentence-transformers": peers}, 15)
        out[str(size)] = {name: seconds / repeat * 1e3 for name, seconds in found.items()}
    return {"milliseconds": out}


CACHED = """
import resource, sys, time
import numpy as np, torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from shoestring.match.training.losses import CoSENTLoss
from shoestring.match.training.tokenizing import in_pieces
torch.set_num_threads(1)
batch, chunk, pairs, base = int(sys.argv[1]), int(sys.argv[2]) or None, int(sys.argv[3]), sys.argv[4]
trains = sys.argv[5] == "train"
transformer = Transformer(base)
model = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu")
model.train()
rng = np.random.default_rng(0)
words = ["银行", "还款", "怎么", "花呗", "额度", "为什么", "提前", "手机", "账单", "可以"]
texts = ["".join(rng.choice(words, rng.integers(3, 20))) for _ in range(2 * pairs)]
labels = torch.randint(0, 2, (pairs,)).float()
loss = CoSENTLoss(model, chunk=chunk)
start = time.process_time()
for at in range(0, pairs, batch):
    sides = (texts[side * pairs + at : side * pairs + at + batch] for side in (0, 1))
    features = [in_pieces(model.preprocess, model.tokenizer, each) for each in sides]
    if trains:
        loss(features, labels[at : at + batch]).backward()
        model.zero_grad()
spent = time.process_time() - start
print(spent / pairs * 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def cached(quick: bool) -> dict[str, Any]:
    """A small random BERT; 16,384 pairs at once beside as many steps of 64 as take the same time to measure."""
    with tempfile.TemporaryDirectory() as folder:
        small_bert(Path(folder))
        large = 1024 if quick else 16384
        out = {}
        for name, sizes, what in (
            ("batch of 64", (64, 0, 1024 if quick else 4096), "train"),
            ("one batch, chunk 64", (large, 64, large), "train"),
            ("one batch, its texts tokenized and no more", (large, 64, large), "tokenize"),
        ):
            command = [sys.executable, "-c", CACHED, *map(str, sizes), folder, what]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            milliseconds, megabytes = map(float, done.stdout.split()[-2:])
            out[name] = {"pairs": sizes[0], "cpu_ms_per_pair": milliseconds, "peak_mb": megabytes}
    small, whole, _ = (each["cpu_ms_per_pair"] for each in out.values())
    return {**out, "time_ratio": whole / small}


def small_bert(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = ["[PAD]", "[UNK]", *sorted(set("银行还款怎么花呗额度为什么提前手机账单可以"))]
    core = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(letters)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=core, **tokens).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(letters), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def settings(quick: bool) -> Any:
    """Eight of twelve layers stay as they are, so that a CPU can train the others."""
    from shoestring.match.training.settings import Training

    epochs = 0.1 if quick else 3
    return Training(
        freeze=8, batch_size=64, learning_rate=5e-5, epochs=epochs, prompt="query: ", device="cpu"
    )


def stsb(quick: bool) -> dict[str, Any]:
    """Spearman on STS-B's test pairs, before and after fine-tuning; CPU minutes of the whole training."""
    from shoestring.match.matcher import Matcher
    from shoestring.match.training.settings import spearman
    from shoestring.match.training.train import train
    from shoestring.ui import UI

    base, folder = DATA / "models" / "me5-small-zh", DATA / "pairs" / "STS-B"
    pairs, dev, test = (read_pairs(folder / f"STS-B.{name}.data") for name in ("train", "valid", "test"))
    run, scores = settings(quick), {}
    with tempfile.TemporaryDirectory() as work:
        zero = train(base, pairs, dev, Path(work, "zero"), replace(run, epochs=0), ui=UI())
        start = time.process_time()
        done = train(base, pairs, dev, Path(work, "model"), run, ui=UI())
        minutes = (time.process_time() - start) / 60
        for name, each in (("zero_shot", zero), ("tuned", done)):
            scores[name] = spearman(Matcher(each.folder, "cpu").scores(list(test)), test.labels)
    return {
        **scores, "cpu_minutes": minutes, "epochs": run.epochs, "pairs": [len(pairs), len(dev), len(test)],
        "dev": dict(done.spearman),
    }  # fmt: skip


def compared(data: str) -> tuple[Any, Any, str, Any]:
    """Pairs to train on, pairs of the same set that share none with them, and another set with its name."""
    from shoestring.match.data.leaks import exact_leaks

    def read(name: str) -> Any:
        return read_pairs(DATA / "pairs" / name)

    afqmc, lcqmc = read("AFQMC/dev.txt"), read("LCQMC/LCQMC.valid.data")
    if data == "AFQMC":
        return read("AFQMC/train.txt"), afqmc, "LCQMC", lcqmc
    if data == "ATEC":  # whose training file has pairs of both others
        pairs, *held = (read(f"ATEC/{name}") for name in ("atec_nlp_sim_train.csv", *HELD))
        leaked = [leak.row for each in held for leak in exact_leaks(pairs, each)]
        return pairs.take(np.setdiff1d(np.arange(len(pairs)), leaked)), held[0], "LCQMC", lcqmc
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
    from shoestring.ui import UI

    rng, (pairs, held, name, other) = np.random.default_rng(0), compared(data)
    order = rng.permutation(len(held))
    dev, test = held.take(order[:300]), held.take(order[300:1100])
    others = {name: other.take(rng.permutation(len(other))[:500])}
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
        "load": os.getloadavg()[0], "data": data, "frozen": freeze, "kinds": list(curves.kinds),
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


def killed(quick: bool) -> dict[str, Any]:
    """Three processes on one index, two of them killed at random: what was lost, came back or does not fit its text."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "match"))
    from killed import schedule  # pyrefly: ignore

    count = 200 if quick else 10_000
    total = dict.fromkeys(("lost", "resurrected", "mismatched", "killed", "alive"), 0)
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            for name, value in schedule(Path(folder, "index"), seed).items():
                total[name] += value
    return {"schedules": count, **total}


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


PARTS = {
    each.__name__: each
    for each in (
        thresholds,
        loss,
        cached,
        search,
        million,
        stsb,
        compare,
        killed,
        audit,
        elsewhere,
        unlike,
        precision,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, nothing written")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be given again")
    parser.add_argument("--sizes", default="250,1000,4000,16000,34334", help="of compare")
    parser.add_argument("--seeds", type=int, default=3, help="of compare")
    parser.add_argument(
        "--data", default="AFQMC", choices=("AFQMC", "ATEC", "LCQMC", "PAWSX"), help="of compare: to train on"
    )
    parser.add_argument("--epochs", type=float, default=1, help="of compare, at least 60 steps")
    parser.add_argument("--freeze", type=int, default=8, help="of compare: lower layers that are not trained")
    parser.add_argument("--kinds", default="bi,cross,joined,cross-from-bi,distilled", help="of compare")
    parser.add_argument("--texts", type=int, default=1_000_000, help="of million")
    parser.add_argument("--work", help="folder of compare and million, which go on there")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    names = ("seeds", "kinds", "epochs", "data", "work", "freeze")
    more = {
        "compare": {"sizes": sizes, **{name: getattr(options, name) for name in names}},
        "million": {"texts": options.texts, "work": options.work},
    }
    for name in options.only or ("thresholds", "loss", "cached", "search"):
        load = os.getloadavg()[0]
        found = {"load": load, **PARTS[name](options.quick, **more.get(name, {}))}
        print(name, json.dumps(found, indent=1), flush=True)
        if not options.quick:
            before = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
            RESULT.write_text(json.dumps({**before, name: found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
