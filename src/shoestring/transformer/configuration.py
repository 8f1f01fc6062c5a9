"""What one model of the family looks like: sizes, position code, norm.

- `key_size` is independent of `hidden_size / num_heads` and of `value_size`: with fewer than n dimensions per head
  a head cannot represent every n x n attention matrix (Bhojanapalli et al. 2020, "Low-Rank Bottleneck in Multi-head
  Attention Models").
- One config serves encoder and decoder: `is_decoder` decides.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import PreTrainedConfig

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.counts import Talking, check_counts, check_sharing

Position = Literal["rope", "learned"]
Norm = Literal["rms", "layer"]
NormPosition = Literal["pre", "post"]


class ShoestringConfig(PreTrainedConfig):
    """Sizes and choices of a shoestring Transformer.

    Args:
        vocab_size: number of token ids.
        hidden_size: width of the residual stream.
        num_layers: number of blocks (`num_hidden_layers` is the same attribute).
        num_heads: attention heads per block (`num_attention_heads` is the same attribute).
        num_key_heads: heads of queries and keys, before the softmax; by default num_heads.
        num_value_heads: heads of values, after the softmax; by default num_heads.
        num_key_value_heads: keys and values that groups of heads share; by default each has its own.
        talking_heads: mix the heads `pre` (before the softmax), `post` (after it), `both` or `none`
            (Shazeer et al. 2020).
        dynamic_talking_heads: let each query and key add to the mixes.
        key_size: width of one head's queries and keys; by default hidden_size / num_heads.
        value_size: width of one head's values; by default hidden_size / num_heads.
        intermediate_size: width of the gated feed-forward layer; by default 8/3 hidden_size, a multiple of 32.
        position: `rope` (Su et al. 2021) or `learned` embeddings.
        norm: `rms` or `layer`.
        norm_position: `pre` (before each sublayer, and after the last) or `post` (after each addition, as in BERT).
        max_position_embeddings: longest sequence; binding for `learned` only.
        is_decoder: causal attention.
        dropout: rate on attention weights, sublayer outputs and embeddings, in training.

    Raises:
        OptionError: a size is not a positive integer, the sizes do not fit, or a choice is unknown.
    """

    model_type = "shoestring"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "head_dim": "key_size",
    }

    vocab_size: int = 8192
    hidden_size: int = 128
    num_layers: int = 4
    num_heads: int = 4
    num_key_heads: Any = None
    num_value_heads: Any = None
    num_key_value_heads: int | None = None
    talking_heads: str = "none"
    dynamic_talking_heads: bool = False
    key_size: Any = None  # these three are int once __post_init__ has derived what was left open
    value_size: Any = None
    intermediate_size: Any = None
    position: str = "rope"
    norm: str = "rms"
    norm_position: str = "pre"
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    is_decoder: bool = False
    dropout: float = 0.0
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2

    def __post_init__(self, **kwargs: Any) -> None:
        """Derives the sizes that were left open and validates all."""
        for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "max_position_embeddings"):
            _positive(name, getattr(self, name))
        if self.hidden_size % self.num_heads and None in (self.key_size, self.value_size):
            raise OptionError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}; "
                "give key_size and value_size, or sizes that divide"
            )
        self.key_size = self.hidden_size // self.num_heads if self.key_size is None else self.key_size
        self.value_size = self.hidden_size // self.num_heads if self.value_size is None else self.value_size
        if self.intermediate_size is None:
            self.intermediate_size = -(-8 * self.hidden_size // 96) * 32
        for name in ("key_size", "value_size", "intermediate_size"):
            _positive(name, getattr(self, name))
        self._check_heads()
        _one_of("position", self.position, Position)
        _one_of("norm", self.norm, Norm)
        _one_of("norm_position", self.norm_position, NormPosition)
        if self.position == "rope" and self.key_size % 2:
            raise OptionError(
                f"key_size {self.key_size}: rope turns pairs, so it must be even; try {self.key_size + 1}"
            )
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout {self.dropout} must be at least 0 and below 1")
        super().__post_init__(**kwargs)

    def _check_heads(self) -> None:
        self.num_key_heads = self.num_heads if self.num_key_heads is None else self.num_key_heads
        self.num_value_heads = self.num_heads if self.num_value_heads is None else self.num_value_heads
        for name in ("num_key_heads", "num_value_heads"):
            _positive(name, getattr(self, name))
        _one_of("talking_heads", self.talking_heads, Talking)
        check_counts(
            (self.num_key_heads, self.num_heads, self.num_value_heads),
            self.talking_heads,
            self.dynamic_talking_heads,
        )
        if self.num_key_value_heads is not None:
            _positive("num_key_value_heads", self.num_key_value_heads)
        check_sharing(self.num_key_value_heads, self.num_key_heads, self.num_value_heads)


# --size: nobody has to know the flags.
PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"hidden_size": 128, "num_layers": 4, "num_heads": 4},
    "tiny": {"hidden_size": 256, "num_layers": 6, "num_heads": 4},
    "small": {"hidden_size": 512, "num_layers": 8, "num_heads": 8},
    "base": {"hidden_size": 768, "num_layers": 12, "num_heads": 12},
}
LEARNING_RATES = {"nano": 3e-3, "tiny": 2e-3, "small": 1e-3, "base": 6e-4}


def preset(size: str, **overrides: Any) -> ShoestringConfig:
    """Returns the config of a named size.

    >>> preset("nano", key_size=64).key_size
    64

    Raises:
        OptionError: the size or an override is unknown.
    """
    if size not in PRESETS:
        raise OptionError(f"--size {size}: unknown; choose one of {', '.join(PRESETS)}")
    known = ShoestringConfig().to_dict()
    if unknown := [name for name in overrides if name not in known]:
        choices = [name for name in ShoestringConfig.__annotations__ if name in known]
        raise OptionError(f"{unknown[0]}: no such setting of a model; choose one of {', '.join(choices)}")
    return ShoestringConfig(**{**PRESETS[size], **overrides})


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{name} {value!r}: must be a whole number of at least 1")


def _one_of(name: str, value: object, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise OptionError(f"{name} {value!r}: unknown; choose {' or '.join(get_args(allowed))}")
