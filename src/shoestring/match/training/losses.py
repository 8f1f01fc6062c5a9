"""CoSENT for sentence-transformers: bi-encoders and cross-encoders, at once, cached, over all processes.

- Works as `loss` of SentenceTransformerTrainer and CrossEncoderTrainer, DistributedDataParallel included.
- `chunk=c` holds the activations of c pairs at a time, however large the batch: scores first without a graph, the
  closed-form gradient from all of them, then chunk by chunk a second forward pass and its backward pass
  (GradCache, Gao et al. 2021, arXiv 2101.06983). Chunks are of similar length, so little is padding.
- The gradient equals the whole batch's: random numbers of a chunk are the same in both passes.
- On a CPU what goes through the model goes in parts of similar length, so that less of it is padding; of a whole batch
  the graphs of all parts are kept, of a chunk's only one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device, pairwise_angle_sim, pairwise_cos_sim
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shoestring._errors import OptionError
from shoestring.match.training.cosent import cosent
from shoestring.match.training.tokenizing import in_pieces

SIMILARITIES = {"cosine": pairwise_cos_sim, "angle": pairwise_angle_sim}
PART = 16  # pairs in a forward pass on a CPU
Features = list[dict[str, Any]]


class CoSENTLoss(nn.Module):
    """CoSENT over the scores of a model.

    Args:
        model: a SentenceTransformer, whose embeddings are compared, or a CrossEncoder with one logit.
        scale: None is 20 for similarities and 1 for logits.
        similarity: cosine, or angle (AnglE, Li & Li 2024, arXiv 2309.12871); not for a CrossEncoder.
        chunk: pairs in one forward pass; None takes the whole batch at once.

    Raises:
        OptionError: the model or a setting does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        scale: float | None = None,
        similarity: str = "cosine",
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.crossed = isinstance(model, CrossEncoder)
        if isinstance(model, CrossEncoder) and model.num_labels != 1:
            raise OptionError(f"CoSENT needs a cross-encoder with 1 logit, this one has {model.num_labels}")
        if similarity not in SIMILARITIES:
            raise OptionError(f"similarity {similarity!r}: choose one of {', '.join(SIMILARITIES)}")
        if chunk is not None and chunk < 1:
            raise OptionError(f"chunk {chunk}: must be at least 1")
        self.model: Any = model
        self.scale = scale or (1.0 if self.crossed else 20.0)
        self.similarity = similarity
        self.chunk = chunk

    def forward(
        self, features: Any, labels: Tensor, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """Returns the loss of a batch.

        Args:
            features: two dicts of tensors; for a cross-encoder two lists of texts.
            labels: (batch,).
            prompt: of a cross-encoder.
            task: of a cross-encoder.
        """
        if self.crossed:
            pairs = list(zip(*features, strict=True))
            made = in_pieces(self.model.preprocess, self.model.tokenizer, pairs, prompt=prompt, task=task)
            features = [batch_to_device(made, labels.device)]
        features, labels = list(features), labels.view(-1)
        if self.chunk is None or len(labels) <= self.chunk:
            return cosent(self._whole(features, labels), labels, self.scale, gathered=True)
        return self._cached(features, labels, self.chunk)

    def _whole(self, features: Features, labels: Tensor) -> Tensor:
        if labels.device.type != "cpu" or len(labels) <= PART:
            return self.scores(features)
        order = _by_length(features)
        found = torch.cat([self.scores(_rows(features, places)) for places in order.split(PART)])
        return found[order.argsort()]

    def scores(self, features: Features) -> Tensor:
        """Returns (pairs,) scores with their graph."""
        if self.crossed:
            return self.model(features[0])["scores"].view(-1)
        one, two = (self.model(dict(each))["sentence_embedding"] for each in features)
        return SIMILARITIES[self.similarity](one, two)

    def _cached(self, features: Features, labels: Tensor, size: int) -> Tensor:
        order, part = _by_length(features), min(size, PART) if labels.device.type == "cpu" else size
        chunks, states, found = order.split(part), [], []
        with torch.no_grad():
            for places in chunks:
                states.append(_random_state(labels.device))
                found.append(self.scores(_rows(features, places)))
        scores = torch.empty_like(torch.cat(found))
        scores[order] = torch.cat(found)
        if not torch.is_grad_enabled():
            return cosent(scores, labels, self.scale, gathered=True)
        scores.requires_grad_()
        loss = cosent(scores, labels, self.scale, gathered=True)
        (gradient,) = torch.autograd.grad(loss, scores)
        loss = loss.detach().requires_grad_()
        loss.register_hook(lambda outer: self._replay(features, chunks, states, gradient * outer))
        return loss

    def _replay(self, features: Features, chunks: Sequence[Tensor], states: list, gradient: Tensor) -> None:
        """Runs every chunk again and sends its scores' gradient back; processes exchange theirs after the last."""
        for number, (places, state) in enumerate(zip(chunks, states, strict=True), 1):
            quiet = number < len(chunks) and isinstance(self.model, DistributedDataParallel)
            with (
                torch.enable_grad(),
                _random(gradient.device, state),
                self.model.no_sync() if quiet else nullcontext(),
            ):
                scores = self.scores(_rows(features, places))
                scores.backward(gradient[places].to(scores.dtype))

    def get_config_dict(self) -> dict[str, Any]:
        """Returns the settings, for the model card of sentence-transformers."""
        return {"scale": self.scale, "similarity": self.similarity, "chunk": self.chunk}


def _by_length(features: Features) -> Tensor:
    """Returns the places of the pairs, longest first."""
    lengths = [each["attention_mask"].sum(dim=1) for each in features]
    return torch.stack(lengths).sum(dim=0).argsort(descending=True, stable=True)


def _rows(features: Features, places: Tensor) -> Features:
    """Takes these rows of every tensor, without columns that only pad."""
    out = []
    for each in features:
        mask = each["attention_mask"][places]
        used = mask.any(dim=0).nonzero()
        width = slice(int(used[0]), int(used[-1]) + 1)
        shape = each["attention_mask"].shape
        out.append(
            {
                name: _part(value, places, width, shape) if isinstance(value, Tensor) else value
                for name, value in each.items()
            }
        )
    return out


def _part(value: Tensor, places: Tensor, width: slice, shape: torch.Size) -> Tensor:
    if value.shape[:2] == shape:
        return value[places][:, width]
    return value[places] if value.ndim and len(value) == shape[0] else value


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _random(device: torch.device, state: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    """Runs the block with the random numbers that followed an earlier state."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
