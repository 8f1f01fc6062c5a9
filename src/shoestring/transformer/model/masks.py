"""Who sees whom: padding, the future, other documents, and UniLM's source.

A prefix decoder (`prefix_lm`) is causal but for its source, the tokens of type 0: every token that may see the source
at all sees it whole (UniLM, Dong et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_causal_mask,
    find_packed_sequence_indices,
)
from transformers.utils.generic import is_flash_attention_requested

from shoestring._errors import OptionError
from shoestring.transformer.model.configuration import ShoestringConfig


def build_mask(
    config: ShoestringConfig,
    x: Tensor,
    attention_mask: Tensor | None,
    cache: Cache | None,
    document_ids: Tensor | None = None,
    token_type_ids: Tensor | None = None,
) -> Any:
    """Returns the mask in the form that the kernel wants; None where nothing but the future is hidden.

    Args:
        config: decoder or not, and which kernel.
        x: embeddings, (batch, length, width).
        attention_mask: (batch, key) 1 for tokens and 0 for padding; or a ready 4-d mask.
        cache: of the tokens before these.
        document_ids: a number for each token, the same within one document.
        token_type_ids: 0 for the source, 1 for the target; matters under `prefix_lm` only.
    """

    alike = None if document_ids is None else _same(document_ids, x.shape[0])
    if not config.is_decoder:
        return create_bidirectional_mask(
            config, x, attention_mask, past_key_values=cache, and_mask_function=alike
        )
    return create_causal_mask(
        config, x, attention_mask, past_key_values=cache,
        or_mask_function=_source(config, x, cache, token_type_ids), and_mask_function=alike,
    )  # fmt: skip


def packed_documents(position_ids: Tensor | None, given: Mapping[str, object]) -> Tensor | None:
    """Returns a number for each token, the same within one document, if positions tell of several in a row.

    Args:
        position_ids: (batch or 1, length); where one does not follow the one before it, a document begins.
        given: what else the caller said: the packing of other collators comes with positions, or is refused.

    Raises:
        OptionError: documents were packed and nothing that this model reads says where they begin.
    """
    if position_ids is not None:
        return find_packed_sequence_indices(position_ids)
    for name in ("seq_idx", "cu_seq_lens_q"):
        if given.get(name) is not None:
            raise OptionError(
                f"{name} without position_ids: this model tells packed documents by position_ids or document_ids; "
                "let the collator return_position_ids"
            )
    return None


def document_bounds(
    config: ShoestringConfig, rows: int, document_ids: Tensor | None, mask: Tensor | None
) -> dict[str, Any]:
    """Returns where documents begin, for flash attention: it takes no mask but that of padding.

    Raises:
        OptionError: it would have to know of padding as well.
    """
    if document_ids is None or not is_flash_attention_requested(config):
        return {}
    if mask is not None:
        raise OptionError(
            "flash attention takes packed documents or padding, not both; leave out attention_mask or choose sdpa"
        )
    ids = document_ids.expand(rows, -1)
    begins = torch.ones_like(ids, dtype=torch.bool)
    begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    bounds = functional.pad(begins.flatten().nonzero()[:, 0], (0, 1), value=ids.numel()).int()
    longest = int(bounds.diff().max())
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _same(document_ids: Tensor, batch: int) -> Any:
    document_ids = document_ids.expand(batch, -1)

    def same_document(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return document_ids[batch, query] == document_ids[batch, key]

    return same_document


def _source(config: ShoestringConfig, x: Tensor, cache: Cache | None, token_type_ids: Tensor | None) -> Any:
    """Returns a function that tells whether a key belongs to the source.

    It is needed where the source itself is read; what comes after it sees it anyway, being causal.
    """
    if not config.prefix_lm or token_type_ids is None or x.shape[1] == 1:
        return None
    if cache is not None and cache.get_seq_length() > 0:
        return None
    keys = x.shape[1] if cache is None else cache.get_mask_sizes(x.shape[1], 0)[0]
    is_source = functional.pad(token_type_ids == 0, (0, keys - x.shape[1]))

    def source(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return is_source[batch, key]

    return source
