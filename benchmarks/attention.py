"""Talking-heads attention beside its peers: `python benchmarks/attention.py [--quick] [--only PART]`.

- 12 heads of 64, causal, forward and backward, float32, one row. Ways take turns in one process; the least time of
  several turns counts, since whatever else the machine does can only add to it.
- Peers: the formula written out, x-transformers' `Attend` (checked to give the same numbers) and timm's CaiT layer,
  which has no mask: there a whole layer of ours without a mask stands beside it.
- Memory: how much a fresh process grows at its peak.
- Decoding: one query, 4096 cached keys. Widths: plain attention with a key wider than the value.
- Accuracy: the root mean square error of bfloat16 against float64, divided by that of torch's fused attention.
- Where there is a GPU: 8192 tokens in bfloat16.

-> results/attention.json; `--only seconds` measures one part of it again.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch.nn.functional import scaled_dot_product_attention

from shoestring.transformer import TalkingHeadsAttention, talking_heads_attention

RESULTS = Path(__file__).parent / "results" / "attention.json"
HEADS, WIDTH = 12, 64
LENGTHS = {512: 15, 1024: 7, 2048: 4, 4096: 2}  # tokens: turns
MEMORY = {
    "ours": (1024, 2048, 4096, 8192),
    "written out": (1024, 2048, 4096),
    "x-transformers": (1024, 2048, 4096),
}
CACHED = 4096
H200_BF16 = 788e12  # FLOP/s of the matrix units, measured with large products

Way = Callable[[], torch.Tensor]


def tensors(length: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Returns q, k, v and the two mixes."""
    torch.manual_seed(0)
    qkv = [torch.randn(1, HEADS, length, WIDTH, device=device, dtype=dtype) for _ in range(3)]
    mixes = [
        torch.eye(HEADS, device=device) + 0.1 * torch.randn(HEADS, HEADS, device=device) for _ in range(2)
    ]
    return [x.requires_grad_() for x in (*qkv, *mixes)]


def attention(backend: str, given: list[torch.Tensor]) -> Way:
    """Returns a call of ours."""
    q, k, v, p, w = given
    return lambda: talking_heads_attention(q, k, v, p, w, is_causal=True, backend=backend)


def x_transformers(given: list[torch.Tensor]) -> Way:
    """Returns the same computation by x-transformers, whose first mix is added to the logits."""
    from x_transformers.attend import Attend

    q, k, v, p, w = given
    attend = Attend(
        heads=HEADS,
        causal=True,
        pre_talking_heads=True,
        post_talking_heads=True,
        scale=WIDTH**-0.5,
    ).to(q.device)
    with torch.no_grad():
        attend.pre_softmax_talking_heads.weight.copy_(
            (p - torch.eye(HEADS, device=p.device)).T[:, :, None, None]
        )
        attend.post_softmax_talking_heads.weight.copy_(w.T[:, :, None, None])
    return lambda: attend(q, k, v)[0]


def cait(length: int) -> tuple[Way, Way]:
    """Returns timm's layer and ours, without a mask."""
    x = torch.randn(1, length, HEADS * WIDTH, requires_grad=True)
    theirs = timm_cait().TalkingHeadAttn(HEADS * WIDTH, num_heads=HEADS)
    ours = TalkingHeadsAttention(HEADS * WIDTH, HEADS)
    return lambda: theirs(x), lambda: ours(x)


def timm_cait() -> ModuleType:
    """Imports timm's CaiT; its attention needs nothing of torchvision, its package does."""
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError):  # absent, or built for another torch
        from unittest.mock import MagicMock

        for name in ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc", ".datasets", ".models",
                     ".models.feature_extraction", ".transforms.v2", ".transforms.v2.functional"):  # fmt: skip
            sys.modules[f"torchvision{name}"] = MagicMock()
    from timm.models import cait

    return cait


def seconds(way: Way, backward: bool = True) -> float:
    """Returns the time of one turn."""
    begin = time.perf_counter()
    out = way()
    if backward:
        out.sum().backward()
    if out.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def in_turns(ways: dict[str, Way], turns: int, backward: bool = True) -> dict[str, float]:
    """Returns the least time of each way."""
    for way in ways.values():
        seconds(way, backward)
    times = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            times[name].append(seconds(way, backward))
    return {name: min(values) for name, values in times.items()}


def speed(lengths: dict[int, int]) -> dict:
    """Times forward and backward at every length."""
    found = {}
    for length, turns in lengths.items():
        given = tensors(length)
        q, k, v, *_ = given
        ways = {
            "ours": attention("auto", given),
            "written out": attention("eager", given),
            "x-transformers": x_transformers(given),
            "plain attention": lambda q=q, k=k, v=v: scaled_dot_product_attention(q, k, v, is_causal=True),
        }
        with torch.no_grad():
            torch.testing.assert_close(ways["ours"](), ways["x-transformers"](), atol=1e-4, rtol=1e-4)
        timm, layer = cait(length)
        layers = {"timm CaiT layer, no mask": timm, "our layer, no mask": layer}
        found[str(length)] = {**in_turns(ways, turns), **in_turns(layers, turns)}
        print(
            length, {name: f"{1e3 * value:.0f} ms" for name, value in found[str(length)].items()}, flush=True
        )
    return found


def grown(way: str, length: int) -> float:
    """Returns by how many MiB this process grows in one forward and backward pass."""
    small, given = tensors(192), tensors(length)  # long enough for the same back end: libraries are loaded
    make = {
        "ours": lambda given: attention("auto", given),
        "written out": lambda given: attention("eager", given),
        "x-transformers": x_transformers,
    }[way]
    seconds(make(small))
    before = peak()
    seconds(make(given))
    return peak() - before


def peak() -> float:
    """Returns the most memory that this process has had, in MiB; `ru_maxrss` would count its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def memory() -> dict:
    """Measures each way at each length in a process of its own."""
    found: dict[str, dict[str, float]] = {}
    for way, lengths in MEMORY.items():
        for length in lengths:
            command = [sys.executable, __file__, "--grown", way, str(length)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.setdefault(way, {})[str(length)] = round(float(done.stdout), 1)
        print(way, found[way], flush=True)
    return found


@torch.no_grad()
def decode() -> dict:
    """Times one query against a cache: milliseconds."""
    q, k, v, p, w = tensors(CACHED)
    q = q[:, :, -1:]
    ways = {
        "ours": lambda: talking_heads_attention(q, k, v, p, w),
        "plain attention": lambda: scaled_dot_product_attention(q, k, v),
    }
    return {name: 1e3 * value for name, value in in_turns(ways, 300, backward=False).items()}


def widths() -> dict:
    """Times plain attention, 2048 tokens, with keys of 128 and values of 128 or 64: seconds."""
    torch.manual_seed(0)
    q, k, wide = (torch.randn(1, HEADS, 2048, 128, requires_grad=True) for _ in range(3))
    narrow = torch.randn(1, HEADS, 2048, 64, requires_grad=True)
    ways = {
        "equal": lambda: talking_heads_attention(q, k, wide, is_causal=True),
        "value narrower": lambda: talking_heads_attention(q, k, narrow, is_causal=True),
        "value narrower, torch alone": lambda: scaled_dot_product_attention(q, k, narrow, is_causal=True),
    }
    return in_turns(ways, 5)


def rms_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Returns the root mean square error, relative to the exact numbers."""
    return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@torch.no_grad()
def accuracy(length: int = 512) -> dict:
    """Compares bfloat16 with float64, logits of standard deviation 1, 4 and 16: our error, that of SDPA, ratio."""
    found = {}
    for spread in (1, 4, 16):
        q, k, v, p, w = tensors(length)
        half = [x.bfloat16() for x in (q * spread, k, v)]
        wide = [x.double() for x in half]
        exact = talking_heads_attention(*wide, p.double(), w.double(), is_causal=True, backend="eager")
        sdpa = rms_error(
            scaled_dot_product_attention(*half, is_causal=True),
            scaled_dot_product_attention(*wide, is_causal=True),
        )
        for backend in ("eager", "chunked"):
            ours = rms_error(talking_heads_attention(*half, p, w, is_causal=True, backend=backend), exact)
            found[f"{backend}, logits of {spread}"] = {"ours": ours, "SDPA": sdpa, "ratio": ours / sdpa}
    return found


def on_gpu(length: int = 8192) -> dict:
    """Measures bfloat16 on CUDA: seconds, MiB, share of the matrix rate."""
    given = tensors(length, "cuda", torch.bfloat16)
    found = {}
    for name in ("auto", "chunked", "eager"):
        way = attention(name, given)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found[name] = {"seconds": in_turns({name: way}, 5)[name]}
        found[name]["MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    products = 2 * (2 + 5) * HEADS * WIDTH * length * length / 2  # forward 2, backward 5, causal half
    found["share of the matrix rate"] = products / found["auto"]["seconds"] / H200_BF16
    return found


def summary(result: dict) -> dict:
    """Returns what was aimed at and what was reached."""
    times, mib, goals = result["seconds"], result["MiB"], {}
    for length, row in times.items():
        fastest = min(row["written out"], row["x-transformers"])
        goals[f"time / fastest peer, n={length}"] = (
            row["ours"] / fastest,
            0.75 if length == "4096" else 1.0,
        )
    if "4096" in mib["ours"]:
        goals["memory / leanest peer, n=4096"] = (
            mib["ours"]["4096"] / min(mib["written out"]["4096"], mib["x-transformers"]["4096"]),
            1 / 12,
        )
        goals["memory, n=8192 / n=4096 (linear: 2)"] = (mib["ours"]["8192"] / mib["ours"]["4096"], 2.5)
    goals["decode / plain attention"] = (
        result["decode ms"]["ours"] / result["decode ms"]["plain attention"],
        1.3,
    )
    width = result["widths seconds"]
    goals["value narrower / equal widths"] = (width["value narrower"] / width["equal"], 1.1)
    goals["rms error ours / SDPA, bfloat16, worst"] = (
        max(row["ratio"] for row in result["rms error"].values()),
        1.2,
    )
    if "gpu" in result:
        auto, eager = result["gpu"]["auto"], result["gpu"]["eager"]
        goals["GPU: time / written out"] = (auto["seconds"] / eager["seconds"], 1 / 3)
        goals["GPU: memory / written out"] = (auto["MiB"] / eager["MiB"], 1 / 20)
    return {name: {"found": found, "goal": goal} for name, (found, goal) in goals.items()}


def main() -> None:
    """Measures everything and writes the JSON."""
    if "--grown" in sys.argv:
        print(grown(sys.argv[-2], int(sys.argv[-1])))
        return
    quick = "--quick" in sys.argv
    lengths = {512: 5, 1024: 3} if quick else LENGTHS
    if quick:
        MEMORY.update({way: lengths[:1] for way, lengths in MEMORY.items()})
    parts = {
        "decode ms": decode,
        "widths seconds": widths,
        "rms error": accuracy,
        "seconds": lambda: speed(lengths),
        "MiB": memory,
    }
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    result = json.loads(RESULTS.read_text("utf-8")) if only else {}
    result |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "heads": HEADS,
        "width": WIDTH,
    }
    for name in [only] if only else parts:
        result[name] = parts[name]()
    if torch.cuda.is_available():
        result["gpu"] = on_gpu()
    result["goals"] = summary(result)
    for name, row in result["goals"].items():
        print(f"{name:40} {row['found']:6.3f}   goal {row['goal']:6.3f}   "
              f"{'reached' if row['found'] <= row['goal'] else 'MISSED'}")  # fmt: skip
    if not quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
