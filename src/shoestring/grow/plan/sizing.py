"""From the sizes of a model and what is asked for to the new sizes, or a refusal that names the nearest that fit."""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction

from shoestring._errors import OptionError
from shoestring.grow.plan.family import Description
from shoestring.grow.plan.request import Request, Sizes, amount, option
from shoestring.grow.tensors.axes import grouped_heads

LARGEST = 1 << 24  # of one size; no model is near it, and planning holds an index for each coordinate


def new_sizes(model: Description, request: Request) -> Sizes:
    """Returns the sizes that a request means for a model.

    Heads, key-value heads and the feed-forward width follow hidden where they are not given and it fits them.

    Raises:
        OptionError: a size shrinks, is not whole, does not fit the others, or the model has no such thing.
    """
    old = model.sizes
    given = {name: _given(model, name, str(getattr(request, name))) for name in request.asked}
    sizes = replace(old, **given)
    if "layers" in given and old.decoder_layers:
        sizes = replace(sizes, decoder_layers=_given(model, "decoder_layers", str(request.layers)))
    if request.repeated is not None:
        sizes = replace(sizes, layers=old.layers + _repeated(model, request, request.repeated))
    ratio = Fraction(sizes.hidden, old.hidden)
    for name, size in given.items():
        if name in model.fixed and size != getattr(old, name):
            raise OptionError(f"{option(name)} {getattr(request, name)}: {model.family}: {model.fixed[name]}")
    if ratio.denominator != 1 and "fraction" in model.fixed:
        raise OptionError(
            f"--hidden {request.hidden}: {model.family}: {model.fixed['fraction']}; "
            f"try --hidden {-(-sizes.hidden // old.hidden) * old.hidden}"
        )
    if "ffn" not in given and ratio != 1:
        sizes = replace(sizes, ffn=round(ratio * old.ffn))
    sizes = _with_heads(model, sizes, given, ratio)
    _check_groups(model, sizes)
    if model.heads_divide and sizes.hidden % sizes.heads:
        near = [count for count in range(old.heads, sizes.hidden + 1) if sizes.hidden % count == 0]
        near = sorted(near, key=lambda count: abs(count - sizes.heads))[:2]
        raise OptionError(
            f"--hidden {sizes.hidden}, --heads {sizes.heads}: transformers wants a {model.family}'s hidden size "
            f"to be a multiple of its heads; try --heads {' or '.join(map(str, near))}"
        )
    if sizes.experts % max(1, old.experts):
        raise OptionError(
            f"--experts {request.experts}: {old.experts} experts grow by whole factors; "
            f"try {sizes.experts // old.experts * old.experts + old.experts}"
        )
    return sizes


def _repeated(model: Description, request: Request, blocks: tuple[int, int]) -> int:
    """Returns how many blocks run twice."""
    first, last = blocks
    if model.sizes.decoder_layers or last >= model.sizes.layers:
        stacks = " in two stacks" if model.sizes.decoder_layers else ""
        raise OptionError(
            f"--repeat {request.repeat}: {model.family} has blocks 0 to {model.sizes.layers - 1}{stacks}; "
            + ("give --layers" if stacks else "choose among those")
        )
    return last - first + 1


def _given(model: Description, name: str, text: str) -> int:
    old = getattr(model.sizes, name)
    shown = option("layers" if name == "decoder_layers" else name)
    known = name == "decoder_layers" or name in model.keys
    if not old or not known:
        separate = [option(each) for each in asdict(model.sizes) if each in model.keys]
        raise OptionError(
            f"{shown} {text}: {model.family} has no such size of its own; it has {', '.join(separate)}"
        )
    value = amount(name, text, old)
    if value < old:
        raise OptionError(
            f"{shown} {text}: would shrink it from {old:,} to {int(value):,}; models only grow here"
        )
    if value > LARGEST:
        raise OptionError(
            f"{shown} {text}: {old:,} would become {int(value):,}; at most {LARGEST:,} is allowed"
        )
    if value.denominator != 1:
        low = int(value)
        raise OptionError(
            f"{shown} {text}: {old:,} becomes {float(value):g}, not a whole number; try {low:,} or {low + 1:,}"
        )
    return int(value)


def _with_heads(model: Description, sizes: Sizes, given: dict[str, int], ratio: Fraction) -> Sizes:
    """Lets heads follow hidden, and where head_dim is hidden / heads makes the three fit."""
    old = model.sizes
    if "heads" not in given and (ratio * old.heads).denominator == 1 and "heads" not in model.fixed:
        sizes = replace(sizes, heads=int(ratio * old.heads))
    if model.head_width_follows:
        return _equal_heads(model, sizes, given)
    if "kv_heads" not in model.keys:
        sizes = replace(sizes, kv_heads=sizes.heads)
    elif "kv_heads" not in given:
        kv = ratio * old.kv_heads
        fits = (
            kv.denominator == 1 and grouped_heads(old.heads, old.kv_heads, sizes.heads, int(kv)) is not None
        )
        sizes = replace(sizes, kv_heads=int(kv)) if fits else sizes
    if "head_dim" in given and old.value_dim == old.head_dim:
        sizes = replace(sizes, value_dim=sizes.head_dim)
    return sizes


def _equal_heads(model: Description, sizes: Sizes, given: dict[str, int]) -> Sizes:
    old, hidden = model.sizes, sizes.hidden
    if "heads" not in given and hidden % old.head_dim == 0:
        sizes = replace(sizes, heads=hidden // old.head_dim)
    width, rest = divmod(hidden, sizes.heads)
    if rest or width < old.head_dim:
        step = old.head_dim * (sizes.heads if "heads" in given else 1)
        fits = [each for each in (hidden // step * step, (hidden // step + 1) * step) if each > old.hidden]
        raise OptionError(
            f"--hidden {hidden}, --heads {sizes.heads}: {model.family} has heads of hidden / heads, and they are "
            f"{old.head_dim} wide at least; try --hidden {' or '.join(map(str, fits))}"
        )
    return replace(sizes, kv_heads=sizes.heads, head_dim=width, value_dim=width)


def _check_groups(model: Description, sizes: Sizes) -> None:
    old = model.sizes
    if model.talking is not None:
        _check_talking(model, sizes)
        return
    if grouped_heads(old.heads, old.kv_heads, sizes.heads, sizes.kv_heads) is not None:
        return
    fits = [
        count
        for count in range(old.kv_heads, sizes.heads + 1)
        if grouped_heads(old.heads, old.kv_heads, sizes.heads, count) is not None
    ]
    near = sorted(fits, key=lambda count: abs(count - sizes.kv_heads))[:3]
    advice = (
        f"--kv-heads {' or '.join(map(str, near))}"
        if near
        else f"--heads {-(-sizes.heads // old.heads) * old.heads}"
    )
    raise OptionError(
        f"--heads {sizes.heads}, --kv-heads {sizes.kv_heads}: copies of {old.kv_heads} groups of "
        f"{old.heads // old.kv_heads} query heads cannot be arranged so; try {advice}"
    )


def talking_heads(model: Description, sizes: Sizes) -> tuple[int, int, int]:
    """Returns the new numbers of key heads, softmax heads and value heads: all grow by the same factor."""
    if model.talking is None:
        return sizes.heads, sizes.heads, sizes.heads
    factor = Fraction(sizes.heads, model.sizes.heads)
    key, _, value, _ = model.talking
    return int(factor * key), sizes.heads, int(factor * value)


def _check_talking(model: Description, sizes: Sizes) -> None:
    old = model.sizes
    assert model.talking is not None
    key, _, value, _ = model.talking
    factor = Fraction(sizes.heads, old.heads)
    new_key, _, new_value = talking_heads(model, sizes)
    whole = (factor * key).denominator == 1 and (factor * value).denominator == 1
    shared = "kv_heads" in model.keys
    fits = not shared or all(
        grouped_heads(count, old.kv_heads, new, sizes.kv_heads) is not None
        for count, new in ((key, new_key), (value, new_value))
    )
    if not whole or not fits:
        times = -(-sizes.heads // old.heads)
        raise OptionError(
            f"--heads {sizes.heads}: {key} key heads, {old.heads} softmax heads and {value} value heads grow by one "
            f"factor; try --heads {times * old.heads}"
            + (f" --kv-heads {times * old.kv_heads}" if shared else "")
        )
