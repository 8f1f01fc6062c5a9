"""The second proof: a small copy of the model is grown by the same code, and both are run.

- In fp64 the rules themselves are on trial: 1e-12 of the largest output is the limit for what is called exact.
- In fp32 and in the stored dtype rounding is; the small model's own rounding stands beside it.
- Stored numbers run in fp64 show what rounding to the stored dtype has cost, and nothing else.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shoestring._errors import InputError
from shoestring.grow.plan.planning import Plan, write_config
from shoestring.grow.prove.small import free_numbers, small_plan
from shoestring.grow.prove.trial import LIMIT, Proof, Trial
from shoestring.grow.stored.checkpoint import main_dtype
from shoestring.grow.stored.models import outputs, trial_ids
from shoestring.grow.writing import check_space, write


def prove(planned: Plan, own: bool = False, place: Path | None = None) -> Proof:
    """Grows a small copy of the model and compares outputs.

    Args:
        planned: the growth.
        own: the copy has the model's own weights, whatever memory that takes.
        place: a folder on a disk with room for the copies; by default the system's for what is temporary.

    Raises:
        OptionError: its own weights take more memory than is free.
        OutputError: there is no room on the disk for the copies.
        InputError: what should be exact is not; nothing has been written yet.
    """
    with tempfile.TemporaryDirectory(dir=place if own else None, prefix=".growing-") as folder:
        small, subject = small_plan(planned, Path(folder, "small"), free_numbers() if own else None)
        if own:
            check_space(8 * small.parameters, Path(folder, "grown"))
        proof = Proof(subject, tuple(trials(small, Path(folder))))
    for trial in proof.trials:
        _require_numbers(planned, trial)
    if not planned.lossy and not proof.relative <= LIMIT:
        raise InputError(
            f"{planned.checkpoint.folder}: growing {subject} changes its outputs by {proof.relative:.1e} of the "
            "largest in fp64, which should be exact; nothing was written; please report this config"
        )
    return proof


def trials(small: Plan, folder: Path) -> list[Trial]:
    """Compares a model and its growth in every dtype that matters."""
    stored = main_dtype(small.checkpoint)
    ids = trial_ids(small.old.vocab, small.request.seed)
    truth = outputs(small.checkpoint.folder, small.checkpoint.config, "float64", ids)
    scale = float(truth.abs().max())
    wide_ = _grown(small, "float64", folder, ids, "float64", truth)
    found = [Trial("fp64: the rules", _distance(wide_, truth), scale)]
    for dtype in dict.fromkeys(("float32", small.request.dtype or stored)):
        old = outputs(small.checkpoint.folder, small.checkpoint.config, dtype, ids)
        new = _grown(small, dtype, folder, ids, dtype, old)
        found.append(Trial(f"{_short(dtype)}", _distance(new, old), scale, float((old - truth).abs().max())))
    written = small.request.dtype or stored
    as_stored = _grown(small, written, folder, ids, "float64", truth)
    found.append(Trial(f"stored as {_short(written)}, run in fp64", _distance(as_stored, truth), scale))
    return found


def compare_whole(planned: Plan, draft: Path) -> Trial:
    """Loads both whole models and compares them, in the dtype that the new one is stored in."""
    dtype = planned.request.dtype or main_dtype(planned.checkpoint)
    pickled = any(stored.path.suffix == ".bin" for stored in planned.checkpoint.tensors.values())
    dtype = "float32" if dtype == "float16" or pickled else dtype  # torch.load cannot be made wide
    ids = trial_ids(planned.old.vocab, planned.request.seed)
    old = outputs(planned.checkpoint.folder, planned.checkpoint.config, dtype, ids)
    new = _aligned(planned, outputs(draft, planned.config, dtype, ids), old)
    trial = Trial(f"whole model, {_short(dtype)}", _distance(new, old), float(old.abs().max()))
    _require_numbers(planned, trial)
    return trial


def _require_numbers(planned: Plan, trial: Trial) -> None:
    if not isfinite(trial.error) or not isfinite(trial.scale) or not isfinite(trial.noise):
        raise InputError(
            f"{planned.checkpoint.folder}: in {trial.name} its outputs have NaN or infinity in them, so nothing can be "
            "proved; choose --dtype float32 or bfloat16 if it overflows in fp16, else repair the model"
        )


def _grown(small: Plan, stored: str, folder: Path, ids: Tensor, dtype: str, old: Tensor) -> Tensor:
    again = small.again(small.checkpoint, replace(small.request, dtype=stored))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        draft = Path(place, "grown")
        write(again, draft, check=False)
        write_config(draft, again.config)
        return _aligned(again, outputs(draft, again.config, dtype, ids), old)


def _aligned(planned: Plan, new: Tensor, old: Tensor) -> Tensor:
    """Takes the old ids of the vocabulary, or of hidden states one copy of each old coordinate, scaled back."""
    if new.shape[-1] == planned.hidden.size and old.shape[-1] == planned.hidden.source:
        places = np.array(
            [int(np.flatnonzero(planned.hidden.index == i)[0]) for i in range(planned.hidden.source)]
        )
        return new[..., torch.from_numpy(places)] / torch.from_numpy(planned.hidden.scale[places])
    return new[..., : old.shape[-1]]


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _short(dtype: str) -> str:
    return {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[dtype]
