"""What the architectures of Hugging Face call the parts of our family: one table and one config each.

- In a name `{i}` is a layer's number and `*` a weight or a bias.
- Where more than names differ, a function says so: RoFormer and Llama turn other pairs of dimensions by the same
  angles, which is a permutation of rows; RoBERTa counts positions from pad + 1, which is a table without its first
  rows; GPT-2 keeps its matrices transposed and query, key, value in one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shoestring._errors import InputError
from shoestring.transformer.model.configuration import ShoestringConfig

State = dict[str, Tensor]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Adapter:
    """How an architecture becomes one of ours.

    Args:
        prefix: begins the names of its encoder or decoder, when a head is beside it.
        names: its names -> ours.
        settings: its config -> ours, but for what the shapes say.
        before: changes its tensors before they are renamed.
        after: changes ours after that.
        decoder: it sees the left side only.
        left_out: names that hold nothing we need.
    """

    prefix: str
    names: Mapping[str, str]
    settings: Callable[[Any], Settings]
    before: Callable[[State], State] = lambda state: state
    after: Callable[[State, ShoestringConfig], State] = lambda state, config: state
    decoder: bool = False
    left_out: tuple[str, ...] = ()

    def renamed(self, tensors: Mapping[str, Tensor]) -> tuple[State, list[str]]:
        """Returns the tensors under our names, and the names that nothing is known of."""
        ours, unknown = {}, []
        for name, tensor in self.before(_modern(tensors)).items():
            bare = name.removeprefix(self.prefix)
            if (target := translated(bare, self.names)) is not None:
                ours[target] = tensor
            elif translated(bare, dict.fromkeys(self.left_out, "")) is None:
                unknown.append(name)
        return ours, unknown


def _modern(tensors: Mapping[str, Tensor]) -> State:
    """Old checkpoints call a norm's parameters as TensorFlow did."""
    return {
        re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name)): tensor
        for name, tensor in tensors.items()
    }


def translated(name: str, names: Mapping[str, str]) -> str | None:
    """Returns a name by the first pattern that it matches, in which `{i}` is a number and `*` a weight or a bias."""
    for pattern, target in names.items():
        form = re.escape(pattern).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\*", r"(?P<kind>weight|bias)")
        if found := re.fullmatch(form, name):
            parts = found.groupdict()
            return target.replace("{i}", parts.get("i") or "").replace("*", parts.get("kind") or "")
    return None


# -- BERT and its kin ----------------------------------------------------------------------------------------

ENCODER = {
    "embeddings.word_embeddings.weight": "model.embed_tokens.weight",
    "embeddings.position_embeddings.weight": "model.embed_positions.weight",
    "embeddings.token_type_embeddings.weight": "model.embed_types.weight",
    "embeddings.LayerNorm.*": "model.norm.*",
    "embeddings_project.*": "model.embed_projection.*",
    "encoder.layer.{i}.attention.self.query.*": "model.layers.{i}.attention.q_proj.*",
    "encoder.layer.{i}.attention.self.key.*": "model.layers.{i}.attention.k_proj.*",
    "encoder.layer.{i}.attention.self.value.*": "model.layers.{i}.attention.v_proj.*",
    "encoder.layer.{i}.attention.output.dense.*": "model.layers.{i}.attention.o_proj.*",
    "encoder.layer.{i}.attention.output.LayerNorm.*": "model.layers.{i}.attention_norm.*",
    "encoder.layer.{i}.intermediate.dense.*": "model.layers.{i}.feed_forward.up_proj.*",
    "encoder.layer.{i}.output.dense.*": "model.layers.{i}.feed_forward.down_proj.*",
    "encoder.layer.{i}.output.LayerNorm.*": "model.layers.{i}.feed_forward_norm.*",
    "pooler.dense.*": "model.pooler.*",
}
BERT_HEADS = {
    "cls.predictions.transform.dense.*": "transform.dense.*",
    "cls.predictions.transform.LayerNorm.*": "transform.norm.*",
    "cls.predictions.decoder.*": "lm_head.*",
    "cls.predictions.bias": "lm_head.bias",
    "classifier.*": "score.*",
    "qa_outputs.*": "qa_outputs.*",
}
ROBERTA_HEADS = {
    "lm_head.dense.*": "transform.dense.*",
    "lm_head.layer_norm.*": "transform.norm.*",
    "lm_head.decoder.*": "lm_head.*",
    "lm_head.bias": "lm_head.bias",
    "classifier.dense.*": "model.pooler.*",
    "classifier.out_proj.*": "score.*",
    "classifier.*": "score.*",
    "qa_outputs.*": "qa_outputs.*",
}
GENERAL = (
    "vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "initializer_range", "pad_token_id",
    "bos_token_id", "eos_token_id", "tie_word_embeddings",
)  # fmt: skip


def _general(config: Any) -> Settings:
    """What every config has, under the names that transformers gives all of them."""
    theirs = {"num_layers": "num_hidden_layers", "num_heads": "num_attention_heads"}
    settings = {name: getattr(config, theirs.get(name, name), None) for name in GENERAL}
    labels = {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}
    return {**settings, **labels}


def _bert(config: Any) -> Settings:
    return {
        **_general(config),
        "norm": "layer", "norm_position": "post", "norm_eps": config.layer_norm_eps,
        "position": "learned", "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "hidden_act": config.hidden_act, "gated": False, "attention_bias": True, "mlp_bias": True,
        "head_transform": True, "head_bias": True, "dropout": config.hidden_dropout_prob,
    }  # fmt: skip


def _roberta(config: Any) -> Settings:
    if config.hidden_act != "gelu":
        raise InputError(
            f"hidden_act {config.hidden_act!r}: a RoBERTa's output layer always has gelu; not converted"
        )
    first = config.pad_token_id + 1
    return {**_bert(config), "max_position_embeddings": config.max_position_embeddings - first}


def _roformer(config: Any) -> Settings:
    if config.rotary_value:
        raise InputError("rotary_value: RoFormer models that also turn the values are not converted")
    return {**_bert(config), "position": "rope"}


def _positions_from_zero(state: State, config: ShoestringConfig) -> State:
    """RoBERTa's tokens stand at pad + 1, pad + 2, ..."""
    return {
        name: tensor[-config.max_position_embeddings :] if "embed_positions" in name else tensor
        for name, tensor in state.items()
    }


def halves(state: State, config: ShoestringConfig) -> State:
    """Puts the dimension pairs (2i, 2i + 1) of queries and keys at (i, i + d/2), where our rope turns them."""
    return {
        name: _halved(tensor, config.key_size) if re.search(r"[qk]_proj", name) else tensor
        for name, tensor in state.items()
    }


def _halved(rows: Tensor, key_size: int) -> Tensor:
    """Permutes the rows of each head, (heads key_size, ...)."""
    return rows.unflatten(0, (-1, key_size // 2, 2)).transpose(1, 2).flatten(0, 2)


# -- decoders ------------------------------------------------------------------------------------------------

GPT2 = {
    "wte.weight": "model.embed_tokens.weight",
    "wpe.weight": "model.embed_positions.weight",
    "h.{i}.ln_1.*": "model.layers.{i}.attention_norm.*",
    "h.{i}.attn.q_proj.*": "model.layers.{i}.attention.q_proj.*",
    "h.{i}.attn.k_proj.*": "model.layers.{i}.attention.k_proj.*",
    "h.{i}.attn.v_proj.*": "model.layers.{i}.attention.v_proj.*",
    "h.{i}.attn.c_proj.*": "model.layers.{i}.attention.o_proj.*",
    "h.{i}.ln_2.*": "model.layers.{i}.feed_forward_norm.*",
    "h.{i}.mlp.c_fc.*": "model.layers.{i}.feed_forward.up_proj.*",
    "h.{i}.mlp.c_proj.*": "model.layers.{i}.feed_forward.down_proj.*",
    "ln_f.*": "model.norm.*",
    "lm_head.weight": "lm_head.weight",
    "classifier.*": "score.*",  # of tokens; on the way out the last name is taken
    "score.*": "score.*",
    "qa_outputs.*": "qa_outputs.*",
}
LLAMA = {
    "embed_tokens.weight": "model.embed_tokens.weight",
    "layers.{i}.input_layernorm.weight": "model.layers.{i}.attention_norm.weight",
    "layers.{i}.self_attn.q_proj.*": "model.layers.{i}.attention.q_proj.*",
    "layers.{i}.self_attn.k_proj.*": "model.layers.{i}.attention.k_proj.*",
    "layers.{i}.self_attn.v_proj.*": "model.layers.{i}.attention.v_proj.*",
    "layers.{i}.self_attn.o_proj.*": "model.layers.{i}.attention.o_proj.*",
    "layers.{i}.post_attention_layernorm.weight": "model.layers.{i}.feed_forward_norm.weight",
    "layers.{i}.mlp.gate_proj.*": "model.layers.{i}.feed_forward.gate_proj.*",
    "layers.{i}.mlp.up_proj.*": "model.layers.{i}.feed_forward.up_proj.*",
    "layers.{i}.mlp.down_proj.*": "model.layers.{i}.feed_forward.down_proj.*",
    "norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
    "score.*": "score.*",
}


def _gpt2(config: Any) -> Settings:
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        raise InputError(
            "scale_attn_*: a GPT-2 whose logits are not scaled by 1/sqrt(head size) is not converted"
        )
    return {
        **_general(config),
        "intermediate_size": config.n_inner or 4 * config.n_embd,
        "norm": "layer", "norm_position": "pre", "norm_eps": config.layer_norm_epsilon,
        "position": "learned", "max_position_embeddings": config.n_positions,
        "hidden_act": config.activation_function, "gated": False, "attention_bias": True, "mlp_bias": True,
        "dropout": config.resid_pdrop,
    }  # fmt: skip


def _untangled(state: State) -> State:
    """Transposes GPT-2's matrices and takes query, key and value apart."""
    result: State = {}
    for name, tensor in state.items():
        straight = tensor.T if re.search(r"\.c_\w+\.weight$", name) else tensor
        if ".c_attn." not in name:
            result[name] = straight
            continue
        for part, rows in zip("qkv", straight.chunk(3), strict=True):
            result[name.replace("c_attn", f"{part}_proj")] = rows
    return result


def _rope(parameters: Mapping[str, Any]) -> Settings:
    """Returns how rope's frequencies are; those that change with the text, or the logits, are refused."""
    kind, settings = parameters.get("rope_type", "default"), {"rope_theta": parameters["rope_theta"]}
    if kind not in ("default", "linear", "llama3"):
        raise InputError(f"rope_type {kind!r}: is not converted; default, linear and llama3 are")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError("partial_rotary_factor: a rope that leaves some dimensions alone is not converted")
    if kind != "default":
        settings["rope_factor"] = parameters["factor"]
    if kind == "llama3":
        names = ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
        settings["rope_bands"] = [parameters[name] for name in names]
    return settings


def _llama(config: Any) -> Settings:
    groups = config.num_key_value_heads
    return {
        **_general(config),
        **({"num_key_value_heads": groups} if groups != config.num_attention_heads else {}),
        "norm": "rms", "norm_position": "pre", "norm_eps": config.rms_norm_eps,
        "position": "rope", **_rope(config.rope_parameters),
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_act": config.hidden_act, "attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias,
        "dropout": config.attention_dropout,
    }  # fmt: skip


_BERT = {
    "names": {**ENCODER, **BERT_HEADS},
    "left_out": ("cls.seq_relationship.*", "embeddings.position_ids"),
}
_ROBERTA = Adapter(
    "roberta.",
    {**ENCODER, **ROBERTA_HEADS},
    _roberta,
    after=_positions_from_zero,
    left_out=("embeddings.position_ids",),
)
ADAPTERS = {
    "bert": Adapter("bert.", settings=_bert, **_BERT),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "roformer": Adapter(
        "roformer.",
        {**ENCODER, **BERT_HEADS},
        _roformer,
        after=halves,
        left_out=("encoder.embed_positions.weight", "cls.seq_relationship.*"),
    ),
    "gpt2": Adapter(
        "transformer.", GPT2, _gpt2, before=_untangled, decoder=True,
        left_out=("h.{i}.attn.bias", "h.{i}.attn.masked_bias"),
    ),
    "llama": Adapter(
        "model.", LLAMA, _llama, decoder=True, left_out=("layers.{i}.self_attn.rotary_emb.inv_freq",)
    ),
}  # fmt: skip


def supported() -> Iterable[str]:
    """Returns the model types that can be converted."""
    return sorted(ADAPTERS)
