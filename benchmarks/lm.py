"""CPM's true width on this machine: decoding, prefill, choice, conversion and serving, beside peers in one run.

    python benchmarks/lm.py --vocab chinese_vocab.model    8 of the 32 layers, random weights; 6 GB of disk
    ... --quick                                            1 layer, to try it out; writes no result
    ... --full                                             also the full 2.6B shape: 20 GB of disk, half an hour

Engines take turns within a round; the best and the median of the rounds are kept. A share is the bytes of the
weights that a token needs, times tokens per second, over the speed at which both cores can read memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from shoestring.lm.choosing import FewShot
from shoestring.lm.conversion import convert
from shoestring.lm.engine import Engine, load
from shoestring.lm.megatron import entries, shard
from shoestring.lm.safetensors_file import Shape, Writer
from shoestring.lm.template import Template

RESULT = Path(__file__).with_name("results") / "lm.json"
HIDDEN, HEADS, POSITIONS, VOCABULARY, LAYERS = 2560, 32, 1024, 30_000, 32
PROMPT, NEW, ROUNDS = 128, 24, 5
TARGETS = ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m")
WORDS = (
    "天气", "北京", "今天", "我们", "中国", "人民", "学习", "工作", "生活", "美丽", "城市", "历史", "文化", "经济",
    "发展",
)  # fmt: skip


def build(folder: Path, layers: int, tokenizer: Path) -> Path:
    """Writes a GPT-2 folder of CPM's width with random fp16 weights, one tensor in memory at a time."""
    folder.mkdir(parents=True)
    shapes = {
        "wte.weight": (VOCABULARY, HIDDEN), "wpe.weight": (POSITIONS, HIDDEN), "ln_f.weight": (HIDDEN,),
        "ln_f.bias": (HIDDEN,),
    }  # fmt: skip
    linear = {"attn.c_attn": (1, 3), "attn.c_proj": (1, 1), "mlp.c_fc": (1, 4), "mlp.c_proj": (4, 1)}
    for layer in range(layers):
        for name, (inputs, outputs) in linear.items():
            shapes[f"h.{layer}.{name}.weight"] = (inputs * HIDDEN, outputs * HIDDEN)
            shapes[f"h.{layer}.{name}.bias"] = (outputs * HIDDEN,)
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.{part}": (HIDDEN,) for part in ("weight", "bias")}
    plan = {f"transformer.{name}": Shape(torch.float16, sizes) for name, sizes in shapes.items()}
    block = torch.randn(1 << 24).mul_(0.02).half()
    with (folder / "model.safetensors").open("wb") as file:
        writer = Writer(file, plan)
        for name, shape in plan.items():
            count = torch.Size(shape.sizes).numel()
            repeats = -(-count // len(block))
            values = block.repeat(repeats)[:count].view(shape.sizes)
            writer.write(name, values + 1 if "ln_" in name and name.endswith("weight") else values)
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_embd": HIDDEN, "n_layer": layers, "n_head": HEADS, "n_positions": POSITIONS, "vocab_size": VOCABULARY,
        "layer_norm_epsilon": 1e-5, "bos_token_id": None, "eos_token_id": 7, "pad_token_id": 5,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    from shoestring.lm.tokenizer import CpmTokenizer

    CpmTokenizer(tokenizer).save_pretrained(folder)
    return folder


def read_speed() -> float:
    """GB/s at which all threads together read memory."""
    data, best = torch.ones(1 << 27), 0.0
    for _ in range(4):
        started = time.perf_counter()
        data.sum()
        best = max(best, data.numel() * 4 / 1e9 / (time.perf_counter() - started))
    return best


class Theirs:
    """transformers' own model and cache, in bf16."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def run(self, ids: list[int]) -> tuple[float, float]:
        """Returns tokens per second of reading and of making."""
        started = time.perf_counter()
        output = self.model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        read = time.perf_counter()
        for _ in range(NEW):
            token = output.logits[:, -1:].argmax(-1)
            output = self.model(token, past_key_values=output.past_key_values, use_cache=True)
        return len(ids) / (read - started), NEW / (time.perf_counter() - read)


class Ours:
    """One of our engines."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def run(self, ids: list[int]) -> tuple[float, float]:
        """Returns tokens per second of reading and of making."""
        started = time.perf_counter()
        session = self.engine.open([ids])
        read = time.perf_counter()
        for _ in range(NEW):
            session.step([int(session.logits[0].argmax())])
        done = time.perf_counter()
        session.close()
        return len(ids) / (read - started), NEW / (done - read)


def speeds(model: Path, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Prefill and decoding of every engine, in turns."""
    engines: dict[str, Any] = {"transformers bf16": Theirs(model)}
    engines |= {
        name.replace("gguf-", "llama.cpp "): Ours(load(folder, threads=torch.get_num_threads()))
        for name, folder in folders.items()
    }
    size = {name.replace("gguf-", "llama.cpp "): weights(folder) for name, folder in folders.items()}
    size["transformers bf16"] = weights(model)
    ids = torch.randint(8, VOCABULARY, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    roofs = []
    for _ in range(rounds):
        roofs.append(read_speed())
        for name, engine in engines.items():
            found[name].append(engine.run(ids))
    roof = statistics.median(roofs)
    rows = {
        name: {
            "prefill": statistics.median(prefill for prefill, _ in runs),
            "decode": statistics.median(decode for _, decode in runs),
            "best_decode": max(decode for _, decode in runs),
            "gigabytes": size[name] / 1e9,
            "share_of_read_speed": statistics.median(decode for _, decode in runs) * size[name] / 1e9 / roof,
        }
        for name, runs in found.items()
    }
    return {"read_gigabytes_per_second": roof, "engines": rows}


def weights(folder: Path) -> int:
    """Bytes that a token reads: the file, without the positions, which are a thousandth."""
    return max(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".gguf"))


def choice(engine: Engine) -> dict[str, Any]:
    """10 candidates after 300 tokens of shots: the naive loop of whole forwards beside the shared cache."""
    shots = [
        ("".join(WORDS[k % 15] + WORDS[(k * 7 + 3) % 15] for k in range(n, n + 6)), WORDS[n % 15])
        for n in range(18)
    ]
    template = Template("words", "{input}主题：{output}")
    queries = ["北京的历史和文化很美丽", "人民的生活和工作", "城市经济发展"]
    candidates = [WORDS[n] + WORDS[n + 1] for n in range(10)]
    task = FewShot(engine, template, shots, candidates, "likelihood")
    started = time.perf_counter()
    ours = [task.choose(query).logprobs for query in queries]
    seconds = time.perf_counter() - started
    encode = engine.tokenizer.encode
    started, differences = time.perf_counter(), []
    for query, found in zip(queries, ours, strict=True):
        prompt = template.prompt(query, shots)
        scores = []
        for candidate in candidates:
            ids = encode(prompt + candidate)
            with torch.inference_mode():
                chances = engine.model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
            scores.append(
                float(chances.gather(1, torch.tensor(ids[1:])[:, None])[len(encode(prompt)) - 1 :].sum())
            )
        differences += [abs(a - b) for a, b in zip(scores, found, strict=True)]
    naive = time.perf_counter() - started
    return {
        "shot_tokens": len(encode(template.prefix(shots))), "candidates": len(candidates), "queries": len(queries),
        "naive_seconds": naive, "seconds": seconds, "times": naive / seconds, "largest_difference": max(differences),
    }  # fmt: skip


def conversion(work: Path, model: Path, layers: int) -> dict[str, Any]:
    """Two Megatron shards to a Hugging Face folder, beside copying as many bytes; memory in a process of its own."""
    from shoestring.lm.sources import FolderSource

    source, pieces = FolderSource(model), [{}, {}]
    for entry in entries(layers):
        whole = source.read(entry.hugging_face)
        for rank, piece in enumerate(shard(entry.rule, whole.t() if entry.transposed else whole, 2)):
            pieces[rank][entry.megatron] = piece.clone()
    shards = work / "shards"
    shards.mkdir()
    for rank in range(2):
        path = shards / f"mp_rank_{rank:02d}_model_states.pt"
        torch.save({"module": pieces[rank], "mp_world_size": 2}, path, _use_new_zipfile_serialization=False)
        pieces[rank] = {}
    shutil.copy(model / "chinese_vocab.model", shards)
    started = time.perf_counter()
    shutil.copytree(shards, work / "copied")
    os.sync()
    copied = time.perf_counter() - started
    program = (
        "import threading,time,re\nfrom pathlib import Path\nfrom transformers import GPT2LMHeadModel\n"
        "from shoestring.lm.conversion import convert\nimport torch\n"
        "peak=[0,0]\n"
        "def watch():\n"
        "  while True:\n"
        "    text=Path('/proc/self/status').read_text()\n"
        "    anonymous=int(re.search(r'RssAnon:\\s+(\\d+)',text)[1])\n"
        "    peak[0]=peak[0] or anonymous\n    peak[1]=max(peak[1],anonymous)\n    time.sleep(.005)\n"
        "threading.Thread(target=watch,daemon=True).start()\ntime.sleep(.1)\nstarted=time.perf_counter()\n"
        f"convert({str(shards)!r},{str(work / 'converted')!r},published=False)\n"
        "print(time.perf_counter()-started,(peak[1]-peak[0])*1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    size = weights(work / "converted")
    for name in ("shards", "copied", "converted"):
        shutil.rmtree(work / name)
    return {
        "bytes": size,
        "seconds": seconds,
        "copy_seconds": copied,
        "times_copy": copied / seconds,
        "memory_mb": memory / 1e6,
    }


def serving(folder: Path, seconds: float) -> dict[str, Any]:
    """One streaming client and then eight, against the real server."""
    import openai

    command = [
        sys.executable,
        "-m",
        "shoestring",
        "lm",
        "serve",
        str(folder),
        "--port",
        "0",
        "--threads",
        "2",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            url = next(line.split()[0] for line in running.stderr if line.startswith("http://"))
            client = openai.OpenAI(base_url=f"{url}v1", api_key="k", max_retries=0)
            rates, errors = {}, []
            for clients in (1, 8):
                counts = [0] * clients
                end = time.perf_counter() + seconds

                def ask(index: int, counts: list[int] = counts, end: float = end) -> None:
                    try:
                        while time.perf_counter() < end:
                            prompt = "今天天气" + WORDS[index] + WORDS[counts[index] % 15]
                            for _ in client.completions.create(
                                model="m", prompt=prompt, max_tokens=32, seed=index, stream=True, logprobs=1
                            ):
                                counts[index] += 1
                    except Exception as error:  # counted, not hidden
                        errors.append(repr(error))

                started = time.perf_counter()
                threads = [threading.Thread(target=ask, args=(index,)) for index in range(clients)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                rates[clients] = sum(counts) / (time.perf_counter() - started)
        finally:
            running.terminate()
    return {
        "seconds": seconds,
        "one": rates[1],
        "eight": rates[8],
        "times": rates[8] / rates[1],
        "errors": errors,
    }


def full(work: Path, tokenizer: Path) -> dict[str, Any]:
    """The full shape: speed and peak memory of loading and running, in a process for each."""
    model = build(work / "full", LAYERS, tokenizer)
    rows: dict[str, Any] = {"conversion": conversion(work, model, LAYERS)}
    for target in ("int8", "int4", "gguf-q8_0", "gguf-q4_k_m"):
        convert(model, work / target, to=target)
        program = (
            "import re,time,torch\nfrom pathlib import Path\nfrom shoestring.lm.engine import load\n"
            f"engine=load({str(work / target)!r},threads=torch.get_num_threads())\n"
            "session=engine.open([list(range(100,228))])\nstarted=time.perf_counter()\n"
            "for _ in range(24): session.step([int(session.logits[0].argmax())])\n"
            "print(24/(time.perf_counter()-started),"
            "int(re.search(r'VmHWM:\\s+(\\d+)',Path('/proc/self/status').read_text())[1])*1024)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        decode, memory = map(float, done.stdout.split())
        rows[target] = {"decode": decode, "peak_gb": memory / 1e9}
        shutil.rmtree(work / target)
        print(target, rows[target], file=sys.stderr)
    shutil.rmtree(model)
    return rows


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown"


def main() -> None:
    """Measures all and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", type=Path, help="CPM's chinese_vocab.model")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--work", type=Path, help="where to write; default: the temporary folder")
    arguments = parser.parse_args()
    if arguments.vocab is None:
        print("left out: download CPM's vocabulary and give --vocab chinese_vocab.model", file=sys.stderr)
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layers = 1 if arguments.quick else 8
    result: dict[str, Any] = {
        "load": os.getloadavg()[0], "cores": torch.get_num_threads(), "processor": processor(), "layers": layers,
        "vnni": torch.cpu._is_vnni_supported(),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "llama-cpp-python")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = Path(folder)
        model = build(work / "model", layers, arguments.vocab)

        def measured(name: str, function: Callable[[], Any]) -> None:
            result[name] = function()
            gc.collect()
            print(name, json.dumps(result[name], indent=1), file=sys.stderr)

        measured("conversion", lambda: conversion(work, model, layers))
        for target in TARGETS:
            convert(model, work / target, to=target)
        folders = {target: work / target for target in TARGETS}
        measured("speeds", lambda: speeds(model, folders, 1 if arguments.quick else ROUNDS))
        measured("choice", lambda: choice(load(model, precision="fp32", device="cpu")))
        measured("serving", lambda: serving(work / "int8", 5 if arguments.quick else 60))
        if arguments.full:
            shutil.rmtree(model)
            measured("full", lambda: full(work, arguments.vocab))
    if not arguments.quick:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
