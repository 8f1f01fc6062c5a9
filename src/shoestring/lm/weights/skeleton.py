"""The model of a config.json without its weights, and which of its parts become linear layers of few bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from shoestring._errors import InputError, OptionError
from shoestring.lm.weights.quantize import takes_int4
from shoestring.lm.weights.safetensors_file import Shape


@dataclass(frozen=True)
class Layer:
    """A linear layer: where it is, its size, and whether its weight is stored as (inputs, outputs)."""

    name: str
    outputs: int
    inputs: int
    transposed: bool
    tied: bool = False


def config_of(config: Mapping[str, Any]) -> Any:
    """Returns the configuration object of a config.json.

    Raises:
        OptionError: a kind of model that transformers does not know, or that does not continue text.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    settings = {key: value for key, value in config.items() if key != "quantization_config"}
    kind = settings.pop("model_type", None)
    if kind == "shoestring":
        import shoestring.transformer.model.modeling  # noqa: F401 - registers the family
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise OptionError(f"model_type {kind!r}: not a model that continues text, such as gpt2 or llama")
    return AutoConfig.for_model(kind, **settings)


def empty(config: Any) -> Any:
    """Returns the model with its weights on no device; buffers that are computed, such as rope's, are real."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    from shoestring import hub

    with init_empty_weights(include_buffers=False), hub.silenced():
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def linear_layers(model: Any) -> list[Layer]:
    """Returns all linear layers; the head is tied if it shares the embedding's weight."""
    from transformers.pytorch_utils import Conv1D

    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    head = model.get_output_embeddings()
    layers = []
    for name, module in model.named_modules():
        if isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
            layers.append(Layer(name, outputs, inputs, transposed=True))
        elif isinstance(module, nn.Linear):
            layers.append(
                Layer(name, module.out_features, module.in_features, False, tied and module is head)
            )
    return layers


def require_fitting(shapes: Mapping[str, Shape], model: nn.Module, folder: Path) -> None:
    """Raises InputError if a weight that the model needs is missing or of another size."""
    tied = {f"{layer.name}.weight" for layer in linear_layers(model) if layer.tied}
    for name, parameter in model.named_parameters():
        if name in tied:
            continue
        if name not in shapes:
            raise InputError(f"{folder}: {name} is missing, so the weights do not fit config.json")
        if shapes[name].sizes != tuple(parameter.shape):
            raise InputError(
                f"{folder}: {name} is {shapes[name].sizes}, but config.json says {tuple(parameter.shape)}"
            )


def bits_of(layer: Layer, bits: int) -> int:
    """Returns how many bits a layer gets: the head and layers that the 4-bit kernel cannot take get 8."""
    head = layer.tied or layer.name.endswith("lm_head")
    return 8 if head or not takes_int4(layer.outputs, layer.inputs) else bits
