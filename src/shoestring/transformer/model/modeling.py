"""The model family without a head: token ids to hidden states, for every Hugging Face tool.

The heads, and the registration with the Auto classes, are in `shoestring.transformer.model.heads`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPoolingAndCrossAttentions,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple, is_flash_attention_requested
from transformers.utils.output_capturing import capture_outputs

from shoestring._errors import OptionError
from shoestring.transformer.model.attention import Attention, Rope, init_mixes
from shoestring.transformer.model.blocks import Block, ConditionalNorm, conditions, new_norm
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.masks import build_mask, document_bounds, packed_documents
from shoestring.transformer.model.positions import sinusoids
from shoestring.transformer.model.standalone import write as write_code
from shoestring.transformer.talking_heads.interface import mixing


class ShoestringPreTrainedModel(PreTrainedModel):
    """What the models of the family share with transformers."""

    config: Any  # a ShoestringConfig
    config_class = ShoestringConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": Block, "attentions": Attention}
    _keys_to_ignore_on_load_unexpected = [r"\bpooler\."]  # of a model with another head

    def get_correct_attn_implementation(
        self, requested_attention: str | None, is_init_check: bool = False
    ) -> str:
        """Refuses at once what would ignore the mixes; transformers itself refuses what it does not know."""
        name = requested_attention or "sdpa"
        if self.config.talking_heads != "none" and name in ("eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()):
            mixing(name)
        if is_flash_attention_requested(requested_attention_implementation=name) and (
            self.config.prefix_lm or self.config.position == "relative"
        ):
            raise OptionError(
                f"attn_implementation {name!r}: no relative positions and no prefix_lm; choose sdpa"
            )
        return super().get_correct_attn_implementation(requested_attention, is_init_check)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **kwargs: Any) -> None:
        """As transformers' own, and the model's code beside it: the folder loads where shoestring is not installed."""
        super().save_pretrained(save_directory, *arguments, **kwargs)
        if kwargs.get("is_main_process", True) and Path(save_directory, "config.json").is_file():
            write_code(Path(save_directory))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As transformers does; mixes begin as the identity, and a condition shifts nothing."""
        if not init_mixes(module):
            super()._init_weights(module)
        if isinstance(module, ConditionalNorm):
            init.zeros_(module.cond_scale.weight)
            init.zeros_(module.cond_shift.weight)


class ShoestringModel(ShoestringPreTrainedModel):
    """Embeddings and blocks: token ids to hidden states.

    A head that does not read the pooler has none (`add_pooling_layer=False`): DDP would wait for its gradient.
    """

    def __init__(self, config: ShoestringConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        width, learned = config.embedding_size, config.position == "learned"
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, width) if learned else None
        self.embed_types = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.embed_projection = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None
        self.rope = Rope(config) if config.position == "rope" else None
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_layers))
        # pre-norm: after the last block; post-norm: on the embeddings, as in BERT.
        self.pre = config.norm_position == "pre"
        self.norm = new_norm(config, config.hidden_size if self.pre else width)
        pools = config.pooler and add_pooling_layer
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if pools else None
        self.dropout = nn.Dropout(config.dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    @capture_outputs
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "batch length"] | None = None,
        document_ids: Int[Tensor, "batch length"] | None = None,
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        use_cache: bool | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPast | BaseModelOutputWithPoolingAndCrossAttentions:
        """Returns the hidden states, (batch, length, hidden_size), and, with a pooler, `pooler_output`.

        Args:
            input_ids: token ids; or give `inputs_embeds`.
            attention_mask: (batch, key) 1 for tokens and 0 for padding, on either side; or a ready 4-d mask.
            token_type_ids: 0 by default; under `prefix_lm` 0 marks the source, which sees itself whole.
            position_ids: by default counted from the first real token, or of each document. Without mask and cache,
                positions that start again begin a new document, as in transformers' Llama.
            document_ids: a number for each token: several documents packed into one row do not see each other.
            layer_norm_cond: shifts every norm, if the config has a `layer_norm_cond_size`.
            past_key_values: cache of the tokens before these.
            inputs_embeds: embeddings in place of `input_ids`.
            use_cache: return the cache; by default in a decoder that is not training.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise OptionError("forward takes either input_ids or inputs_embeds")
        self._check_condition(layer_norm_cond)
        if document_ids is None and attention_mask is None and past_key_values is None:
            document_ids = packed_documents(position_ids, kwargs)
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        if use_cache and self.config.is_decoder and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            position_ids = _positions(x, attention_mask, document_ids, past_key_values)
        kwargs["attention_mask"] = mask = build_mask(
            self.config, x, attention_mask, past_key_values, document_ids, token_type_ids
        )
        kwargs |= document_bounds(self.config, x.shape[0], document_ids, mask)
        if self.rope is not None:
            kwargs["rotation"] = self.rope(position_ids, x.dtype)
        if self.embed_positions is not None:
            seen = 0 if past_key_values is None else past_key_values.get_seq_length()
            self._check_positions(position_ids, seen + x.shape[1])
        x = self._embedded(x, token_type_ids, position_ids, layer_norm_cond)
        for layer in self.layers[: self.config.num_layers]:  # assisted decoding may leave early
            x = layer(x, layer_norm_cond=layer_norm_cond, past_key_values=past_key_values, **kwargs)
        x = self.norm(x, *conditions(layer_norm_cond)) if self.pre else x
        if self.pooler is None:
            return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values)
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=x,
            pooler_output=self.pooler(first_token(x, attention_mask)).tanh(),
            past_key_values=past_key_values,
        )

    def _embedded(
        self, x: Tensor, token_type_ids: Tensor | None, position_ids: Tensor, cond: Tensor | None
    ) -> Tensor:
        """Adds to the tokens' embeddings those of types and positions."""
        if self.embed_types is not None:
            types = position_ids.new_zeros(x.shape[:2]) if token_type_ids is None else token_type_ids
            x = x + self.embed_types(types)
        if self.embed_positions is not None:
            x = x + self.embed_positions(position_ids)
        if self.config.position == "sinusoidal":
            x = x + sinusoids(position_ids, x.shape[-1]).to(x.dtype)
        x = self.dropout(x if self.pre else self.norm(x, *conditions(cond)))
        return x if self.embed_projection is None else self.embed_projection(x)

    def _check_condition(self, cond: Tensor | None) -> None:
        size = self.config.layer_norm_cond_size
        if cond is not None and cond.shape[-1] != size:
            raise OptionError(
                f"layer_norm_cond is {cond.shape[-1]} wide, but this model's layer_norm_cond_size is {size}"
            )

    def _check_positions(self, position_ids: Tensor, length: int | Tensor) -> None:
        """Looks at the positions only where the row, with what a cache holds, is longer than the table."""
        limit = self.config.max_position_embeddings
        if torch.compiler.is_compiling() or length <= limit or position_ids.max() < limit:
            return
        raise OptionError(
            f"a sequence of {int(position_ids.max()) + 1} tokens, but this model has learned {limit} positions; "
            "cut the text or train with a larger max_position_embeddings"
        )


def _positions(x: Tensor, mask: Tensor | None, document_ids: Tensor | None, cache: Cache | None) -> Tensor:
    """Counts real tokens from 0, in each document anew; padding on the left takes no position."""
    seen = cache.get_seq_length() if cache is not None else 0
    length = x.shape[1]
    if document_ids is not None:
        index = torch.arange(length, device=x.device).expand(x.shape[0], -1)
        starts = torch.ones_like(document_ids, dtype=torch.bool)
        starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        return index - (index * starts).cummax(dim=1).values
    if mask is not None and mask.ndim == 2:
        return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -length:]
    return torch.arange(seen, seen + length, device=x.device)[None]


def first_token(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Returns the state of the first real token of each row, (batch, hidden); with a cache, of those at hand."""
    if attention_mask is None or attention_mask.shape != x.shape[:2]:
        return x[:, 0]
    return x[torch.arange(len(x), device=x.device), attention_mask.long().argmax(dim=1)]
