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
from pathlib import Path
from typing import Any

import numpy as np
from match_pairs import RESULT, audit, compare, elsewhere, stsb, unlike
from match_search import alternately, million, precision, search


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
        "--data",
        default="AFQMC",
        choices=("AFQMC", "ATEC", "LCQMC", "PAWSX", "STS-B"),
        help="of compare: to train on",
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
