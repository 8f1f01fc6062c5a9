"""Growing checkpoints: exactness of every family, throughput beside `cp`, memory, time to plan.

- Exactness: `prove` on a tiny random model of each family, as every growth runs it: fp64, fp32 beside the old model's
  own rounding, and bf16 checkpoints as stored, run in fp64.
- Throughput: a synthetic bf16 Llama, hidden and feed-forward twice as wide, against `cp` of the written bytes, in
  turn; medians. Nobody waits for the disk (`cp` does not either). The projection back is timed apart.
- Plan: the command, on a file that has the shapes of a 70B model and no contents (sparse).
- Memory (`--large`, needs 30 GB of disk and minutes): peak resident size of the command that writes 20 GB, and of
  one that writes 4 GB.
- The peer (`--peer PYTHON FOLDER`): apple/ml-hypercloning in FOLDER under a Python that has transformers 4.44, which
  is the last it was seen to run on; it is run, no part of it is here.

    python benchmarks/grow.py                            -> benchmarks/results/grow.json
    python benchmarks/grow.py --peer PYTHON FOLDER       -> benchmarks/results/grow_peer.json
    python benchmarks/grow.py --large                    -> benchmarks/results/grow_memory.json
    python benchmarks/grow.py --quick                    to try it out: nothing is written
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.grow import writing
from shoestring.grow.growing import planned
from shoestring.grow.plan.request import Request
from shoestring.hub import silenced

RESULTS = Path(__file__).parent / "results"
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "max_position_embeddings": 4096, "dtype": "bfloat16",
}  # fmt: skip
TINY = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "llama": ("LlamaForCausalLM", {}, ["2x", "1.5x"]),
    "mistral": ("MistralForCausalLM", {"head_dim": 8}, ["2x", "1.5x"]),
    "qwen2": ("Qwen2ForCausalLM", {"tie_word_embeddings": True}, ["2x", "1.5x"]),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 8, "tie_word_embeddings": True}, ["2x", "1.5x"]),
    "gemma2": ("Gemma2ForCausalLM", {"head_dim": 8, "query_pre_attn_scalar": 8}, ["2x", "1.5x"]),
    "gemma3_text": ("Gemma3ForCausalLM", {"head_dim": 8, "query_pre_attn_scalar": 8}, ["2x", "1.5x"]),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64}, ["2x", "1.5x"]),
    "bert": ("BertForMaskedLM", {}, ["2x", "3x"]),
    "roberta": ("RobertaForMaskedLM", {}, ["2x", "3x"]),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4,
         "decoder_start_token_id": 0},
        ["2x", "1.5x"],
    ),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 4}, ["2x", "1.5x"]),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2, "head_dim": 8}, ["2x", "1.5x"],
    ),
}  # fmt: skip


def synthetic(folder: Path, hidden: int, layers: int, vocab: int = 32000, empty: bool = False) -> int:
    """Writes a bf16 Llama of random numbers (or of none, sparse) and returns its bytes."""
    ffn, kv = hidden * 11 // 4, hidden // 4
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(layers):
        base = f"model.layers.{layer}"
        shapes |= {f"{base}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qo"}
        shapes |= {f"{base}.self_attn.{name}_proj.weight": (kv, hidden) for name in "kv"}
        shapes |= {f"{base}.mlp.{name}_proj.weight": (ffn, hidden) for name in ("gate", "up")}
        shapes |= {f"{base}.mlp.down_proj.weight": (hidden, ffn)}
        shapes |= {f"{base}.{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    heads = hidden // 128
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "vocab_size": vocab,
        "intermediate_size": ffn,
    }
    config = {**LLAMA, **sizes, "num_attention_heads": heads, "num_key_value_heads": heads // 4}
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if empty:
            file.truncate(8 + len(text) + offset)
            return offset
        numbers = np.random.default_rng(0).standard_normal(1 << 22, np.float32) * np.float32(0.02)
        block = (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        for start in range(0, offset, len(block)):
            file.write(block[: offset - start])
    return offset


def throughput(folder: Path, hidden: int, layers: int, rounds: int) -> dict[str, Any]:
    """Times growth and `cp` in turn."""
    synthetic(folder / "small", hidden, layers)
    seconds: dict[str, list[float]] = {}
    size = 0
    for _ in range(rounds):
        for split, check in (("equal", False), ("grid", False), ("grid", True)):
            plan = planned(folder / "small", Request(hidden="2x", split=split))
            start = time.perf_counter()
            writing.write(plan, folder / "big", check=check)
            name = f"{split}, projected back" if check else split
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            size = plan.bytes
            if (split, check) == ("grid", False):
                start = time.perf_counter()
                subprocess.run(["cp", "-r", folder / "big", folder / "copy"], check=True)
                seconds.setdefault("cp", []).append(time.perf_counter() - start)
                subprocess.run(["rm", "-r", folder / "copy"], check=True)
            subprocess.run(["rm", "-r", folder / "big"], check=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "bytes": size,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "times cp": {name: round(medians["cp"] / value, 3) for name, value in medians.items()},
    }


def plan_seconds(folder: Path) -> dict[str, Any]:
    """Times `shoestring grow plan` on the shapes of a 70B model."""
    size = synthetic(folder / "sparse", 8192, 80, 128256, empty=True)
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "shoestring",
        "grow",
        "plan",
        folder / "sparse",
        "--hidden",
        "1.5x",
        "--json",
    ]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return {"bytes": size, "seconds": round(time.perf_counter() - start, 3)}


def memory(folder: Path, hidden: int, layers: int) -> dict[str, Any]:
    """Measures the peak of the whole command, proof on a small copy included, in a process of its own."""
    folder.mkdir()
    old = synthetic(folder / "large", hidden, layers)
    code = (
        "import runpy, sys; sys.argv = ['shoestring', *sys.argv[1:]]\n"
        "try: runpy.run_module('shoestring', run_name='__main__')\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "grow",
        folder / "large",
        folder / "larger",
        "--hidden",
        "2x",
        "-q",
        "--json",
    ]
    start = time.perf_counter()
    run = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    written = json.loads(run.stdout)
    shutil.rmtree(folder)
    return {
        "old bytes": old,
        "written bytes": written["bytes"][1],
        "peak MiB": round(int(run.stderr.split()[-1]) / 1024),
        "chunk MiB": writing.CHUNK >> 20,
        "seconds": round(seconds, 1),
        "worst distance": written["worst distance (roundings)"],
    }


def exactness(folder: Path) -> dict[str, Any]:
    """Runs the proof of every family on a tiny random model, in fp32 and bf16."""
    import torch

    from shoestring.grow.prove.proof import prove
    from shoestring.grow.stored.models import random_model

    found = {}
    for family, (architecture, changes, factors) in FAMILIES.items():
        config = {**TINY, **changes, "model_type": family, "architectures": [architecture]}
        for dtype in ("float32", "bfloat16"):
            model = random_model(config, 0)
            model.to(getattr(torch, dtype))
            with silenced():
                model.save_pretrained(folder / f"{family}-{dtype}")
            for factor in factors:
                proof = prove(planned(folder / f"{family}-{dtype}", Request(hidden=factor)))
                found[f"{family} {factor} {dtype}"] = {
                    "fp64": proof.relative,
                    "fp32 over noise": proof.trials[1].error / proof.trials[1].noise,
                    "stored, in fp64": proof.trials[-1].error / proof.trials[-1].scale,
                }
        print(
            family, {key: f"{value:.1e}" for key, value in found[f"{family} 2x bfloat16"].items()}, flush=True
        )
    return found


PEER = """
import json, sys, time
from unittest.mock import MagicMock
stubs = ("hf_olmo", "hf_olmo.configuration_olmo", "hf_olmo.modeling_olmo")  # one of its families wants them
sys.modules.update({name: MagicMock() for name in stubs})
sys.path.insert(0, sys.argv[1])
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from hypercloning import cloneModel
torch.manual_seed(0)
sizes = json.loads(sys.argv[2])
model = LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=256)).eval()
start = time.perf_counter()
big = cloneModel(model, embedding_dim_multiplier=2, up_project_multiplier=2)
big.save_pretrained(sys.argv[3])
seconds = time.perf_counter() - start
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
ids = torch.randint(0, 1000, (2, 17))
with torch.no_grad():
    small, large = model(ids).logits, big.eval()(ids).logits
print(json.dumps({"max difference": float((small - large).abs().max()), "scale": float(small.abs().max()),
                  "seconds": round(seconds, 2), "peak MiB": peak // 1024}))
"""


def peer(python: str, repository: str, folder: Path) -> dict[str, Any]:
    """Runs the peer and us on the same kind of Llama in fp32: two processes, each makes the model or reads it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "vocab_size": 32000, "hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16,
        "num_key_value_heads": 8, "intermediate_size": 2816,
    }  # fmt: skip
    run = subprocess.run(
        [python, "-c", PEER, repository, json.dumps(sizes), str(folder / "theirs")], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    theirs = (
        json.loads(run.stdout.splitlines()[-1])
        if run.returncode == 0
        else {"failed": run.stderr.splitlines()[-1]}
    )
    with silenced():
        LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(folder / "mine")
    code = (
        "import json, sys, time\nfrom shoestring.grow.growing import grow\n"
        "from shoestring.grow.plan.request import Request\nstart = time.perf_counter()\n"
        "report = grow(sys.argv[1], sys.argv[2], Request(hidden='2x'), verify='algebra')\n"
        "print(json.dumps({'seconds': round(time.perf_counter() - start, 2), 'bytes': report.plan.bytes, "
        "'peak MiB': int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024}))"
    )
    mine = subprocess.run(
        [sys.executable, "-c", code, str(folder / "mine"), str(folder / "grown")],
        capture_output=True,
        text=True,
        check=True,
    )
    from shoestring.grow.prove.proof import compare_whole

    whole = compare_whole(planned(folder / "mine", Request(hidden="2x")), folder / "grown")
    ours = {**json.loads(mine.stdout), "max difference": whole.error, "scale": whole.scale}
    return {"ml-hypercloning on transformers 4.44": theirs, "shoestring": ours}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "FOLDER"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.large:
            measured = {"load": os.getloadavg()[0], "smaller": memory(folder / "smaller", 4096, 2)}
            measured |= memory(folder / "larger", 4096, 13)
            save("grow_memory", measured)
            return
        if chosen.peer:
            save("grow_peer", {"load": os.getloadavg()[0], **peer(*chosen.peer, folder)})
            return
        result: dict[str, Any] = {"load": os.getloadavg()[0]}
        result["throughput"] = throughput(folder, *((1024, 4, 2) if chosen.quick else (2048, 8, 5)))
        print(result["throughput"], flush=True)
        result["plan"] = plan_seconds(folder)
        print(result["plan"], flush=True)
        if not chosen.quick:
            result["exactness"] = exactness(folder)
            save("grow", result)


def save(name: str, result: dict[str, Any]) -> None:
    print(result, flush=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
