"""What is asked for: new sizes, as numbers, factors or sums, and how the growth is done."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fractions import Fraction

from shoestring._errors import OptionError
from shoestring.grow.stored.dtypes import OF_TORCH
from shoestring.grow.tensors.splits import SPLITS

PLACES = ("spread", "top")
RECIPE = "freeze_old.json"  # what `freeze_old` writes


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model; 0 where it has no such thing.

    Args:
        hidden: width of the residual stream.
        heads: query heads.
        kv_heads: key-value heads.
        head_dim: width of a head's queries and keys.
        value_dim: width of a head's values.
        ffn: width of the feed-forward layer, of one expert in a mixture.
        layers: blocks (of the encoder, where there are two stacks).
        decoder_layers: blocks of the decoder, where there are two stacks.
        vocab: token ids.
        experts: experts of a mixture.
    """

    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    value_dim: int = 0
    ffn: int = 0
    layers: int = 0
    decoder_layers: int = 0
    vocab: int = 0
    experts: int = 0


@dataclass(frozen=True)
class Request:
    """A growth as its user asks for it; sizes are `1152`, `2x`, `1.5x` or `+4`.

    Args:
        hidden: heads, kv_heads and ffn follow its factor where they are not given and it fits them.
        heads: query heads.
        kv_heads: key-value heads.
        head_dim: width of a head.
        ffn: width of the feed-forward layer.
        layers: blocks.
        vocab: token ids.
        experts: experts of a mixture, a whole multiple.
        repeat: blocks such as `8-23` that run twice, as in SOLAR; not exact, instead of `layers`.
        freeze_old: write too what of the new model is new, to train that alone, as LLaMA-Pro does; with `layers`.
        place: where new blocks go: `spread` between the others, or on `top`.
        split: how copies share what the old coordinate had: `grid`, `noise` or `equal`.
        noise: for `split="noise"`, relative to the row's root mean square.
        dtype: what is written, such as `bfloat16`; None keeps the checkpoint's.
        seed: of everything random.
        allow_lossy: do what has no exact rule too, and measure the distance.

    Raises:
        OptionError: an option is unknown or out of range, or nothing is asked for.
    """

    hidden: str | None = None
    heads: str | None = None
    kv_heads: str | None = None
    head_dim: str | None = None
    ffn: str | None = None
    layers: str | None = None
    vocab: str | None = None
    experts: str | None = None
    repeat: str | None = None
    freeze_old: bool = False
    place: str = "spread"
    split: str = "grid"
    noise: float = 0.1
    dtype: str | None = None
    seed: int = 0
    allow_lossy: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("split", SPLITS), ("place", PLACES)):
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"--{name} {getattr(self, name)}: unknown; choose one of {', '.join(allowed)}"
                )
        if self.dtype is not None and self.dtype not in OF_TORCH:
            raise OptionError(f"--dtype {self.dtype}: unknown; choose one of {', '.join(OF_TORCH)}")
        if not 0 < self.noise <= 1:
            raise OptionError(f"--noise {self.noise:g}: must be above 0 and at most 1")
        for name in self.asked:
            amount(name, getattr(self, name), 1)
        if self.repeat is not None and self.layers is not None:
            raise OptionError(
                f"--repeat {self.repeat}: and --layers {self.layers} both say how many blocks; give one"
            )
        if self.freeze_old and self.layers is None:
            raise OptionError("--freeze-old: trains new blocks alone; give --layers +4 or another number too")
        if self.repeat is not None and self.repeated is None:
            raise OptionError(
                f"--repeat {self.repeat}: not blocks; type the first and the last, such as 8-23"
            )

    @property
    def repeated(self) -> tuple[int, int] | None:
        """The first and the last block that run twice."""
        match = re.fullmatch(r"(\d{1,4})-(\d{1,4})", self.repeat or "")
        first, last = (int(match[1]), int(match[2])) if match else (1, 0)
        return (first, last) if first <= last else None

    @property
    def asked(self) -> list[str]:
        """The sizes that were given."""
        return [each.name for each in fields(Sizes) if getattr(self, each.name, None) is not None]


def option(name: str) -> str:
    """Returns how the command line calls a size.

    >>> option("kv_heads")
    '--kv-heads'
    """
    return "--" + name.replace("_", "-")


def amount(name: str, text: str, base: int) -> Fraction:
    """Returns the new size that a text asks for, whole or not.

    >>> amount("hidden", "1.5x", 768), amount("layers", "+4", 12), amount("ffn", "3072", 1024)
    (Fraction(1152, 1), Fraction(16, 1), Fraction(3072, 1))

    Raises:
        OptionError: it is not an amount.
    """
    text = text.strip().lower()
    try:
        if text.endswith("x"):
            value = Fraction(text[:-1]) * base
        elif text.startswith("+"):
            value = Fraction(base + int(text[1:]))
        else:
            value = Fraction(int(text))
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise OptionError(
            f"{option(name)} {text}: not a size; type a number such as 1152, a factor such as 2x, or +4"
        )
    return value
