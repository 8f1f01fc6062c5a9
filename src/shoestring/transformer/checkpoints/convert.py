"""A checkpoint of the field in, a model of our family out: `convert` and `from_checkpoint`.

- Logits are the same to rounding: `largest_difference` runs both models and tells.
- Nothing is guessed: a tensor that is missing is an error, one that is not understood is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from shoestring import files, hub
from shoestring._errors import InputError, OptionError, OutputError
from shoestring.transformer.checkpoints import source as sources
from shoestring.transformer.checkpoints import tensorflow, vocabulary
from shoestring.transformer.checkpoints.huggingface import Settings, State
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.heads import (
    ShoestringForCausalLM,
    ShoestringForMaskedLM,
    ShoestringForQuestionAnswering,
    ShoestringForSequenceClassification,
    ShoestringForTokenClassification,
)
from shoestring.transformer.model.modeling import ShoestringModel, ShoestringPreTrainedModel
from shoestring.transformer.sentences import POOLINGS, copy_pooling, write_pooling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST = tuple(f"model.layers.0.attention.{part}_proj.weight" for part in "qkv")
# head: (class, settings that it implies)
HEADS: dict[str, tuple[type[ShoestringPreTrainedModel], Settings]] = {
    "none": (ShoestringModel, {}),
    "embedding": (ShoestringModel, {}),
    "masked-lm": (ShoestringForMaskedLM, {"is_decoder": False}),
    "causal-lm": (ShoestringForCausalLM, {"is_decoder": True}),
    "unilm": (ShoestringForCausalLM, {"is_decoder": True, "prefix_lm": True}),
    "sequence-classification": (ShoestringForSequenceClassification, {}),
    "token-classification": (ShoestringForTokenClassification, {}),
    "question-answering": (ShoestringForQuestionAnswering, {}),
}


@dataclass(frozen=True)
class Converted:
    """What became of a checkpoint.

    Args:
        model: of our family.
        tokenizer: None if the checkpoint had none.
        kind: of the source, such as `bert`.
        head: one of `HEADS`.
        new: parameters that the source does not have and that start as in a new model.
        unknown: names of the source that nothing is known of.
    """

    model: ShoestringPreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase | None = field(repr=False)
    kind: str
    head: str
    new: list[str]
    unknown: list[str]


def from_checkpoint(
    source: str | Path,
    head: str | None = None,
    *,
    kind: str | None = None,
    keep_tokens: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Converted:
    """Loads a checkpoint of another architecture as a model of our family, with the same logits.

    Args:
        source: a Hugging Face folder, or a TensorFlow checkpoint: its folder or its path without `.index`.
        head: one of `HEADS`; by default what it was saved as.
        kind: `bert`, `nezha` or `roformer`, where a TensorFlow checkpoint does not tell.
        keep_tokens: ids to keep, in their new order.
        settings: of the model, over those that follow from the source, such as `layer_norm_cond_size` or `num_labels`.

    Raises:
        InputError: there is no checkpoint, or it cannot be one of ours.
        OptionError: an unknown head or kind, or settings that do not fit.

    >>> from_checkpoint("bert-base-chinese", head="unilm").model.config.prefix_lm  # doctest: +SKIP
    True
    """
    if head is not None and head not in HEADS:
        raise OptionError(f"--head {head}: unknown; choose one of {', '.join(HEADS)}")
    found = sources.find(source, kind)
    head = head or found.head
    if head not in HEADS:
        raise InputError(
            f"{source}: was saved as {head}, whose head has no counterpart here; --head none converts it without"
        )
    state, unknown = found.adapter.renamed(found.tensors)
    for name in ("model.embed_tokens.weight", *FIRST):
        if name not in state:
            raise InputError(
                f"{source}: has no {name} under the names of a {found.kind}; is its config.json its own?"
            )
    config = _config(found, head, state, settings or {})
    state = found.adapter.after(state, config)
    tokenizer = _tokenizer(found.folder)
    if keep_tokens is not None:
        keep = vocabulary.checked(keep_tokens, config.vocab_size)
        state, config = _pruned(state, config, keep)
        tokenizer = None if tokenizer is None else vocabulary.pruned(tokenizer, keep)
    model, new = _loaded(str(source), head, config, state, as_saved=head == found.head)
    return Converted(model, tokenizer, found.kind, head, new, unknown)


def convert(
    source: str | Path,
    output: str | Path,
    head: str | None = None,
    *,
    pooling: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Converted:
    """Writes a checkpoint of another architecture as a folder of our family: model, tokenizer, card.

    Args:
        source: as in `from_checkpoint`.
        output: the folder.
        head: as in `from_checkpoint`; `embedding` also writes what sentence-transformers needs, and is the default
            where the source is a folder of sentence-transformers.
        pooling: `mean`, `cls` or `max`, for `embedding`; by default as the source has it, else `mean`.
        overwrite: replace what is there.
        options: as in `from_checkpoint`.

    Raises:
        OutputError: `output` is there or cannot be written.
    """
    source, output = Path(source), Path(output)
    if pooling is not None and pooling not in POOLINGS:
        raise OptionError(f"--pooling {pooling}: unknown; choose one of {', '.join(POOLINGS)}")
    if not overwrite and output.exists():
        raise OutputError(f"{output}: is there already; choose another name or pass --overwrite")
    sentences = (source / "modules.json").is_file()
    done = from_checkpoint(source, head or ("embedding" if sentences or pooling else None), **options)
    if pooling is not None and done.head != "embedding":
        raise OptionError(f"--pooling {pooling}: goes with --head embedding, not with {done.head}")
    with files.atomic_folder(output, overwrite) as draft:
        hub.save(draft, done.model, done.tokenizer, _card(output.name, done))
        if done.head == "embedding" and sentences and pooling is None:
            copy_pooling(source, draft)
        elif done.head == "embedding":
            config = done.model.config
            write_pooling(draft, config.hidden_size, pooling or "mean", config.max_position_embeddings)
    return done


def largest_difference(source: str | Path, done: Converted, length: int = 24) -> float | None:
    """Returns the largest difference between their hidden states and ours, on random ids, in fp32.

    None where the source cannot be run to compare: a TensorFlow checkpoint, other ids, or another mask.
    """
    from transformers import AutoModel

    config, whole = done.model.config, done.model
    other_mask = config.is_decoder and done.kind not in ("gpt2", "llama")
    if tensorflow.found_in(Path(source)) is not None or other_mask:
        return None
    with hub.silenced():
        how: dict[str, Any] = {"config": sources.config_of(Path(source)), "dtype": torch.float32}
        theirs = AutoModel.from_pretrained(source, local_files_only=True, **how).eval()
    if theirs.config.vocab_size != config.vocab_size:
        return None
    ids = torch.randint(config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    if config.pad_token_id is not None:  # which has no position in some
        ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
    dtype, ours = whole.dtype, whole if isinstance(whole, ShoestringModel) else whole.model
    whole.float().eval()
    with torch.no_grad():
        difference = theirs(ids).last_hidden_state - ours(ids).last_hidden_state
    nn.Module.to(whole, dtype)
    return difference.abs().max().item()


def tokenizer_of(source: str | Path) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a checkpoint that can be converted.

    Raises:
        InputError: there is no checkpoint, or it has none.
    """
    source = Path(source)
    if tensorflow.found_in(source) is None:
        hub.require_model_folder(source)
    folder = source if source.is_dir() else source.parent
    if (tokenizer := _tokenizer(folder)) is None:
        raise InputError(
            f"{folder}: has no tokenizer, so no tokens can be kept; vocab.txt or tokenizer.json is missing"
        )
    return tokenizer


def _config(found: sources.Source, head: str, state: State, changes: Mapping[str, Any]) -> ShoestringConfig:
    """Returns the config: what theirs says, what the shapes say, what the head implies, what the caller wants."""
    settings = found.adapter.settings(found.config)
    heads, groups = settings["num_heads"], settings.get("num_key_value_heads", settings["num_heads"])
    query, _, value = (len(state[name]) for name in FIRST)
    shapes: Settings = {
        "key_size": query // heads,
        "value_size": value // groups,
        "vocab_size": len(state["model.embed_tokens.weight"]),
        "embedding_size": state["model.embed_tokens.weight"].shape[1],
        "pooler": "model.pooler.weight" in state,
    }
    sees: Settings = {"is_decoder": found.adapter.decoder, **HEADS[head][1]}
    if found.adapter.decoder and not sees["is_decoder"]:
        raise OptionError(f"--head {head}: a {found.kind} sees the left side only; choose causal-lm or none")
    known = ShoestringConfig().to_dict()
    if unknown := [name for name in changes if name not in {*known, "num_labels", "num_key_value_heads"}]:
        raise OptionError(f"{unknown[0]}: no such setting of a model")
    merged: Settings = {**settings, **shapes, **sees, **changes}
    if "num_labels" in changes:
        merged |= {"id2label": None, "label2id": None}
    return ShoestringConfig(**merged)


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    try:
        if (folder / "vocab.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
            from transformers import BertTokenizer

            # Google's layout says only here whether text is lower-cased: Chinese BERTs are.
            return BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True)
        with hub.silenced():
            return hub.load_tokenizer(folder)
    except InputError:
        return None


def _pruned(state: State, config: ShoestringConfig, keep: Sequence[int]) -> tuple[State, ShoestringConfig]:
    """Keeps some rows of the embeddings and of the output layer."""
    rows = {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}
    state = {name: tensor[list(keep)] if name in rows else tensor for name, tensor in state.items()}
    new_id = {old: new for new, old in enumerate(keep)}
    settings: Settings = config.to_dict() | {"vocab_size": len(keep)}
    for role in ("pad_token_id", "bos_token_id", "eos_token_id"):
        settings[role] = new_id.get(settings[role])
    return state, ShoestringConfig.from_dict(settings)


def _loaded(
    source: str, head: str, config: ShoestringConfig, state: State, *, as_saved: bool
) -> tuple[ShoestringPreTrainedModel, list[str]]:
    """Makes the model and fills it; only what it was saved without, and `settings` added, starts anew."""
    model = HEADS[head][0](config)
    if isinstance(model, ShoestringModel):
        state = {
            name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")
        }
    expected = model.state_dict()
    state = {name: tensor for name, tensor in state.items() if name in expected}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{source}: {name} is {tuple(tensor.shape)} where its config.json means {tuple(expected[name].shape)}"
            )
    new = sorted(
        expected.keys() - state.keys() - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    )
    added = (
        "cond_scale",
        "cond_shift",
        "pre_mix",
        "post_mix",
        *(() if as_saved else ("score.", "qa_outputs.")),
    )
    if missing := [name for name in new if not any(part in name for part in added)]:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(
            f"{source}: lacks {missing[0]}{more}, which --head {head} needs; choose another --head"
        )
    nn.Module.to(model, state[min(state)].dtype)
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model.eval(), new


def _card(name: str, done: Converted) -> str:
    config = done.model.config
    return hub.model_card(
        name,
        f"A {done.kind} checkpoint as a shoestring Transformer ({done.head}), with the same outputs.",
        facts={
            "parameters": f"{done.model.num_parameters():,}",
            "layers, hidden size": f"{config.num_layers}, {config.hidden_size}",
            "heads, key size, value size": f"{config.num_heads}, {config.key_size}, {config.value_size}",
            "parameters that start anew": len(done.new),
        },
        example="import shoestring.transformer.model.heads  # registers the family\n" + _use(name, done.head),
    )


def _use(name: str, head: str) -> str:
    if head == "embedding":
        return f"""from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")"""
    kind = {"none": "", "masked-lm": "ForMaskedLM", "causal-lm": "ForCausalLM", "unilm": "ForCausalLM"}.get(
        head, "For" + head.title().replace("-", "")
    )
    return f"""from transformers import AutoModel{kind}, AutoTokenizer

model = AutoModel{kind}.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")"""
