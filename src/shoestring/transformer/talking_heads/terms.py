"""What a call of talking-heads attention says besides its tensors; every back end that mixes takes the same."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from shoestring.transformer.talking_heads.dropout import Dropout
from shoestring.transformer.talking_heads.mix import Mix


class Terms(NamedTuple):
    """How queries, keys and values become an output.

    Args:
        pre: mixes the logits.
        post: mixes the weights.
        mask: True where a query may see a key, or added to the mixed logits; with four dimensions.
        is_causal: query i sees keys 0 to i + m - n.
        scale: of the logits.
        dropout: of the mixed weights.
    """

    pre: Mix
    post: Mix
    mask: Tensor | None
    is_causal: bool
    scale: float
    dropout: Dropout | None = None
