"""What llama.cpp calls the settings and weights of GPT-2, Llama, Mistral, Qwen2 and Qwen3, in both directions.

- llama.cpp turns neighbouring pairs of numbers of a Llama's queries and keys, Hugging Face the two halves of a head:
  the rows are reordered. Its Qwen2 and Qwen3 have the halves too.
- What the file could not say, and llama.cpp would silently get wrong, is refused: other ways of scaling positions,
  windows shorter than the model's positions, other activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.sources import Source

ARCHITECTURES = {"gpt2": "gpt2", "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
Change = Callable[[torch.Tensor], torch.Tensor]
_GPT2_TOP = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
_GPT2_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_LLAMA_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LLAMA_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True)
class Placed:
    """One weight: our name, GGUF's name, its sizes there, and what is done to it."""

    name: str
    theirs: str
    sizes: tuple[int, ...]
    change: Change


def architecture(config: Mapping[str, Any], to: str) -> str:
    """Returns llama.cpp's name of a kind of model.

    Raises:
        OptionError: a kind, or a setting of it, that is not written here.
    """
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        raise OptionError(
            f"--to {to}: written for {', '.join(ARCHITECTURES)}, this is {kind}; llama.cpp's own "
            "convert_hf_to_gguf.py has the other kinds"
        )
    if kind == "gpt2":
        return kind
    rope = _rope(config)
    window = config.get("sliding_window") if config.get("use_sliding_window", kind == "mistral") else None
    for what, value, right in (
        ("rope_type", rope.get("rope_type", rope.get("type", "default")), ("default",)),
        ("hidden_act", config.get("hidden_act", "silu"), ("silu",)),
        ("sliding_window", window, (None,)),
    ):
        if value not in right and not (
            what == "sliding_window" and value >= config["max_position_embeddings"]
        ):
            raise OptionError(
                f"--to {to}: {kind} with {what} {value} is not written here; llama.cpp's own "
                "convert_hf_to_gguf.py may take it, or use --to int8"
            )
    return ARCHITECTURES[kind]


def describe(writer: Any, config: Mapping[str, Any]) -> None:
    """Writes a model's settings; the file has no vocabulary."""
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    if config["model_type"] == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(_rope(config).get("rope_theta") or config.get("rope_theta") or 10_000))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))


def placed(weights: Source) -> Iterator[Placed]:
    """Yields every weight of a model.

    Raises:
        InputError: one that such a model does not have.
    """
    gpt2 = weights.config["model_type"] == "gpt2"
    for name, shape in weights.shapes.items():
        found = _gpt2(name) if gpt2 else _llama(name, weights.config)
        if found is not None:
            theirs, change = found
            sizes = tuple(reversed(shape.sizes)) if change is torch.t else shape.sizes
            yield Placed(name, theirs, sizes, change)
        elif not name.endswith((".attn.bias", ".attn.masked_bias", "lm_head.weight", "rotary_emb.inv_freq")):
            raise InputError(f"{weights.folder}: {name} is not a weight of {weights.config['model_type']}")


def paired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Returns rows reordered so that what is turned together stands together: 0, n/2, 1, n/2 + 1, ... of each head."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def unpaired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes `paired`."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def config_from(
    values: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]], where: object
) -> dict[str, Any]:
    """Returns the config.json of a GGUF file.

    Args:
        values: its metadata.
        sizes: of its tensors, by its own names.
        where: its name, for errors.

    Raises:
        InputError: a kind of model, or a setting, that is not known here.
    """
    kind = values.get("general.architecture")
    if kind not in ARCHITECTURES.values():
        raise InputError(f"{where}: is {kind}; readable are {', '.join(sorted(set(ARCHITECTURES.values())))}")
    said = {name.removeprefix(f"{kind}."): value for name, value in values.items()}
    _require_plain(said, sizes, where)
    hidden, vocabulary = said["embedding_length"], sizes["token_embd.weight"][0]
    if kind == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocabulary, "n_embd": hidden,
            "n_layer": said["block_count"], "n_head": said["attention.head_count"],
            "n_positions": said["context_length"],
            "n_inner": said["feed_forward_length"], "layer_norm_epsilon": said["attention.layer_norm_epsilon"],
            "activation_function": "gelu_new", "tie_word_embeddings": "output.weight" not in sizes, "dtype": "float32",
        }  # fmt: skip
    heads = said["attention.head_count"]
    config = {
        "architectures": [f"{str(kind).capitalize()}ForCausalLM"],
        "model_type": kind, "vocab_size": vocabulary, "hidden_size": hidden, "num_attention_heads": heads,
        "num_key_value_heads": said.get("attention.head_count_kv", heads), "num_hidden_layers": said["block_count"],
        "intermediate_size": said["feed_forward_length"], "max_position_embeddings": said["context_length"],
        "head_dim": said.get("attention.key_length", hidden // heads), "hidden_act": "silu",
        "rms_norm_eps": said["attention.layer_norm_rms_epsilon"], "tie_word_embeddings": "output.weight" not in sizes,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(said.get("rope.freq_base", 10_000.0))},
        "dtype": "float32",
    }  # fmt: skip
    if kind != "qwen2":
        config["attention_bias"] = "blk.0.attn_q.bias" in sizes
    return config


def placed_back(
    config: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]], where: object
) -> Iterator[Placed]:
    """Yields every weight of a GGUF file, with how it becomes Hugging Face's.

    Raises:
        InputError: one that is not known here.
    """
    top, layer = (_GPT2_TOP, _GPT2_LAYER) if config["model_type"] == "gpt2" else (_LLAMA_TOP, _LLAMA_LAYER)
    ours_of_top = {theirs: ours for ours, theirs in {**top, "lm_head": "output"}.items()}
    ours_of_layer = {theirs: ours for ours, theirs in layer.items()}
    gpt2 = config["model_type"] == "gpt2"
    for theirs, size in sizes.items():
        path, _, part = theirs.rpartition(".")
        _, number, inner = path.split(".", 2) if path.startswith("blk.") else ("", "", path)
        ours = (ours_of_layer if number else ours_of_top).get(inner)
        if ours is None:
            raise InputError(
                f"{where}: {theirs} is not a weight of {config['model_type']} that is known here"
            )
        change = _changed_back(config, inner, part)
        sizes_ = tuple(reversed(size)) if change is torch.t else size
        before = (
            ("transformer.h" if gpt2 else "model.layers") + f".{number}." if number else _before(gpt2, ours)
        )
        yield Placed(f"{before}{ours}.{part}", theirs, sizes_, change)


def _before(gpt2: bool, ours: str) -> str:
    return "transformer." if gpt2 and ours != "lm_head" else ""


def _changed_back(config: Mapping[str, Any], inner: str, part: str) -> Change:
    if config["model_type"] == "gpt2":
        linear = part == "weight" and inner in _GPT2_LAYER.values() and not inner.endswith("norm")
        return torch.t if linear else _as_it_is
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(inner)
    if heads is None or config["model_type"] != "llama":
        return _as_it_is
    return lambda weight: unpaired(weight, heads)


def _require_plain(said: Mapping[str, Any], sizes: Mapping[str, Any], where: object) -> None:
    """Raises InputError for what Hugging Face's model of this configuration would not do."""
    head = said.get("attention.key_length", said["embedding_length"] // said["attention.head_count"])
    wrong = {
        "expert_count": said.get("expert_count", 0) > 0,
        "rope.scaling.type": said.get("rope.scaling.type", "none") != "none",
        "rope_freqs.weight": "rope_freqs.weight" in sizes,
        "rope.dimension_count": said.get("rope.dimension_count", head) != head,
        "attention.sliding_window": 0 < said.get("attention.sliding_window", 0) < said["context_length"],
    }
    for what, is_so in wrong.items():
        if is_so:
            raise InputError(
                f"{where}: has {what}, which is not read here; give the model's Hugging Face folder"
            )


def _gpt2(name: str) -> tuple[str, Change] | None:
    *path, part = name.removeprefix("transformer.").split(".")
    if path[0] in _GPT2_TOP:
        return f"{_GPT2_TOP[path[0]]}.{part}", _as_it_is
    theirs = _GPT2_LAYER.get(".".join(path[2:])) if path[0] == "h" else None
    if theirs is None:
        return None
    linear = not theirs.endswith("norm") and part == "weight"
    return f"blk.{path[1]}.{theirs}.{part}", torch.t if linear else _as_it_is


def _llama(name: str, config: Mapping[str, Any]) -> tuple[str, Change] | None:
    path, _, part = name.rpartition(".")
    if path == "lm_head" and config.get("tie_word_embeddings", False):
        return None
    if path in _LLAMA_TOP:
        return f"{_LLAMA_TOP[path]}.{part}", _as_it_is
    layer, _, inner = path.removeprefix("model.layers.").partition(".")
    theirs = _LLAMA_LAYER.get(inner)
    if theirs is None:
        return None
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config.get("num_key_value_heads") or config["num_attention_heads"],
    }.get(theirs)
    pairs = heads is not None and ARCHITECTURES[config["model_type"]] == "llama"
    change: Change = (lambda weight: paired(weight, heads)) if pairs and heads else _as_it_is
    return f"blk.{layer}.{theirs}.{part}", change


def _as_it_is(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}
