"""The heads of the family: masked, causal and prefix language model, classification of sequences and of tokens.

Importing this module registers the family with transformers' Auto classes.

- A prefix decoder (UniLM) is a `ShoestringForCausalLM` whose config says `prefix_lm`: `tokenizer(source, target)`
  gives the token types that mark them, and `generate` takes its whole prompt as source.
- Any encoder is a sentence-transformers module as it is; `sentences` has the files that make its folder one.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GenerationMixin,
)
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from shoestring._errors import OptionError
from shoestring.transformer.model.blocks import conditions, new_norm
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.masks import build_mask
from shoestring.transformer.model.modeling import ShoestringModel, ShoestringPreTrainedModel


class HeadTransform(nn.Module):
    """norm(act(dense(x))) before the output layer, as in BERT; it ends as wide as the embeddings."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.act = ACT2FN[config.hidden_act]
        self.norm = new_norm(config, config.embedding_size)

    def forward(
        self, x: Float[Tensor, "batch length hidden"], layer_norm_cond: Tensor | None = None
    ) -> Float[Tensor, "batch length embedding"]:
        """Applies the layer to every position alone."""
        return self.norm(self.act(self.dense(x)), *conditions(layer_norm_cond))


class ShoestringLanguageModel(ShoestringPreTrainedModel):
    """A model with an output layer over the vocabulary, tied to the embeddings if the config says so."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.model = ShoestringModel(config)
        self.transform = HeadTransform(config) if config.head_transform else None
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size, bias=config.head_bias)
        self.post_init()

    def transformed(self, x: Tensor, layer_norm_cond: Tensor | None) -> Tensor:
        """Returns what the output layer reads."""
        return x if self.transform is None else self.transform(x, layer_norm_cond)


class ShoestringForMaskedLM(ShoestringLanguageModel):
    """The encoder that predicts masked tokens.

    With labels in training, logits are computed at the labelled positions only (the others add nothing to the loss).
    """

    def __init__(self, config: ShoestringConfig) -> None:
        if config.is_decoder:
            raise OptionError("a masked language model sees both sides: set is_decoder=False")
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        **kwargs: object,
    ) -> MaskedLMOutput:
        """Returns logits (batch, length, vocab) and, with labels (-100 where nothing is asked), the mean loss."""
        items = {name: kwargs.pop(name) for name in ("num_items_in_batch",) if name in kwargs}
        outputs = self.model(input_ids, layer_norm_cond=layer_norm_cond, **kwargs)
        hidden_states = self.transformed(outputs.last_hidden_state, layer_norm_cond)
        if labels is not None and self.training:
            asked = labels != -100
            hidden_states, labels = hidden_states[asked], labels[asked]
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **items)
        return MaskedLMOutput(loss, logits, outputs.hidden_states, outputs.attentions)


class ShoestringForCausalLM(ShoestringLanguageModel, GenerationMixin):
    """The decoder: predicts the next token, generates; with `prefix_lm`, from a source that sees itself whole."""

    def __init__(self, config: ShoestringConfig) -> None:
        if not config.is_decoder:
            raise OptionError("a causal language model sees only the left side: set is_decoder=True")
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        logits_to_keep: int = 0,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """Returns logits (batch, kept, vocab) and, with labels (the input ids; -100 is left out), the mean loss.

        Args:
            input_ids: token ids.
            labels: token ids; position i is predicted from those before it.
            logits_to_keep: compute only this many logits, from the end; 0 keeps all.
            token_type_ids: under `prefix_lm`, 0 for the source and 1 for the target.
            layer_norm_cond: as in `ShoestringModel.forward`.
            kwargs: as in `ShoestringModel.forward`.
        """
        items = {name: kwargs.pop(name) for name in ("num_items_in_batch",) if name in kwargs}
        outputs = self.model(
            input_ids, token_type_ids=token_type_ids, layer_norm_cond=layer_norm_cond, **kwargs
        )
        kept = outputs.last_hidden_state[:, -logits_to_keep:]
        logits = self.lm_head(self.transformed(kept, layer_norm_cond))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **items)
        return CausalLMOutputWithPast(
            loss, logits, outputs.past_key_values, outputs.hidden_states, outputs.attentions
        )

    def generate(self, inputs: Tensor | None = None, *arguments: Any, **kwargs: Any) -> Any:
        """As transformers' `generate`; a prefix decoder takes the prompt as source unless `token_type_ids` say else."""
        prompt = kwargs.get("input_ids") if inputs is None else inputs
        if self.config.prefix_lm and prompt is not None and kwargs.get("token_type_ids") is None:
            kwargs["token_type_ids"] = torch.zeros_like(prompt)
        return super().generate(inputs, *arguments, **kwargs)  # pyrefly: ignore

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict, *rest: Any, **extra: Any
    ) -> Any:
        kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *rest, **extra)
        if self.config.prefix_lm and "token_type_ids" in kwargs:  # what is generated is target
            kwargs["token_type_ids"][:, -extra.get("num_new_tokens", 1) :] = 1
        return kwargs

    @staticmethod
    def create_masks_for_generate(
        config: ShoestringConfig,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        past_key_values: Any,
        token_type_ids: Tensor | None = None,
        **_: object,
    ) -> Any:
        """The mask that `generate` prepares for a cache of fixed size."""
        return build_mask(
            config, inputs_embeds, attention_mask, past_key_values, token_type_ids=token_type_ids
        )


class ShoestringForSequenceClassification(ShoestringPreTrainedModel):
    """One label for a text.

    What is looked at: the pooler's output if there is one (BERT), else the mean of an encoder's tokens; the last token
    of a decoder.
    """

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.model = ShoestringModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels or 2, bias=not config.is_decoder)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: object,
    ) -> SequenceClassifierOutput:
        """Returns logits (batch, labels) and, with labels, the loss that `config.problem_type` names."""
        outputs = self.model(input_ids, attention_mask=attention_mask, **kwargs)
        logits = self.score(self.dropout(self._summary(outputs, attention_mask)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def _summary(self, outputs: Any, attention_mask: Tensor | None) -> Tensor:
        x = outputs.last_hidden_state
        mask = x.new_ones(x.shape[:2]) if attention_mask is None else attention_mask.to(x.dtype)
        if self.config.is_decoder:
            last = (mask * torch.arange(x.shape[1], device=x.device)).argmax(dim=1)
            return x[torch.arange(len(x), device=x.device), last]
        if self.model.pooler is not None:
            return outputs.pooler_output
        return (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


class ShoestringForTokenClassification(ShoestringPreTrainedModel):
    """One label for each token."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.model = ShoestringModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels or 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        **kwargs: object,
    ) -> TokenClassifierOutput:
        """Returns logits (batch, length, labels) and, with labels (-100 is left out), the mean loss."""
        outputs = self.model(input_ids, **kwargs)
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else self.loss_function(logits, labels, self.config)
        return TokenClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)


AutoConfig.register(ShoestringConfig.model_type, ShoestringConfig)
AutoModel.register(ShoestringConfig, ShoestringModel)
AutoModelForMaskedLM.register(ShoestringConfig, ShoestringForMaskedLM)
AutoModelForCausalLM.register(ShoestringConfig, ShoestringForCausalLM)
AutoModelForSequenceClassification.register(ShoestringConfig, ShoestringForSequenceClassification)
AutoModelForTokenClassification.register(ShoestringConfig, ShoestringForTokenClassification)
