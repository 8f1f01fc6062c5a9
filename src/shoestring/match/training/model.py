"""A bi-encoder or a cross-encoder from a base model: pooling, prompt, head and loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.cross_encoder.losses import CrossEntropyLoss
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.losses import ContrastiveLoss, SoftmaxLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WeightedLayerPooling
from torch import nn
from transformers import AutoConfig

from shoestring._errors import InputError, OptionError
from shoestring.match.loading import hushed, is_cross, require_known
from shoestring.match.training.joined import Joined
from shoestring.match.training.losses import CoSENTLoss
from shoestring.match.training.settings import RANKING

if TYPE_CHECKING:
    from shoestring.match.training.settings import Training


CLASSIFIER = "ForSequenceClassification"


def build(base: str | Path, settings: Training, levels: int) -> Any:
    """Returns a SentenceTransformer or a CrossEncoder around a base model.

    Args:
        base: a Hugging Face or sentence-transformers folder, or `hf:OWNER/NAME`.
        settings: mode, loss, pooling, prompt and length.
        levels: the number of different labels.

    Raises:
        InputError: the base cannot be loaded.
    """
    base = require_known(base)
    device = None if settings.device == "auto" else settings.device
    torch.manual_seed(settings.seed)
    with hushed():
        try:
            if settings.mode == "joined":
                return _joined(base, settings, device)
            return (
                _cross(base, settings, levels, device)
                if settings.mode == "cross"
                else _bi(base, settings, device)
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{base}: cannot be loaded: {(str(error).splitlines() or [''])[0]}") from error


def build_loss(model: Any, settings: Training, levels: int) -> nn.Module:
    """Returns the loss of a run.

    Args:
        model: what it is over.
        settings: mode, loss, scale and chunk.
        levels: the number of different labels, for softmax.
    """
    if settings.loss in ("cosent", "angle"):
        similarity = "angle" if settings.loss == "angle" else "cosine"
        scale = settings.scale or (1.0 if settings.mode == "cross" else 20.0)
        return CoSENTLoss(model, scale, similarity, settings.chunk)
    if settings.loss == "contrastive":
        return ContrastiveLoss(model)
    if settings.loss in RANKING:
        size = {"mini_batch_size": settings.chunk or 32} if "Cached" in settings.loss else {}
        return getattr(losses, settings.loss)(model, scale=settings.scale or 20.0, **size)
    if settings.mode == "cross":
        return CrossEntropyLoss(model)
    return SoftmaxLoss(model, model.get_embedding_dimension(), levels)


def _bi(base: str | Path, settings: Training, device: str | None) -> SentenceTransformer:
    if settings.pooling == "own":
        model = SentenceTransformer(str(base), device=device).float()
    else:
        model = SentenceTransformer(modules=_modules(base, settings.pooling), device=device).float()
    if settings.prompt is not None:
        model.prompts.update(dict.fromkeys(("match", "query", "document"), settings.prompt))
        model.default_prompt_name = "match"
    if model.transformers_model is not None:
        model.max_seq_length = min(settings.max_length, _longest(model.transformers_model))
    elif settings.epochs:
        raise OptionError(
            f"{base}: has no transformer, and nothing else is trained here; --epochs 0 chooses a threshold for it"
        )
    return model


def _modules(base: str | Path, pooling: str) -> list[nn.Module]:
    every = pooling == "first-last-avg"
    transformer = Transformer(str(base), config_kwargs={"output_hidden_states": True} if every else None)
    width = transformer.get_embedding_dimension()
    modules: list[nn.Module] = [transformer]
    if every:
        layers = transformer.model.config.num_hidden_layers
        weights = nn.Parameter(torch.tensor([1.0, *[0.0] * (layers - 2), 1.0]), requires_grad=False)
        modules.append(WeightedLayerPooling(width, layers, layer_start=1, layer_weights=weights))
    return [*modules, Pooling(width, pooling_mode="cls" if pooling == "cls" else "mean")]


def _cross(base: str | Path, settings: Training, levels: int, device: str | None) -> CrossEncoder:
    heads = 1 if settings.loss == "cosent" else levels
    common: Any = {"device": device, "activation_fn": nn.Identity()}
    if any(str(name).endswith(CLASSIFIER) for name in AutoConfig.from_pretrained(base).architectures or ()):
        model = CrossEncoder(str(base), num_labels=heads, **common).float()
    elif is_cross(Path(base)):
        model = CrossEncoder(str(base), **common).float()
        if model.num_labels != heads:
            raise OptionError(f"{base}: has {model.num_labels} scores, loss {settings.loss} needs {heads}")
    else:  # a pooler that was never trained is in the way of one that is to be
        transformer = Transformer(str(base))
        width = transformer.get_embedding_dimension()
        dense = Dense(width, heads, activation_function=nn.Identity(), module_output_name="scores")
        model = CrossEncoder(
            modules=[transformer, Pooling(width, pooling_mode="mean"), dense], **common
        ).float()
    model.max_seq_length = min(2 * settings.max_length, _longest(model.transformers_model))
    return model


def _joined(base: str | Path, settings: Training, device: str | None) -> CrossEncoder:
    joined = Joined(str(base), settings.prompt)
    model = CrossEncoder(modules=[joined], device=device, activation_fn=nn.Identity()).float()
    model.max_seq_length = 2 * min(settings.max_length, _longest(model.transformers_model))
    return model


def fresh_head(loss: nn.Module) -> str | None:
    """Returns a pattern of the names of the weights that start from nothing, or None where there are none.

    Args:
        loss: as `build_loss` made it.
    """
    if isinstance(loss, SoftmaxLoss):
        return r"^classifier\."
    model: Any = loss.model
    last = len(model) - 1
    return (
        rf"^model\.{last}\.linear\."
        if isinstance(model, CrossEncoder) and isinstance(model[last], Dense)
        else None
    )


def _longest(transformer: Any) -> int:
    """The positions of a model; RoBERTa's first two are not for tokens."""
    positions = getattr(transformer.config, "max_position_embeddings", None)
    if not positions:
        raise OptionError(f"{type(transformer).__name__} does not say how many positions it has")
    return positions - 2 if "roberta" in transformer.config.model_type else positions
