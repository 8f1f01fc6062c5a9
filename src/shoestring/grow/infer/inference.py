"""Growth by whole factors of architectures without a rule: inferred on tiny models, accepted only if it is exact."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.grow.plan.planning import Plan, as_matrix
from shoestring.grow.plan.request import Request, Sizes, amount
from shoestring.grow.stored.checkpoint import Checkpoint
from shoestring.grow.stored.dtypes import OF_TORCH, STORAGE
from shoestring.grow.tensors import axes
from shoestring.grow.tensors.axes import Axis
from shoestring.grow.tensors.rows import Growth
from shoestring.grow.tensors.sides import side
from shoestring.grow.writing import write

if TYPE_CHECKING:
    from shoestring.grow.infer.probing import Finding, Probe


def infer(checkpoint: Checkpoint, request: Request) -> Plan:
    """Plans the growth of a model of any architecture that transformers knows.

    Raises:
        OptionError: something else than a whole factor of hidden is asked for.
        InputError: transformers does not know the architecture, or no candidate is exact.
    """
    require("grow", "torch", "transformers")
    from shoestring.grow.infer.probing import Probe, auto_config

    kind = str(checkpoint.config["model_type"])
    try:
        config = auto_config(checkpoint.config)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{checkpoint.folder}: transformers knows no architecture {kind!r}; nothing can be inferred"
        ) from error
    times = _times(request, kind, config.hidden_size)
    with tempfile.TemporaryDirectory() as folder:
        try:
            probe = Probe(checkpoint.config, times, Path(folder), request.seed)
        except Exception as error:  # whatever a model's own code raises on sizes that it does not like
            raise InputError(
                f"{checkpoint.folder}: {kind}: no tiny model of it can be made: {str(error).splitlines()[0]}"
            ) from error
        finding = search(probe, kind, Path(folder), request.allow_lossy)
    return _plan(checkpoint, request, finding)


def _plan(checkpoint: Checkpoint, request: Request, finding: Finding) -> Plan:
    from shoestring.grow.infer.probing import ACCEPTED, auto_config, scaled

    kind, config = str(checkpoint.config["model_type"]), auto_config(checkpoint.config)
    times = _times(request, kind, config.hidden_size)
    how = f"on a tiny {kind} (fp64, {finding.error:.0e} of the largest output)"
    trials = [f"found by trial: {fix}" for fix in finding.fixes]
    exact = finding.error <= ACCEPTED
    old, new = (_sizes(config, factor) for factor in (1, times))
    return Plan(
        checkpoint, request, kind, old, new, tuple(_growths(checkpoint, request, finding.kinds, times, config)),
        {**checkpoint.config, **scaled(config, times), **_dtype(request)},
        (f"hidden, heads and feed-forward x {times}: inferred, and exact {how}", *trials) if exact else (),
        () if exact else (f"--hidden {request.hidden}: {kind} has no rule, and what was inferred is not exact {how}",),
        bool(config.tie_word_embeddings), axes.tiled(old.hidden, new.hidden), partial(_plan, finding=finding),
        inferred=True,
    )  # fmt: skip


def search(probe: Probe, kind: str, folder: Path, lossy: bool = False) -> Finding:
    """Tries what the tensors of an architecture may do until the outputs agree.

    Raises:
        InputError: nothing that was tried is exact and that is not allowed; says how close the best was.
    """
    from shoestring.grow.infer.probing import ACCEPTED, TRIALS, Finding

    base = probe.base_kinds()
    if isinstance(base, str):
        raise InputError(f"{kind} has no rule, and none can be inferred: {base}")
    best = Finding({}, float("inf"))
    request = Request(hidden=f"{probe.times}x", dtype="float64")
    for kinds, words in islice(probe.candidates(base), TRIALS):
        draft = folder / "trial"
        growths = tuple(_growths(probe.small, request, kinds, probe.times, None, probe.sizes))
        trial = Plan(
            probe.small, request, kind, Sizes(), Sizes(), growths, {}, (), (), False, axes.identity(1), infer,
        )  # fmt: skip
        shutil.rmtree(draft, ignore_errors=True)  # a trial is not to go on where another one ended
        write(trial, draft, check=False, threads=1)
        error = probe.error(draft)
        if error < best.error:
            best = Finding(kinds, error, words)
        if error <= ACCEPTED:
            return best
    if lossy:
        return best
    raise InputError(
        f"{kind} has no rule, and none that was inferred is exact: the best of the trials changes outputs by "
        f"{best.error:.1e} of the largest; something in it (such as ALiBi's slopes) depends on sizes in a way that "
        "weights cannot undo; --allow-lossy takes it all the same"
    )


def _times(request: Request, kind: str, hidden: int) -> int:
    others = [name for name in request.asked if name != "hidden"]
    if others or request.hidden is None:
        raise OptionError(
            f"{kind} has no rule, and what is inferred grows hidden, heads and feed-forward together; "
            "give --hidden 2x alone"
        )
    size = amount("hidden", request.hidden, hidden)
    if size % hidden or size < hidden:
        fits = [times for times in (int(size / hidden), int(size / hidden) + 1) if times > 1]
        raise OptionError(
            f"--hidden {request.hidden}: {kind} has no rule, and what is inferred grows by whole factors; "
            f"try {' or '.join(f'{times}x' for times in fits)}"
        )
    return int(size // hidden)


def _growths(
    checkpoint: Checkpoint,
    request: Request,
    kinds: Mapping[str, Any],
    times: int,
    config: Any,
    sizes: Mapping[str, int] | None = None,
) -> Iterator[Growth]:
    from shoestring.grow.infer.probing import signature, sizes_of

    sizes = sizes or sizes_of(config)
    final = _last_blocks(checkpoint)
    for name, stored in checkpoint.tensors.items():
        kind = kinds.get(signature(name))
        if kind is None or len(kind.grows) != len(stored.shape):
            raise InputError(
                f"{stored.path}: {name} was not met when {checkpoint.config['model_type']} was inferred"
            )
        dtype = stored.dtype
        if request.dtype and dtype in STORAGE:
            dtype = OF_TORCH[request.dtype]
        applies = not kind.last or name in final
        sides = []
        for dimension, (extent, grows) in enumerate(zip(stored.shape, kind.grows, strict=True)):
            fused = kind.parts if dimension != kind.reads and grows else ("all",)
            axis = _axis(extent, times if grows else 1, fused, sizes)
            extra = kind.factor if applies and dimension == len(stored.shape) - 1 else 1.0
            sides.append(side(axis, "read" if dimension == kind.reads else "write", extra))
        yield Growth(
            name, name, stored.shape, tuple(each.size for each in sides), dtype, *as_matrix(sides),
            shift=kind.shift if applies else 0.0, seed=request.seed, split=request.split, noise=request.noise,
        )  # fmt: skip


def _axis(extent: int, times: int, parts: tuple[str, ...], sizes: Mapping[str, int]) -> Axis:
    if len(parts) == 1:
        return axes.tiled(extent, extent * times)
    return axes.joined([axes.tiled(sizes[part], sizes[part] * times) for part in parts])


def _last_blocks(checkpoint: Checkpoint) -> set[str]:
    """Returns the names that belong to the last block of their stack."""
    last: dict[str, int] = {}
    pattern = re.compile(r"^(.*?\.)(\d+)\.")
    for name in checkpoint.tensors:
        if match := pattern.match(name):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    return {name for name in checkpoint.tensors if (m := pattern.match(name)) and int(m[2]) == last[m[1]]}


def _sizes(config: Any, times: int) -> Sizes:
    from shoestring.grow.infer.probing import FFN

    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    ffn = next((getattr(config, name) for name in FFN if isinstance(getattr(config, name, None), int)), 0)
    base = Sizes(layers=config.num_hidden_layers, vocab=config.vocab_size, head_dim=width, value_dim=width)
    return replace(
        base, hidden=config.hidden_size * times, heads=heads * times, kv_heads=groups * times, ffn=ffn * times
    )


def _dtype(request: Request) -> dict[str, str]:
    return {"dtype": request.dtype} if request.dtype else {}
