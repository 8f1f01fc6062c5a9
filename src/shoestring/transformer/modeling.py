"""The model family: one Transformer, as masked and as causal language model, for every Hugging Face tool.

Importing this module registers the family with `AutoConfig`, `AutoModel`, `AutoModelForMaskedLM` and
`AutoModelForCausalLM`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast, MaskedLMOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from shoestring._errors import OptionError
from shoestring.transformer.attention import Attention, Rope, init_mixes
from shoestring.transformer.configuration import ShoestringConfig
from shoestring.transformer.talking_heads.interface import mixing


def new_norm(config: ShoestringConfig) -> nn.Module:
    """Returns the norm that the config names."""
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.norm_eps)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
        """Applies the layer to every position alone."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(GradientCheckpointingLayer):
    """Attention and feed-forward, each with residual and norm: x + f(norm(x)) or norm(x + f(x))."""

    def __init__(self, config: ShoestringConfig, layer_idx: int) -> None:
        super().__init__()
        self.pre = config.norm_position == "pre"
        self.attention = Attention(config, layer_idx)
        self.feed_forward = FeedForward(config)
        self.attention_norm, self.feed_forward_norm = new_norm(config), new_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden_states: Float[Tensor, "batch length hidden"], **kwargs: object
    ) -> Float[Tensor, "batch length hidden"]:
        """Returns the residual stream after this block."""
        x = hidden_states
        if self.pre:
            x = x + self.dropout(self.attention(self.attention_norm(x), **kwargs)[0])
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, **kwargs)[0]))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


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

    def get_correct_attn_implementation(
        self, requested_attention: str | None, is_init_check: bool = False
    ) -> str:
        """Refuses at once what would ignore the mixes of the heads."""
        if self.config.talking_heads != "none":
            mixing(requested_attention or "sdpa")
        return super().get_correct_attn_implementation(requested_attention, is_init_check)

    def _init_weights(self, module: nn.Module) -> None:
        if not init_mixes(module):
            super()._init_weights(module)


class ShoestringModel(ShoestringPreTrainedModel):
    """Embeddings and blocks: token ids to hidden states."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        learned = config.position == "learned"
        self.embed_positions = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size) if learned else None
        )
        self.rope = None if learned else Rope(config.key_size, config.rope_theta)
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_layers))
        # pre-norm: after the last block; post-norm: on the embeddings, as in BERT.
        self.norm = new_norm(config)
        self.dropout = nn.Dropout(config.dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    @capture_outputs
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "batch length"] | None = None,
        document_ids: Int[Tensor, "batch length"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch length hidden"] | None = None,
        use_cache: bool | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPast:
        """Returns the hidden states, (batch, length, hidden_size).

        Args:
            input_ids: token ids; or give `inputs_embeds`.
            attention_mask: (batch, key) 1 for tokens and 0 for padding, on either side; or a ready 4-d mask.
            position_ids: by default counted from the first real token, or of each document.
            document_ids: a number for each token: several documents packed into one row do not see each other.
            past_key_values: cache of the tokens before these.
            inputs_embeds: embeddings in place of `input_ids`.
            use_cache: return the cache; by default in a decoder that is not training.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise OptionError("forward takes either input_ids or inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        if use_cache and self.config.is_decoder and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            position_ids = _positions(x, attention_mask, document_ids, past_key_values)
        kwargs["attention_mask"] = self._mask(x, attention_mask, document_ids, past_key_values)
        if self.rope is not None:
            kwargs["rotation"] = self.rope(position_ids, x.dtype)
        if self.embed_positions is not None:
            self._check_length(
                x.shape[1] + (past_key_values.get_seq_length() if past_key_values is not None else 0)
            )
            x = x + self.embed_positions(position_ids)
        x = self.dropout(x if self.config.norm_position == "pre" else self.norm(x))
        for layer in self.layers:
            x = layer(x, past_key_values=past_key_values, **kwargs)
        x = self.norm(x) if self.config.norm_position == "pre" else x
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values)

    def _mask(
        self, x: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None, cache: Cache | None
    ):
        same_document = None
        if document_ids is not None:

            def same_document(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return document_ids[batch, query] == document_ids[batch, key]

        # Positions are not passed on: transformers would guess packed documents from them.
        build = create_causal_mask if self.config.is_decoder else create_bidirectional_mask
        return build(self.config, x, attention_mask, past_key_values=cache, and_mask_function=same_document)

    def _check_length(self, length: int) -> None:
        limit = self.config.max_position_embeddings
        if length > limit:
            raise OptionError(
                f"a sequence of {length} tokens, but this model has learned {limit} positions; "
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


class ShoestringForMaskedLM(ShoestringPreTrainedModel):
    """The encoder with a tied output layer: predicts masked tokens.

    With labels in training, logits are computed at the labelled positions only (the others add nothing to the loss).
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        if config.is_decoder:
            raise OptionError("a masked language model sees both sides: set is_decoder=False")
        self.model = ShoestringModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        **kwargs: object,
    ) -> MaskedLMOutput:
        """Returns logits (batch, length, vocab) and, with labels (-100 where nothing is asked), the mean loss."""
        items = {name: kwargs.pop(name) for name in ("num_items_in_batch",) if name in kwargs}
        outputs = self.model(input_ids, **kwargs)
        hidden_states = outputs.last_hidden_state
        if labels is not None and self.training:
            asked = labels != -100
            hidden_states, labels = hidden_states[asked], labels[asked]
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **items)
        return MaskedLMOutput(loss, logits, outputs.hidden_states, outputs.attentions)


class ShoestringForCausalLM(ShoestringPreTrainedModel, GenerationMixin):
    """The decoder with a tied output layer: predicts the next token, generates."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        if not config.is_decoder:
            raise OptionError("a causal language model sees only the left side: set is_decoder=True")
        self.model = ShoestringModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        logits_to_keep: int = 0,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """Returns logits (batch, kept, vocab) and, with labels (the input ids; -100 is left out), the mean loss.

        Args:
            input_ids: token ids.
            labels: token ids; position i is predicted from those before it.
            logits_to_keep: compute only this many logits, from the end; 0 keeps all.
            kwargs: as in `ShoestringModel.forward`.
        """
        items = {name: kwargs.pop(name) for name in ("num_items_in_batch",) if name in kwargs}
        outputs = self.model(input_ids, **kwargs)
        logits = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **items)
        return CausalLMOutputWithPast(
            loss, logits, outputs.past_key_values, outputs.hidden_states, outputs.attentions
        )


AutoConfig.register(ShoestringConfig.model_type, ShoestringConfig)
AutoModel.register(ShoestringConfig, ShoestringModel)
AutoModelForMaskedLM.register(ShoestringConfig, ShoestringForMaskedLM)
AutoModelForCausalLM.register(ShoestringConfig, ShoestringForCausalLM)
