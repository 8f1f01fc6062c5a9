"""A growth from folder to folder: plan, proof on a small copy, tensors, everything else of the folder, report."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from shoestring._errors import InputError, OptionError, OutputError
from shoestring._extras import require
from shoestring.grow import writing
from shoestring.grow.plan.planning import Plan, plan, refuse_lossy, write_config
from shoestring.grow.plan.request import RECIPE, Request
from shoestring.grow.plan.rules import FAMILIES
from shoestring.grow.prove.report import JSON, TEXT, Report, save
from shoestring.grow.stored.checkpoint import Checkpoint, opened
from shoestring.grow.stored.lock import alone
from shoestring.ui import UI

VERIFY = ("algebra", "logits", "blocks", "full")
WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".gguf",
    ".tflite",
)
LEFT = ("config.json", "README.md", "model.safetensors.index.json", "pytorch_model.bin.index.json", JSON, TEXT, RECIPE,
        "log.jsonl", "loss.png", "trainer_state.json", "run.json")  # fmt: skip


def planned(source: str | os.PathLike[str], request: Request) -> Plan:
    """Plans a growth; reads headers only, asks transformers what it makes of them, infers a rule where there is none.

    Raises:
        InputError: no model folder, damaged, quantised, or of an architecture that cannot be grown.
        OptionError: sizes that do not fit.
    """
    require("grow", "torch", "transformers")
    from shoestring.grow.stored.architecture import as_read

    checkpoint = as_read(opened(source))
    if checkpoint.config["model_type"] in FAMILIES:
        return plan(checkpoint, request)
    from shoestring.grow.infer.inference import infer

    return infer(checkpoint, request)


def grow(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    request: Request,
    *,
    verify: str = "logits",
    overwrite: bool = False,
    optimizer: str | os.PathLike[str] | None = None,
    ui: UI | None = None,
) -> Report:
    """Enlarges a model without changing what it computes.

    Interrupted, the same call goes on where it was.

    Args:
        source: a Hugging Face folder, with safetensors or `pytorch_model.bin`.
        target: the folder to write; on a disk with room for it.
        request: the new sizes.
        verify: `algebra` projects every tensor back; `logits` also runs small copies before anything is written;
            `blocks` runs the first blocks with their own weights, whatever memory that takes; `full` also loads and
            runs both whole models.
        overwrite: replace a folder that is there.
        optimizer: the state of Adam that belongs to the model, to be grown too, or the folder that holds it.
        ui: shows progress.

    Returns:
        What was done, with the proof; it is also in the folder.

    Raises:
        InputError: the source is not a whole model, or a proof failed.
        OptionError: sizes that do not fit, a growth that is not exact and not allowed, or too little memory for the
            proof that is asked for.
        OutputError: the target is there, is inside the source, or its disk is too small.

    >>> report = grow("small", "big", Request(hidden="2x"))  # doctest: +SKIP
    """
    ui, target = ui or UI(quiet=True), Path(os.path.realpath(target))
    if verify not in VERIFY:
        raise OptionError(f"--verify {verify}: unknown; choose one of {', '.join(VERIFY)}")
    chosen = planned(source, request)
    refuse_lossy(chosen)
    require_modules(chosen)
    _check_recipe(chosen, optimizer)
    _check_place(chosen.checkpoint, target)
    with alone(target):
        _check_target(target, overwrite)
        return _grow(chosen, target, verify, optimizer, ui)


def _grow(
    chosen: Plan, target: Path, verify: str, optimizer: str | os.PathLike[str] | None, ui: UI
) -> Report:
    moments = None
    if optimizer is not None:
        from shoestring.grow.training.optimizer import plan_optimizer

        moments = plan_optimizer(chosen, optimizer)
    draft = target.with_name(f".{target.name}.growing")
    writing.check_space(chosen.bytes + (moments.bytes if moments else 0), draft)
    proof = None
    if verify != "algebra":
        from shoestring.grow.prove.proof import prove

        ui.say("growing a small copy first, and comparing what it computes")
        proof = prove(chosen, own=verify == "blocks", place=draft.parent)
    start = time.perf_counter()
    try:
        written = writing.write(chosen, draft, ui)
        seconds = time.perf_counter() - start
        if written.resumed:
            ui.say(f"{written.resumed} of {len(chosen.growths)} tensors had been written before")
        carry_over(chosen, draft)
        if chosen.request.freeze_old:
            from shoestring.grow.training.freezing import write_recipe

            write_recipe(chosen, draft)
        if moments is not None:
            moments.write(draft, ui)
            ui.say(f"optimizer: the moments of {len(moments.growths)} parameters have grown")
        whole = None
        if verify == "full":
            from shoestring.grow.prove.proof import compare_whole

            ui.say("loading both whole models and comparing what they compute")
            whole = compare_whole(chosen, draft)
    except InputError:  # going on would fail again
        shutil.rmtree(draft, ignore_errors=True)
        raise
    report = Report(chosen, written, proof, whole, seconds)
    save(report, draft)
    writing.finish(draft)
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    return report


def carry_over(chosen: Plan, draft: Path) -> None:
    """Writes the new config and copies what is neither weights nor the record of a training run."""
    write_config(draft, chosen.config)
    folder = chosen.checkpoint.folder
    for entry in sorted(folder.iterdir()):
        if (
            entry.is_file()
            and entry.suffix not in WEIGHTS
            and entry.name not in LEFT
            and not entry.name.startswith(".")
        ):
            shutil.copy2(entry, draft / entry.name)
    for module in modules(folder):
        _copy_module(module, draft / module.name, chosen)


def modules(folder: Path) -> list[Path]:
    """Returns the folders of a sentence-transformers model's modules, such as `1_Pooling`."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name[:1].isdigit() and "_" in entry.name
    ]


def require_modules(chosen: Plan) -> None:
    """Looks whether every module of a sentence-transformers model goes with a wider model.

    Raises:
        InputError: one has weights of its own that read the hidden states.
    """
    for module in modules(chosen.checkpoint.folder):
        if any(module.glob("*.safetensors")) or any(module.glob("*.bin")):
            raise InputError(
                f"{module}: has weights of its own that read the hidden states; grow the model without it"
            )


def _copy_module(module: Path, copy: Path, chosen: Plan) -> None:
    """Copies a module of sentence-transformers, such as the pooling, which knows the width."""
    shutil.copytree(module, copy, dirs_exist_ok=True)
    path = copy / "config.json"
    if path.is_file():
        config = json.loads(path.read_text("utf-8"))
        for key in ("word_embedding_dimension", "embedding_dimension"):
            if config.get(key) == chosen.old.hidden:
                config[key] = chosen.new.hidden
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _check_recipe(chosen: Plan, optimizer: str | os.PathLike[str] | None) -> None:
    if not chosen.request.freeze_old:
        return
    if optimizer is not None:
        raise OptionError(
            "--freeze-old: what is frozen has no moments; leave --optimizer out, new blocks begin anew"
        )
    if not any(growth.inserted for growth in chosen.growths):
        raise OptionError(f"--freeze-old: --layers {chosen.request.layers} adds no block; give --layers +4")


def _check_place(checkpoint: Checkpoint, target: Path) -> None:
    source = checkpoint.folder.resolve()
    if target == source or source in target.parents:
        raise OutputError(
            f"{target}: is in the model that is grown; choose a folder outside {checkpoint.folder}"
        )
    if target in source.parents:
        raise OutputError(f"{target}: the model that is grown lies in it; choose another folder")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: the folder around it does not exist; create it first")


def _check_target(target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file; choose another name")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise OutputError(f"{target}: exists and is not empty; choose another name or pass --overwrite")
