"""Growth by whole factors of architectures without a rule: inferred on tiny models, accepted only if it is exact."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from shoestring._errors import InputError, OptionError
from shoestring.grow.infer.deepening import deeper, silences
from shoestring.grow.infer.growths import growths_of, placed
from shoestring.grow.infer.probing import (
    ACCEPTED,
    TRIALS,
    Finding,
    Key,
    Kind,
    Probe,
    computed_from_sizes,
    keys_of,
)
from shoestring.grow.infer.tiny import FFN, MODES, head_width, number, scaled, sizes_of, tiny_configs
from shoestring.grow.plan.planning import Plan
from shoestring.grow.plan.request import Request, Sizes, amount, option
from shoestring.grow.stored.architecture import as_read, modelled, names_of, reason
from shoestring.grow.stored.checkpoint import Checkpoint, same
from shoestring.grow.stored.models import auto_config
from shoestring.grow.stored.tensor import Stored
from shoestring.grow.tensors import axes
from shoestring.grow.writing import write

FOLLOW = ("heads", "kv_heads", "ffn")  # may be asked for beside hidden, by the same factor


def infer(checkpoint: Checkpoint, request: Request) -> Plan:
    """Plans the growth of a model of any architecture that transformers knows.

    Raises:
        OptionError: something else than a whole factor of hidden is asked for.
        InputError: no candidate is exact, or the sizes of the architecture cannot be told.
    """
    kind, config = str(checkpoint.config["model_type"]), auto_config(checkpoint.config)
    try:
        known = number(config, "hidden_size") and sizes_of(config)
    except Exception as error:  # of configs whose blocks have sizes of their own
        raise InputError(
            f"{checkpoint.folder}: {kind} has no rule, and the sizes of its blocks cannot be told: {reason(error)}"
        ) from error
    if not known:
        raise InputError(
            f"{checkpoint.folder}: {kind} has no rule, and its config has no hidden_size: it is made of several models "
            "or of no blocks; grow the one in it that reads text"
        )
    if not number(config, "vocab_size") or modelled(checkpoint).main_input_name != "input_ids":
        raise InputError(
            f"{checkpoint.folder}: {kind} has no rule, and it reads no token ids, on which what is inferred is tried"
        )
    times = _times(request, kind, config)
    if request.layers is not None:
        _depth(request, config, kind)
    checkpoint, keys = _own(checkpoint)
    return _plan(checkpoint, request, find(checkpoint, keys, times, request), keys)


def find(checkpoint: Checkpoint, keys: Mapping[str, Key], times: int, request: Request) -> Finding:
    """Tries what may grow together, the most first, on tiny models, until the outputs of one agree.

    Raises:
        InputError: none that was tried is exact and that is not allowed; says how close the best was.
    """
    kind, config = str(checkpoint.config["model_type"]), auto_config(checkpoint.config)
    best, why, tried = Finding({}, float("inf")), "", []
    for mode in MODES:
        grows = scaled(config, times, mode)
        if grows in tried:
            continue
        tried.append(grows)
        for tiny in tiny_configs(checkpoint.config, checkpoint.tensors, whole=request.layers is not None):
            with tempfile.TemporaryDirectory() as folder:
                found = _tried(tiny, times, mode, Path(folder), request, kind)
            trouble = found if isinstance(found, str) else _misfit(checkpoint, request, found, keys)
            if isinstance(found, str) or trouble:
                why = why or trouble
                continue
            best = min(best, found, key=lambda each: each.error)
            break
        if best.error <= ACCEPTED or (request.allow_lossy and best.kinds):
            return best
    if not best.kinds:
        raise InputError(f"{checkpoint.folder}: {kind} has no rule, and none can be inferred: {why}")
    sized = computed_from_sizes(best, scaled(auto_config(best.config), times, best.mode))
    culprit = (
        f"its code computes {sized[0]} from its sizes and does not save it"
        if sized
        else ("something in it (such as ALiBi's slopes) depends on sizes in a way that weights cannot undo")
    )
    raise InputError(
        f"{checkpoint.folder}: {kind} has no rule, and none that was inferred is exact: the best of the trials changes "
        f"outputs by {best.error:.1e} of the largest; {culprit}; --allow-lossy takes it all the same"
    )


def _tried(
    tiny: Mapping[str, Any], times: int, mode: str, folder: Path, request: Request, kind: str
) -> Finding | str:
    """Returns the best that is found on one tiny model, or why there is none."""
    try:
        probe = Probe(tiny, times, mode, folder, request.seed)
        base = probe.base_kinds()
        if isinstance(base, str):
            return base
        return _searched(probe, base, kind, mode, request)
    except InputError:
        raise
    except Exception as error:  # whatever a model's own code raises on sizes that it does not like
        return f"no tiny model of it can be made and run: {reason(error)}"


def _searched(probe: Probe, base: dict[Key, Kind], kind: str, mode: str, wanted: Request) -> Finding:
    best = Finding(base, float("inf"), [], mode, probe.config)
    request, trial = Request(hidden=f"{probe.times}x", dtype="float64"), probe.folder / "trial"
    for kinds, words in islice(probe.candidates(base), TRIALS):
        growths = tuple(growths_of(probe.small, request, kinds, probe.keys, probe.times, probe.sizes))
        plan = Plan(
            probe.small, request, kind, Sizes(), Sizes(), growths, {}, (), (), False, axes.identity(1), infer,
        )  # fmt: skip
        shutil.rmtree(trial, ignore_errors=True)  # a trial is not to go on where another one ended
        write(plan, trial, check=False, threads=1)
        error = probe.error(trial)
        if error < best.error:
            best = replace(best, kinds=kinds, error=error, fixes=words)
        if error <= ACCEPTED:
            return _deepened(probe, replace(best, idle=probe.idle()), wanted, kind)
    return best


def _deepened(probe: Probe, finding: Finding, wanted: Request, kind: str) -> Finding:
    """Finds what makes new blocks add nothing, if there are to be any.

    Raises:
        InputError: nothing does.
    """
    if wanted.layers is None:
        return finding
    request = replace(wanted, dtype="float64")
    for silence in silences(probe.keys.values()):
        tried = replace(finding, silence=silence)
        plan = _plan(probe.small, request, tried, probe.keys)
        trial = probe.folder / "deeper"
        shutil.rmtree(trial, ignore_errors=True)
        write(plan, trial, check=False, threads=1)
        if probe.error(trial, dict(plan.config)) <= ACCEPTED:
            return tried
    raise InputError(
        f"--layers {wanted.layers}: {kind} has no rule, and no tensors were found that make a new block add "
        "nothing, as there are none with norms on the residual stream itself; grow --hidden instead"
    )


def _plan(checkpoint: Checkpoint, request: Request, finding: Finding, keys: Mapping[str, Key]) -> Plan:
    kind, config = str(checkpoint.config["model_type"]), auto_config(checkpoint.config)
    times = _times(request, kind, config)
    settings = {**checkpoint.config, **scaled(config, times, finding.mode), **_dtype(request)}
    blocks, layers = [], number(config, "num_hidden_layers")
    if request.layers is not None:
        depth, blocks = deeper(checkpoint.config, config, _depth(request, config, kind), request.place)
        settings |= depth
    old, new = _sizes(config), _sizes(auto_config(settings))
    _require_asked(request, kind, old, new)
    how = f"on a tiny {kind} (fp64, {finding.error:.0e} of the largest output)"
    exact, lossy = (f"hidden x {times}, with it {finding.mode}: inferred, and exact {how}",), ()
    if blocks:
        quiet = ", ".join(sorted(key[0].rpartition("*.")[2] for key in finding.silence))
        exact = (
            *exact[: times > 1],
            f"blocks {layers} -> {len(blocks)}: new ones add nothing yet ({quiet}): {how}",
        )
    if finding.error > ACCEPTED:
        exact, lossy = (
            (),
            (f"--hidden {request.hidden}: {kind} has no rule, and what was inferred is not exact {how}",),
        )
    exact += tuple(f"found by trial: {fix}" for fix in finding.fixes)
    if idle := [key for key in dict.fromkeys(keys.values()) if key[0] in finding.idle]:
        exact += (
            f"outputs do not depend on {', '.join(sorted({key[0] for key in idle}))}: grown by its shape alone",
        )
    growths = tuple(
        growth
        for each in growths_of(checkpoint, request, finding.kinds, keys, times, sizes_of(config))
        for growth in placed(each, keys, blocks, finding.silence)
    )
    return Plan(
        checkpoint, request, kind, old, new, growths, settings, exact, lossy,
        bool(getattr(config, "tie_word_embeddings", False)), axes.tiled(old.hidden, new.hidden),
        partial(_again, finding=finding), inferred=finding,
    )  # fmt: skip


def _again(checkpoint: Checkpoint, request: Request, finding: Finding) -> Plan:
    checkpoint, keys = _own(checkpoint)
    return _plan(checkpoint, request, finding, keys)


def _own(checkpoint: Checkpoint) -> tuple[Checkpoint, dict[str, Key]]:
    """Returns a checkpoint without what transformers does not read or has by a tie, and by what its tensors are known.

    Raises:
        InputError: two tensors that are tied differ.
    """
    names = names_of(modelled(checkpoint), checkpoint.tensors)
    kept = {name: each for name, each in checkpoint.tensors.items() if name not in names.unread}
    stored = {names.renamed[name][0]: name for name in kept}
    for target, source in names.ties.items():
        if target not in stored or source not in stored:
            continue
        if same(kept[stored[target]], kept[stored[source]]):
            del kept[stored[target]]
        elif checkpoint.config.get("tie_word_embeddings") is not False:
            return _own(replace(checkpoint, config={**checkpoint.config, "tie_word_embeddings": False}))
        else:
            raise InputError(
                f"{checkpoint.folder}: {stored[target]} and {stored[source]} are one tensor in transformers, but "
                "differ in the file; save the model again"
            )
    return replace(checkpoint, tensors=kept), keys_of({name: names.renamed[name] for name in kept})


def _misfit(checkpoint: Checkpoint, request: Request, finding: Finding, keys: Mapping[str, Key]) -> str:
    """Has transformers look at the names and shapes that would be written; returns what is wrong with them.

    What is found on a tiny model need not hold for a large one: a size may be rounded up to a multiple of 256.
    """
    if unmet := [name for name, key in keys.items() if key not in finding.kinds]:
        return f"{unmet[0]} is not in a tiny model of it"
    try:
        plan = _plan(checkpoint, request, finding, keys)
        tensors = {each.name: Stored(checkpoint.folder, each.dtype, each.shape, 0) for each in plan.growths}
        as_read(Checkpoint(checkpoint.folder, plan.config, tensors, False))
    except InputError as error:
        return str(error)
    return ""


def _depth(request: Request, config: Any, kind: str) -> int:
    """Returns how many blocks are asked for."""
    old = number(config, "num_hidden_layers")
    if getattr(config, "is_encoder_decoder", False) or not old:
        raise OptionError(
            f"--layers {request.layers}: {kind} has no rule and not one stack of blocks; give --hidden 2x"
        )
    new = amount("layers", str(request.layers), old)
    if new.denominator != 1 or new < old:
        raise OptionError(
            f"--layers {request.layers}: {kind} has {old} blocks; give a whole number above that"
        )
    return int(new)


def _times(request: Request, kind: str, config: Any) -> int:
    hidden = number(config, "hidden_size")
    others = [name for name in request.asked if name not in ("hidden", "layers", *FOLLOW)]
    if request.repeat is not None:
        raise OptionError(f"--repeat {request.repeat}: {kind} has no rule; give --layers, which is exact")
    if request.hidden is None and request.asked == ["layers"]:
        return 1
    if others or request.hidden is None:
        raise OptionError(
            f"{kind} has no rule, and what is inferred grows hidden, heads and feed-forward together, and blocks; "
            "give --hidden 2x, --layers +2 or both"
        )
    size = amount("hidden", request.hidden, hidden)
    if size % hidden or size < hidden:
        fits = [times for times in (int(size / hidden), int(size / hidden) + 1) if times > 1]
        raise OptionError(
            f"--hidden {request.hidden}: {kind} has no rule, and what is inferred grows by whole factors; "
            f"try {' or '.join(f'{times}x' for times in fits)}"
        )
    return int(size // hidden)


def _require_asked(request: Request, kind: str, old: Sizes, new: Sizes) -> None:
    for name in FOLLOW:
        text, found = getattr(request, name), getattr(new, name)
        if text is not None and amount(name, text, getattr(old, name)) != found:
            raise OptionError(
                f"{option(name)} {text}: {kind} has no rule, and what is inferred makes {found:,} of "
                f"{getattr(old, name):,} with --hidden {request.hidden}; leave {option(name)} out"
            )


def _sizes(config: Any) -> Sizes:
    heads = number(config, "num_attention_heads")
    groups = number(config, "num_key_value_heads") or number(config, "num_kv_heads") or heads
    ffn = next((number(config, name) for name in FFN if number(config, name)), 0)
    layers, width = number(config, "num_hidden_layers"), head_width(config) if heads else 0
    return Sizes(
        number(config, "hidden_size"),
        heads,
        groups,
        width,
        width,
        ffn,
        layers,
        vocab=number(config, "vocab_size"),
    )


def _dtype(request: Request) -> dict[str, str]:
    return {"dtype": request.dtype} if request.dtype else {}
