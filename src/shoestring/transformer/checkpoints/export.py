"""The way out: a model of our family that is exactly a Llama, a GPT-2 or a BERT becomes one.

- vLLM, llama.cpp and whoever reads those take it from there.
- What theirs has no place for is refused by name; nothing is approximated. Talking heads leave only as the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from shoestring import files, hub
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.transformer.checkpoints.huggingface import (
    BERT_HEADS,
    ENCODER,
    GPT2,
    LLAMA,
    Settings,
    State,
    translated,
)
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.modeling import ShoestringModel, ShoestringPreTrainedModel

NOWHERE: Settings = {"prefix_lm": False, "layer_norm_cond_size": 0}  # none of the three has a place for these
PLAIN: Settings = {"head_transform": False, "head_bias": False, "pooler": False, "type_vocab_size": 0}
DECODER: Settings = {**NOWHERE, **PLAIN, "is_decoder": True, "norm_position": "pre"}
BIASES: Settings = {
    "attention_bias": True,
    "mlp_bias": True,
    "gated": False,
    "norm": "layer",
    "position": "learned",
}


@dataclass(frozen=True)
class Target:
    """An architecture that some of our models are.

    Args:
        required: settings of ours that it means.
        config: makes its own from ours.
        names: its names -> ours.
        prefix: begins its names where a head is beside the base model.
        heads: our class's ending -> its class.
        after: changes its tensors once they have its names.
    """

    required: Mapping[str, Any]
    config: Callable[[ShoestringConfig], Settings]
    names: Mapping[str, str]
    prefix: str
    heads: Mapping[str, str]
    after: Callable[[State], State] = lambda state: state


def export(source: str | Path, output: str | Path, to: str, overwrite: bool = False) -> float:
    """Writes a folder of ours as one of another architecture, with its tokenizer.

    Args:
        source: a folder of our family.
        output: the folder to write.
        to: `llama`, `gpt2` or `bert`.
        overwrite: replace what is there.

    Returns:
        The largest difference between the outputs of the two on random ids, in float32.

    Raises:
        InputError: no model of our family.
        OptionError: an unknown architecture, or this model is not one of it; says in what.
        OutputError: `output` is there.
    """
    source, output = hub.require_model_folder(source), Path(output)
    if not overwrite and output.exists():
        raise OutputError(f"{output}: is there already; choose another name or pass --overwrite")
    model = _loaded(source)
    theirs = exported(model, to)
    try:
        tokenizer = hub.load_tokenizer(source)
    except InputError:
        tokenizer = None
    card = hub.model_card(
        output.name, f"A shoestring Transformer as a {to}, with the same outputs.", facts={}
    )
    with files.atomic_folder(output, overwrite) as draft:
        hub.save(draft, theirs, tokenizer, card)
    return difference(model, theirs)


def exported(model: ShoestringPreTrainedModel, to: str) -> PreTrainedModel:
    """Returns the model as one of another architecture.

    Raises:
        OptionError: an unknown architecture, or this model is not one of it.
    """
    if to not in TARGETS:
        raise OptionError(f"--to {to}: unknown; choose one of {', '.join(TARGETS)}")
    target, config = TARGETS[to], model.config
    ending = type(model).__name__.removeprefix("Shoestring")
    _check(model, target, to, ending)
    made = getattr(transformers, target.heads[ending])(
        getattr(transformers, target.heads["Model"].replace("Model", "Config"))(
            **_general(config), **target.config(config)
        )
    )
    state = target.after(_renamed(model, target))
    missing, unexpected = made.to(model.dtype).load_state_dict(state, strict=False)
    tied = {*getattr(made, "all_tied_weights_keys", {})}
    left = [name for name in (*missing, *unexpected) if name not in tied and "pooler" not in name]
    if left:
        raise OptionError(f"--to {to}: {left[0]} has no counterpart; this model cannot leave so")
    made.tie_weights()
    return made.eval()


def difference(ours: ShoestringPreTrainedModel, theirs: PreTrainedModel, length: int = 24) -> float:
    """Returns the largest difference of the outputs on random ids, in float32."""
    ids = torch.randint(ours.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    ids = ids[:, : ours.config.max_position_embeddings]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = [model.float().eval()(ids, attention_mask=mask)[0] for model in (ours, theirs)]
    return (found[0] - found[1]).abs().max().item()


def _loaded(source: Path) -> ShoestringPreTrainedModel:
    from shoestring.transformer.model import heads

    with hub.silenced():
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=True)
    if not isinstance(config, ShoestringConfig):
        raise InputError(
            f"{source}: a {config.model_type}, not a model of our family; without --to it becomes one"
        )
    name = (config.architectures or ["ShoestringModel"])[0]
    if not name.startswith("Shoestring") or not hasattr(heads, name):
        raise InputError(f"{source}: its config.json names the class {name}, which is not of our family")
    with hub.silenced():
        return getattr(heads, name).from_pretrained(source, local_files_only=True).eval()


def _check(model: ShoestringPreTrainedModel, target: Target, to: str, ending: str) -> None:
    config = model.config
    wrong = [
        f"{name} {getattr(config, name)!r} (a {to}: {value!r})"
        for name, value in target.required.items()
        if getattr(config, name) != value
    ]
    if ending not in target.heads:
        wrong.append(f"its head {ending}")
    if config.embedding_size != config.hidden_size:
        wrong.append(f"embedding_size {config.embedding_size} (hidden_size is {config.hidden_size})")
    if config.key_size != config.value_size:
        wrong.append(f"key_size {config.key_size} and value_size {config.value_size} differ")
    if to != "llama" and config.key_size * config.num_heads != config.hidden_size:
        wrong.append(
            f"key_size {config.key_size} (hidden_size / num_heads is {config.hidden_size / config.num_heads:g})"
        )
    if to != "llama" and config.num_key_value_heads not in (None, config.num_heads):
        wrong.append(f"num_key_value_heads {config.num_key_value_heads}")
    if to == "bert" and ending == "ForSequenceClassification" and not config.pooler:
        wrong.append("it classifies the mean of the tokens (a bert: the pooler's output)")
    if to == "bert" and ending == "ForMaskedLM" and not config.head_transform:
        wrong.append("head_transform False (a bert: True)")
    if to == "llama" and config.hidden_size % config.num_heads:
        wrong.append(
            f"transformers takes no llama whose {config.num_heads} heads do not divide {config.hidden_size}"
        )
    wrong += _talking(model)
    if wrong:
        raise OptionError(f"--to {to}: this model is none: {'; '.join(wrong)}")


def _talking(model: ShoestringPreTrainedModel) -> list[str]:
    """Names the mixes that do something."""
    found = []
    for name, x in model.named_parameters():
        if name.endswith(("pre_mix", "post_mix")):
            still = x.shape[0] == x.shape[1] and torch.equal(
                x, torch.eye(len(x), dtype=x.dtype, device=x.device)
            )
        else:
            still = ".dynamic." not in name or not x.any()
        if not still:
            found.append(f"its heads talk ({name} is not the identity)")
    return found[:1]


def _general(config: ShoestringConfig) -> Settings:
    same = (
        "vocab_size",
        "initializer_range",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "tie_word_embeddings",
    )
    labels = {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}
    return {**{name: getattr(config, name) for name in same}, **labels}


def _llama(config: ShoestringConfig) -> Settings:
    rope: Settings = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_bands is not None:
        names = ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
        rope |= {
            "rope_type": "llama3",
            "factor": config.rope_factor,
            **dict(zip(names, config.rope_bands, strict=True)),
        }
    elif config.rope_factor != 1:
        rope |= {"rope_type": "linear", "factor": config.rope_factor}
    return {
        "hidden_size": config.hidden_size, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "num_key_value_heads": config.num_key_value_heads or config.num_heads,
        "head_dim": config.key_size, "intermediate_size": config.intermediate_size, "hidden_act": config.hidden_act,
        "rms_norm_eps": config.norm_eps, "rope_parameters": rope, "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias, "attention_dropout": config.dropout,
        "max_position_embeddings": config.max_position_embeddings,
    }  # fmt: skip


def _gpt2(config: ShoestringConfig) -> Settings:
    return {
        "n_embd": config.hidden_size, "n_layer": config.num_layers, "n_head": config.num_heads,
        "n_inner": config.intermediate_size, "n_positions": config.max_position_embeddings,
        "activation_function": config.hidden_act, "layer_norm_epsilon": config.norm_eps,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
    }  # fmt: skip


def _bert(config: ShoestringConfig) -> Settings:
    return {
        "hidden_size": config.hidden_size, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "intermediate_size": config.intermediate_size,
        "hidden_act": config.hidden_act, "layer_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_position_embeddings, "type_vocab_size": max(config.type_vocab_size, 1),
        "hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout,
    }  # fmt: skip


def _renamed(model: ShoestringPreTrainedModel, target: Target) -> State:
    """Returns the tensors under their names; mixes, which are the identity, stay behind."""
    bare = isinstance(model, ShoestringModel)
    names = {ours: theirs for theirs, ours in target.names.items()}
    state: State = {}
    for name, tensor in model.state_dict().items():
        ours = f"model.{name}" if bare else name
        if "_mix" in ours or ".dynamic." in ours:
            continue
        theirs = translated(ours, names)
        if theirs is None:
            raise OptionError(f"{name}: has no counterpart there; this model cannot leave so")
        prefix = target.prefix if ours.startswith("model.") and not bare else ""
        state[prefix + theirs] = tensor
    return state


def _tangled(state: State) -> State:
    """Transposes what GPT-2 keeps transposed and puts query, key and value into one."""
    result: State = {}
    for name, tensor in state.items():
        if ".q_proj." in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            result[name.replace("q_proj", "c_attn")] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            result[name] = tensor
    return {
        name: tensor.T.contiguous() if ".c_" in name and name.endswith("weight") else tensor
        for name, tensor in result.items()
    }


def _completed(state: State) -> State:
    """Gives a BERT what it always has: a token type, which may add nothing, and one name for the output's biases."""
    words = next(name for name in state if name.endswith("word_embeddings.weight"))
    types = words.replace("word_embeddings", "token_type_embeddings")
    if types not in state:
        state[types] = state[words].new_zeros(1, state[words].shape[1])
    if "cls.predictions.decoder.weight" in state:
        none = state[words].new_zeros(len(state[words]))
        biases = state.setdefault("cls.predictions.decoder.bias", none)
        state["cls.predictions.bias"] = biases
    return state


LANGUAGE = {"Model": "{}Model", "ForSequenceClassification": "{}ForSequenceClassification",
            "ForTokenClassification": "{}ForTokenClassification"}  # fmt: skip


def _classes(name: str, **more: str) -> dict[str, str]:
    return {ours: theirs.format(name) for ours, theirs in {**LANGUAGE, **more}.items()}


TARGETS = {
    "llama": Target(
        {**DECODER, "position": "rope", "norm": "rms", "gated": True},
        _llama, LLAMA, "model.",
        {name: kind for name, kind in _classes("Llama", ForCausalLM="{}ForCausalLM").items() if "Token" not in name},
    ),
    "gpt2": Target(
        {**DECODER, **BIASES}, _gpt2, GPT2, "transformer.",
        {name: kind for name, kind in _classes("GPT2", ForCausalLM="{}LMHeadModel").items() if "Token" not in name},
        _tangled,
    ),
    "bert": Target(
        {**NOWHERE, **BIASES, "is_decoder": False, "norm_position": "post"},
        _bert, {**ENCODER, **BERT_HEADS}, "bert.",
        _classes("Bert", ForMaskedLM="{}ForMaskedLM", ForQuestionAnswering="{}ForQuestionAnswering"), _completed,
    ),
}  # fmt: skip
