"""Models as transformers loads them: the class that a config names, and outputs on a few fixed ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring.grow.stored.wide import wide
from shoestring.hub import silenced

LENGTH = 17  # tokens of a trial text
_HEADS = {
    "ForCausalLM": "AutoModelForCausalLM", "LMHeadModel": "AutoModelForCausalLM", "ForMaskedLM": "AutoModelForMaskedLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM", "ForPreTraining": "AutoModelForPreTraining",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
}  # fmt: skip


def auto_class(config: Mapping[str, Any]) -> Any:
    """Returns the Auto class for what a config says was saved."""
    import transformers

    if config.get("model_type") == "shoestring":
        from shoestring.transformer.model.heads import register

        register()
    saved = str((config.get("architectures") or [""])[0])
    named = getattr(transformers, saved, None)
    if getattr(getattr(named, "config_class", None), "model_type", None) == config.get("model_type"):
        return named
    return getattr(transformers, next((_HEADS[end] for end in _HEADS if saved.endswith(end)), "AutoModel"))


def auto_config(config: Mapping[str, Any]) -> Any:
    """Returns transformers' config object of a config.json.

    Raises:
        KeyError: transformers knows no such `model_type`.
    """
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[config["model_type"]]
    return kind.from_dict(kind._decode_special_floats(dict(config)))


def _made(config: Mapping[str, Any]) -> Any:
    """Returns a model of a config, as `auto_class` would load it."""
    auto, made = auto_class(config), auto_config(config)
    return auto.from_config(made) if hasattr(auto, "from_config") else auto._from_config(made)


def random_model(config: Mapping[str, Any], seed: int) -> Any:
    """Returns a random model of a config; norms and biases are far from 1 and 0, so that mistakes in them show."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _made(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.05))
    return model.float()


def empty_model(config: Mapping[str, Any]) -> Any:
    """Returns the model of a config without numbers: names and shapes, on torch's meta device."""
    with torch.device("meta"), silenced():
        return _made(config)


def outputs(folder: Path, config: Mapping[str, Any], dtype: str, ids: Tensor) -> Tensor:
    """Returns what a saved model computes, in fp64: logits, or hidden states where it has no head.

    Args:
        folder: the model.
        config: its config.json.
        dtype: what it computes in; in `float64` norms and softmax too.
        ids: (batch, length) token ids.
    """
    kind = getattr(torch, dtype)
    with silenced(), wide(kind == torch.float64), torch.no_grad():
        return _computed(_loaded(folder, config, kind), ids).double()


def idle_parameters(folder: Path, config: Mapping[str, Any], ids: Tensor) -> list[str]:
    """Returns the parameters of a saved model that its outputs on some ids do not depend on."""
    with silenced(), wide(), torch.enable_grad():
        model = _loaded(folder, config, torch.float64)
        found = _computed(model, ids)
        (found * torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)).sum().backward()
        return [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]


def _loaded(folder: Path, config: Mapping[str, Any], kind: torch.dtype) -> Any:
    from transformers.utils import logging

    logging.set_verbosity(logging.CRITICAL)
    model = auto_class(config).from_pretrained(
        folder, dtype=kind, attn_implementation="eager", local_files_only=True
    )
    if hasattr(model.config, "_experts_implementation"):
        model.set_experts_implementation("eager")  # fused kernels have no fp64
    model.config.use_cache = False
    return model.eval()


def _computed(model: Any, ids: Tensor) -> Tensor:
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids[None]  # (b, choices, l)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(1)
    found = model(**inputs)
    if found.get("start_logits") is not None:  # of question answering: (b, l) each
        return torch.stack((found["start_logits"], found["end_logits"]), -1)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if found.get(name) is not None:
            return found[name]
    raise TypeError(f"{type(model).__name__} returns {', '.join(found)}")


def trial_ids(vocab: int, seed: int) -> Tensor:
    """Returns (2, LENGTH) ids, without the first few, which tend to be special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(min(5, vocab - 1), vocab, (2, LENGTH), generator=generator)
