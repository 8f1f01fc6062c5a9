"""A decoder of 2.6 billion random weights in bf16: one client, sixteen, the prompt, beside transformers' generate.

Prediction: a step reads every weight once, so one client gets 60 % of bandwidth / bytes; sixteen get sixteen times
that, since the weights are read once for all; a prompt takes 2 operations a weight and token, at 50 % of the peak.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from shoestring.lm import load

SHAPE = {"n_embd": 2560, "n_layer": 32, "n_head": 32, "n_positions": 1024, "vocab_size": 30_000}
SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "vocab_size": 300}
PROMPT, NEW = 32, 64
ROUNDING = 0.15  # of a logit, by which bf16 may choose another of two that are alike


def run(report: Report, data: Path) -> None:
    """Times both on the same weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = model(Path(name), report.small)
        precision = "fp32" if report.small else "bf16"
        engine = load(folder, precision=precision, device=report.device.type)
        weights = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
        words = list(range(10, 10 + (8 if report.small else PROMPT)))
        new = 4 if report.small else NEW
        per_second = 0.6 * report.bandwidth / weights if report.bandwidth else None
        ours = None
        for clients in (1, 16):
            session = engine.open([words] * clients)
            spent, tokens = steps(session, new, report)
            ours = tokens if clients == 1 else ours
            predicted = per_second * clients if per_second else None
            report.figure(f"ours, {clients} clients: tokens/s", clients * new / spent, predicted)
            if report.bandwidth and clients == 1:
                share = weights * new / spent / report.bandwidth
                report.figure("ours, 1 client: share of the memory's bandwidth", share, 0.6)
            session.close()
        long = [7 + each % 200 for each in range(100 if report.small else 900)]
        engine.open([long]).close()  # loads the kernels of such a size
        synchronize(report)
        begun = time.perf_counter()
        engine.open([long]).close()
        synchronize(report)
        rate = len(long) / (time.perf_counter() - begun)
        report.figure("ours, prompt: tokens/s", rate, 0.5 * report.flops / weights if report.flops else None)
        theirs(report, folder, words, new, ours)


def model(folder: Path, small: bool) -> Path:
    """Writes a GPT-2 with random weights, and a tokenizer of as many ids."""
    torch.manual_seed(0)
    config = GPT2Config(**(SMALL if small else SHAPE), bos_token_id=None, eos_token_id=7, pad_token_id=5)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cpu" if small else "cuda"):
        made = GPT2LMHeadModel(config)
    torch.set_default_dtype(torch.float32)
    made.save_pretrained(folder)
    from tokenizers import Tokenizer, models

    words = {f"w{at}": at for at in range(config.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        unk_token="w0",
        pad_token="w5",
        eos_token="w7",
    )
    tokenizer.save_pretrained(folder)
    return folder


def steps(session, count: int, report: Report) -> tuple[float, list[int]]:
    """Takes greedy steps and returns the seconds and the first row's tokens."""
    tokens = []
    next_ = session.logits.argmax(-1).tolist()
    session.step(next_)
    synchronize(report)
    begun = time.perf_counter()
    tokens.append(next_[0])
    for _ in range(count):
        next_ = session.logits.argmax(-1).tolist()
        tokens.append(next_[0])
        session.step(next_)
    synchronize(report)
    return time.perf_counter() - begun, tokens


def theirs(report: Report, folder: Path, words: list[int], new: int, ours: list[int] | None) -> None:
    """Times transformers' generate and compares the tokens."""
    dtype = torch.float32 if report.small else torch.bfloat16
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(report.device).eval()
    for clients in (1, 16):
        ids = torch.tensor([words] * clients, device=report.device)
        settings = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, "pad_token_id": 5}
        peer.generate(ids, **{**settings, "min_new_tokens": 4, "max_new_tokens": 4})
        synchronize(report)
        begun = time.perf_counter()
        peer.generate(ids, **settings)
        synchronize(report)
        report.figure(
            f"transformers, {clients} clients: tokens/s", clients * new / (time.perf_counter() - begun)
        )
        if clients == 1 and ours is not None:
            agreed(report, peer, words, ours)


def agreed(report: Report, peer: torch.nn.Module, words: list[int], ours: list[int]) -> None:
    """Checks that each of our tokens is, but for rounding, transformers' most likely one after those before it."""
    with torch.no_grad():
        logits = (
            peer(torch.tensor([words + ours], device=report.device)).logits[0, len(words) - 1 : -1].float()
        )
    taken = logits.gather(-1, torch.tensor(ours, device=report.device)[:, None])[:, 0]
    behind = float((logits.amax(-1) - taken).max())
    report.check("greedy tokens are transformers'", behind <= ROUNDING, f"{behind:.3g} behind its best logit")


def synchronize(report: Report) -> None:
    """Waits for the device."""
    if report.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    start(run)
