"""The language models of the family: masked, causal and prefix; those that classify are in `classifiers`.

Importing this module registers all of the family with transformers' Auto classes.

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
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GenerationMixin,
)
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast, MaskedLMOutput
from transformers.utils.generic import can_return_tuple

from shoestring._errors import OptionError
from shoestring.transformer.model.blocks import conditions, new_norm
from shoestring.transformer.model.classifiers import (
    ShoestringForQuestionAnswering,
    ShoestringForSequenceClassification,
    ShoestringForTokenClassification,
)
from shoestring.transformer.model.configuration import ShoestringConfig
from shoestring.transformer.model.losses import targets
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
        self.model = ShoestringModel(config, add_pooling_layer=False)
        self.transform = HeadTransform(config) if config.head_transform else None
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size, bias=config.head_bias)
        self.post_init()

    def transformed(self, x: Tensor, layer_norm_cond: Tensor | None) -> Tensor:
        """Returns what the output layer reads."""
        return x if self.transform is None else self.transform(x, layer_norm_cond)


class ShoestringForMaskedLM(ShoestringLanguageModel):
    """The encoder that predicts masked tokens."""

    def __init__(self, config: ShoestringConfig) -> None:
        if config.is_decoder:
            raise OptionError("a masked language model sees both sides: set is_decoder=False")
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        position_ids: Int[Tensor, "_batch length"] | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Returns the logits and, with labels (-100 where nothing is asked), the mean loss, 0 where nothing is asked.

        Logits are (batch, length, vocab); in training with labels they are (asked, vocab), of the labelled positions
        alone in the order of the batch: the others add nothing to the loss and are most of the work.
        Other arguments are those of `ShoestringModel.forward`.
        """
        items = kwargs.pop("num_items_in_batch", None)
        outputs = self.model(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds=inputs_embeds,
            layer_norm_cond=layer_norm_cond, **kwargs,
        )  # fmt: skip
        hidden_states = self.transformed(outputs.last_hidden_state, layer_norm_cond)
        if labels is not None and self.training:
            asked = labels != -100
            hidden_states, labels = hidden_states[asked], labels[asked]
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits, labels, vocab_size=self.config.vocab_size, num_items_in_batch=targets(labels, items)
            )
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
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "_batch length"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch length embedding"] | None = None,
        labels: Int[Tensor, "batch _length"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        token_type_ids: Int[Tensor, "batch length"] | None = None,
        layer_norm_cond: Float[Tensor, "batch cond"] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Returns logits (batch, kept, vocab) and, with labels (the input ids; -100 is left out), the mean loss.

        Args:
            input_ids: token ids.
            attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, layer_norm_cond: as in
                `ShoestringModel.forward`.
            labels: token ids; position i is predicted from those before it.
            logits_to_keep: compute only this many logits, from the end; 0 keeps all; a tensor names the places.
            token_type_ids: under `prefix_lm`, 0 for the source and 1 for the target.
            kwargs: as in `ShoestringModel.forward`; `shift_labels` (labels that stand at the place they are predicted
                from) and `num_items_in_batch` are of the loss.
        """
        of_loss = {name: kwargs.pop(name, None) for name in ("shift_labels", "num_items_in_batch")}
        outputs = self.model(
            input_ids, attention_mask, token_type_ids, position_ids, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, layer_norm_cond=layer_norm_cond, **kwargs,
        )  # fmt: skip
        places = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(self.transformed(outputs.last_hidden_state[:, places], layer_norm_cond))
        loss = None if labels is None else self._loss(logits, labels, **of_loss)
        return CausalLMOutputWithPast(
            loss, logits, outputs.past_key_values, outputs.hidden_states, outputs.attentions
        )

    def _loss(
        self, logits: Tensor, labels: Tensor, shift_labels: Tensor | None, num_items_in_batch: Any
    ) -> Tensor:
        asked = labels[:, 1:] if shift_labels is None else shift_labels
        return self.loss_function(
            logits, labels, vocab_size=self.config.vocab_size, shift_labels=shift_labels,
            num_items_in_batch=targets(asked, num_items_in_batch),
        )  # fmt: skip

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


def register() -> None:
    """Makes the family known to transformers' Auto classes; importing this module does it, and again does nothing."""
    AutoConfig.register(ShoestringConfig.model_type, ShoestringConfig, exist_ok=True)
    for auto, model in (
        (AutoModel, ShoestringModel),
        (AutoModelForMaskedLM, ShoestringForMaskedLM),
        (AutoModelForCausalLM, ShoestringForCausalLM),
        (AutoModelForSequenceClassification, ShoestringForSequenceClassification),
        (AutoModelForTokenClassification, ShoestringForTokenClassification),
        (AutoModelForQuestionAnswering, ShoestringForQuestionAnswering),
    ):
        auto.register(ShoestringConfig, model, exist_ok=True)


register()
