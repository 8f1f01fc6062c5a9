"""What one model of the family looks like: sizes, position code, norm, activation, biases.

- `key_size` is independent of `hidden_size / num_heads` and of `value_size`: with fewer than n dimensions per head
  a head cannot represent every n x n attention matrix (Bhojanapalli et al. 2020, "Low-Rank Bottleneck in Multi-head
  Attention Models").
- One config serves encoder, decoder and prefix decoder: `is_decoder` and `prefix_lm` decide.
- The settings below `dropout` are there so that BERT, RoBERTa, RoFormer, NEZHA, GPT-2 and Llama are members of the
  family (see `shoestring.transformer.checkpoints`); a model trained from scratch needs none of them.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Literal, get_args

from transformers import PreTrainedConfig

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.counts import Talking, check_counts, check_sharing

Position = Literal["rope", "learned", "sinusoidal", "relative"]
Activation = Literal["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]
Norm = Literal["rms", "layer"]
NormPosition = Literal["pre", "post"]
SWITCHES = (
    "is_decoder", "prefix_lm", "gated", "attention_bias", "mlp_bias", "head_transform", "head_bias", "pooler",
)  # fmt: skip


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
        intermediate_size: width of the feed-forward layer; by default 8/3 hidden_size, a multiple of 32, or
            4 hidden_size without a gate.
        position: `rope` (Su et al. 2021), `learned` or `sinusoidal` embeddings, or `relative` (NEZHA, Wei et al. 2019:
            fixed codes of the distance, at most 64, are added to keys and values).
        rope_theta: base of rope's frequencies.
        rope_factor: divides rope's frequencies, to reach further than the training did.
        rope_bands: [length, few, many]: that is for frequencies of few turns in `length` tokens, as in Llama 3.
        norm: `rms` or `layer`.
        norm_position: `pre` (before each sublayer, and after the last) or `post` (after each addition, as in BERT).
        max_position_embeddings: longest sequence; binding for `learned` only.
        is_decoder: causal attention.
        prefix_lm: a decoder whose source (`token_type_ids` 0) sees itself whole, as in UniLM (Dong et al. 2019).
        dropout: rate on attention weights, sublayer outputs and embeddings, in training.
        hidden_act: what bends the feed-forward layer: `silu`, `gelu`, `gelu_new` or `gelu_pytorch_tanh` (the same by
            tanh), or `relu`.
        gated: down(act(gate(x)) * up(x)), else down(act(up(x))).
        attention_bias: biases on the projections of attention.
        mlp_bias: biases in the feed-forward layer.
        type_vocab_size: token types that have an embedding, such as BERT's two segments; 0 for none.
        embedding_size: width of the embeddings, projected to hidden_size if it differs; needs head_transform.
        head_transform: a dense layer, activation and norm before the output layer, as in BERT.
        head_bias: a bias for each id in the output layer.
        pooler: a dense layer and tanh on the first token, as in BERT.
        layer_norm_cond_size: width of a vector that shifts every norm (conditional layer norm, Su 2020); 0 for none.

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
    rope_factor: float = 1.0
    rope_bands: Any = None
    norm_eps: float = 1e-6
    is_decoder: bool = False
    prefix_lm: bool = False
    dropout: float = 0.0
    hidden_act: str = "silu"
    gated: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False
    type_vocab_size: int = 0
    embedding_size: Any = None  # as the three above
    head_transform: bool = False
    head_bias: bool = False
    pooler: bool = False
    layer_norm_cond_size: int = 0
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
            gated, plain = -(-8 * self.hidden_size // 96) * 32, 4 * self.hidden_size
            self.intermediate_size = gated if self.gated else plain
        self.embedding_size = self.hidden_size if self.embedding_size is None else self.embedding_size
        for name in ("key_size", "value_size", "intermediate_size", "embedding_size"):
            _positive(name, getattr(self, name))
        for name in ("type_vocab_size", "layer_norm_cond_size"):
            _positive(name, getattr(self, name), least=0)
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} {getattr(self, name)!r}: must be true or false")
        self._check_heads()
        _one_of("position", self.position, Position)
        _one_of("norm", self.norm, Norm)
        _one_of("norm_position", self.norm_position, NormPosition)
        _one_of("hidden_act", self.hidden_act, Activation)
        self._check_that_settings_fit()
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As transformers' own; PEFT, which asks here before it chooses what LoRA adapts, is told our default."""
        constants = sys.modules.get("peft.utils.constants")
        if constants is not None:
            defaults = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
            defaults.setdefault(self.model_type, ["q_proj", "v_proj"])
        return super().to_dict()

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
        if self.position == "relative" and (
            self.talking_heads != "none" or self.num_key_value_heads is not None
        ):
            raise OptionError(
                "position 'relative': neither talking heads nor shared keys go with it; choose position=rope"
            )

    def _check_that_settings_fit(self) -> None:
        if self.position == "rope" and self.key_size % 2:
            raise OptionError(
                f"key_size {self.key_size}: rope turns pairs, so it must be even; try {self.key_size + 1}"
            )
        self._check_rope()
        if self.position == "relative" and self.key_size != self.value_size:
            raise OptionError(
                f"position 'relative' adds one code to keys and values, so key_size {self.key_size} and value_size "
                f"{self.value_size} must be equal; choose position=rope"
            )
        if self.position in ("relative", "sinusoidal") and self._code_size() % 2:
            raise OptionError(
                f"position {self.position!r}: its code has pairs, so {self._code_size()} must be even"
            )
        if self.embedding_size != self.hidden_size and not self.head_transform:
            raise OptionError(
                f"embedding_size {self.embedding_size} is not hidden_size {self.hidden_size}: the output layer needs "
                "head_transform=true to get there"
            )
        if self.layer_norm_cond_size and self.norm != "layer":
            raise OptionError("layer_norm_cond_size: a condition shifts layer norm only; set norm=layer")
        if self.prefix_lm and not self.is_decoder:
            raise OptionError("prefix_lm: a prefix decoder is a decoder; set is_decoder=true")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout {self.dropout} must be at least 0 and below 1")

    def _check_rope(self) -> None:
        if not self.rope_factor > 0:
            raise OptionError(f"rope_factor {self.rope_factor}: must be above 0")
        if self.rope_bands is None:
            return
        bands = list(self.rope_bands) if isinstance(self.rope_bands, (list, tuple)) else []
        if len(bands) != 3 or not (bands[0] > 0 and 0 < bands[1] < bands[2]):
            raise OptionError(
                f"rope_bands {self.rope_bands}: must be [length, few, many] with few below many, such as [8192, 1, 4]"
            )

    def _code_size(self) -> int:
        return self.key_size if self.position == "relative" else self.embedding_size


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


def _positive(name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} {value!r}: must be a whole number of at least {least}")


def _one_of(name: str, value: object, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise OptionError(f"{name} {value!r}: unknown; choose {' or '.join(get_args(allowed))}")
