"""The heads of the family that label: a sequence, each token, or the span that answers a question.

Padding never decides: without a mask it is told by `pad_token_id`, as transformers does for decoders.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from shoestring._errors import OptionError
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.losses import targets
from shoestring.transformer.model.modeling import ShoestringModel, ShoestringPreTrainedModel


class ShoestringForSequenceClassification(ShoestringPreTrainedModel):
    """One label for a text.

    What is looked at: the pooler's output if there is one (BERT), else the mean of an encoder's tokens; the last token
    of a decoder.
    """

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels or 2
        self.model = ShoestringModel(config, add_pooling_layer=not config.is_decoder)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, self.num_labels, bias=not config.is_decoder)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "_batch length"] | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Returns logits (batch, labels) and, with labels, the loss that `config.problem_type` names.

        Without an `attention_mask` ids that are `pad_token_id` are padding: not seen, not averaged, and not the last
        token of a decoder (which sees them if texts also begin or end with that id). Other arguments are those of
        `ShoestringModel.forward`.

        Raises:
            OptionError: several rows for a decoder of which nothing says where each of them ends.
        """
        kwargs.pop("num_items_in_batch", None)
        given = input_ids if inputs_embeds is None else inputs_embeds
        real = self._real_tokens(input_ids, attention_mask, 1 if given is None else len(given))
        ends = (self.config.bos_token_id, self.config.eos_token_id)
        if attention_mask is None and not (self.config.is_decoder and self.config.pad_token_id in ends):
            attention_mask = real
        outputs = self.model(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        logits = self.score(self.dropout(self._summary(outputs, real)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def _real_tokens(self, input_ids: Tensor | None, mask: Tensor | None, rows: int) -> Tensor | None:
        """Returns 1 for tokens and 0 for padding, (batch, length); None where all are tokens."""
        pad = self.config.pad_token_id
        if mask is not None and mask.ndim == 2:
            return mask
        if input_ids is not None and pad is not None:
            return (input_ids != pad).long()
        if self.config.is_decoder and rows > 1:
            raise OptionError(
                f"{rows} rows without attention_mask: nothing says where each text ends; give the tokenizer's "
                "attention_mask, or token ids and a pad_token_id in the config"
            )
        return None

    def _summary(self, outputs: Any, real: Tensor | None) -> Tensor:
        x = outputs.last_hidden_state
        mask = x.new_ones(x.shape[:2]) if real is None else real[:, -x.shape[1] :].to(x.dtype)
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
        self.num_labels = config.num_labels or 2
        self.model = ShoestringModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "_batch length"] | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Returns logits (batch, length, labels) and, with labels (-100 is left out), the mean loss.

        Other arguments are those of `ShoestringModel.forward`.
        """
        items = kwargs.pop("num_items_in_batch", None)
        outputs = self.model(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, num_items_in_batch=targets(labels, items))
        return TokenClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)


class ShoestringForQuestionAnswering(ShoestringPreTrainedModel):
    """Where in a text the answer to a question begins and ends."""

    def __init__(self, config: ShoestringConfig) -> None:
        super().__init__(config)
        self.model = ShoestringModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "_batch length"] | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """Returns start and end logits, each (batch, length), and, with both positions (batch,), their mean loss.

        A position beyond the text is left out of the loss. Other arguments are those of `ShoestringModel.forward`.
        """
        kwargs.pop("num_items_in_batch", None)
        outputs = self.model(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        starts, ends = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(starts, ends, start_positions, end_positions)
        return QuestionAnsweringModelOutput(loss, starts, ends, outputs.hidden_states, outputs.attentions)
