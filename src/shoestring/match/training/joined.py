"""Both texts apart in the lower layers, joined above: between a bi-encoder and a cross-encoder.

- Below, a text is what a bi-encoder makes of it, so those states can be stored; above, every token attends to the
  tokens of both texts (PreTTR, MacAvaney et al. 2020, arXiv 2004.14255; DeFormer, Cao et al. 2020, arXiv 2005.00697).
- The score is the cosine of the means of the two texts. No weight is new, and the order of the texts does not matter.
- The layers that are apart are the frozen ones, which `frozen` computes: outside of it there is no such model.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor

from shoestring._errors import OptionError


class Joined(Transformer):
    """The encoder of a CrossEncoder, its only module; `token_type_ids` say which text a token is of.

    Args:
        path: the base model's folder.
        prompt: put before each of the two texts.
    """

    def __init__(self, path: str, prompt: str | None = None, **settings: Any) -> None:
        super().__init__(path, config_kwargs={"num_labels": 1}, **settings)
        self.prompt = prompt or ""

    def preprocess(
        self, inputs: Any, prompt: str | None = None, processing_kwargs: Any = None, **settings: Any
    ) -> dict[str, Any]:
        """Returns the token ids of both texts side by side, each as if it were alone."""
        both: Any = self.max_seq_length
        sides = [
            super(Joined, self).preprocess([self.prompt + text for text in texts], max_length=both // 2)
            for texts in zip(*inputs, strict=True)
        ]
        joined = {
            name: torch.cat([side[name] for side in sides], dim=1) for name in ("input_ids", "attention_mask")
        }
        types = [torch.full_like(side["input_ids"], number) for number, side in enumerate(sides)]
        return {**sides[0], **joined, "token_type_ids": torch.cat(types, dim=1)}

    def forward(self, features: dict[str, Any], **settings: Any) -> dict[str, Any]:
        """Adds `scores` (batch, 1): cosines."""
        if not getattr(self.model.embeddings, "apart", False):
            raise OptionError("joined: reads two texts apart in frozen layers only, while they are frozen")
        features = super().forward(features, **settings)
        states, mask, types = (
            features[name] for name in ("token_embeddings", "attention_mask", "token_type_ids")
        )
        one, two = (mean(states, mask * (types == number)) for number in (0, 1))
        features["scores"] = torch.cosine_similarity(one, two)[:, None]
        return features


def mean(
    states: Float[Tensor, "batch length width"], mask: Float[Tensor, "batch length"]
) -> Float[Tensor, "batch width"]:
    """Returns the mean of the states that the mask has."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
