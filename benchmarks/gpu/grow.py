"""A 7B-shaped bf16 checkpoint grown 2x on local disk beside `cp`, and pre-training in tokens/s and share of the peak.

Prediction: growing writes what it reads four times over and is bound by the disk: 1.3 x the time of `cp` for the same
bytes. Pre-training does 6 operations a weight and token, at 25 % of the peak for these small widths.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from benchmarks.gpu.part import start
from benchmarks.gpu.report import Report
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from shoestring.grow import Request, grow
from shoestring.transformer import ShoestringForCausalLM, preset
from shoestring.ui import UI

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 200,
}
# 7B's width and a quarter of its layers: 4 GB, which grow to 15 and are copied; all of them would not fit the disk
WIDE = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
LENGTH, ROWS = 512, 32


def run(report: Report, data: Path) -> None:
    """Pre-trains, which needs the GPU, then grows, which needs the disk."""
    for size in ("nano",) if report.small else ("nano", "small"):
        pretrained(report, size)
    with tempfile.TemporaryDirectory() as name:
        grown(report, Path(name))


def grown(report: Report, folder: Path) -> None:
    """Writes a Llama of random weights, grows it and compares a few words of both."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with report.device:
        model = LlamaForCausalLM(LlamaConfig(**(SMALL if report.small else WIDE)))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "old", max_shard_size="2GB")
    ids = torch.arange(16, device=report.device)[None]
    with torch.no_grad():
        before = model.to(report.device)(ids).logits.float()
    del model
    begun = time.monotonic()
    grow(
        folder / "old",
        folder / "new",
        Request(hidden="2x", heads="2x", ffn="2x"),
        verify="algebra",
        ui=UI(quiet=True),
    )
    spent = time.monotonic() - begun
    written = sum(each.stat().st_size for each in (folder / "new").glob("*.safetensors"))
    begun = time.monotonic()
    copy = [
        "sh",
        "-c",
        'cp -r "$0" "$1" && sync "$1"/*',
        folder / "new",
        folder / "copy",
    ]  # ours is on disk too
    subprocess.run(copy, check=True)
    copied = time.monotonic() - begun
    report.figure("GB written", written / 1e9)
    report.figure("grow beside cp, of the same bytes", spent / copied, None if report.small else 1.3)
    shutil.rmtree(folder / "copy")
    if report.left < 10:
        return
    bigger = AutoModelForCausalLM.from_pretrained(folder / "new", dtype=torch.bfloat16).to(report.device)
    with torch.no_grad():
        after = bigger(ids).logits.float()
    apart = float((after - before).abs().max() / before.abs().max())
    report.check(
        "the grown model says the same",
        apart < 0.05,
        f"largest difference {apart:.3g} of the largest logit, in bf16",
    )


def pretrained(report: Report, size: str) -> None:
    """Times steps of a preset on random tokens, in bf16 where there is a GPU."""
    torch.manual_seed(0)
    config = preset(size, vocab_size=8192, is_decoder=True)
    model = ShoestringForCausalLM(config).to(report.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=report.device.type == "cuda")
    rows, length = (2, 32) if report.small else (ROWS, LENGTH)
    ids = torch.randint(8192, (rows, length), device=report.device)
    steps = 2 if report.small else 20

    def step() -> None:
        with torch.autocast(report.device.type, torch.bfloat16, enabled=not report.small):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for count in (2, steps):
        begun = time.monotonic()
        for _ in range(count):
            step()
        if report.device.type == "cuda":
            torch.cuda.synchronize()
        spent = time.monotonic() - begun
    rate, weights = rows * length * steps / spent, sum(each.numel() for each in model.parameters())
    predicted = 0.25 * report.flops / 6 / weights if report.flops else None
    report.figure(f"pre-training {size} ({weights / 1e6:.0f} M): tokens/s", rate, predicted)
    if report.flops:
        report.figure(f"pre-training {size}: share of the peak", 6 * weights * rate / report.flops, 0.25)


if __name__ == "__main__":
    start(run)
