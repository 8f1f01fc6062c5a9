"""Frozen lower layers, computed once for each text: what lets a CPU fine-tune the upper ones.

- While the block lasts, the model's embeddings and lower layers are replaced by a memory: token ids in, hidden
  states out. A text that is seen again, in the next epoch or another pair, is read instead of computed.
- The states lie in a temporary file, as they were computed: training with and without the memory is the same.
- For models with `embeddings` and `encoder.layer`: BERT, RoBERTa, XLM-R, ERNIE, MacBERT, ELECTRA.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoestring._errors import OptionError
from shoestring.match.training.joined import Joined


class Store:
    """Hidden states in a temporary file, by token ids: of one base model and so many of its layers.

    Several runs of that base may share one, as long as it freezes the same layers in all of them.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.places: dict[bytes, tuple[int, int]] = {}
        self.end = 0

    def put(self, key: bytes, states: NDArray) -> None:
        """Stores (length, width) float32."""
        self.file.seek(self.end)
        self.file.write(np.ascontiguousarray(states).tobytes())
        self.places[key] = (self.end, len(states))
        self.end += states.nbytes

    def get(self, key: bytes, width: int) -> Tensor:
        """Returns (length, width) float32."""
        start, length = self.places[key]
        self.file.seek(start)
        data = self.file.read(length * width * 4)
        return torch.frombuffer(bytearray(data), dtype=torch.float32).view(length, -1)

    def close(self) -> None:
        """Gives the file back."""
        self.file.close()


@contextmanager
def frozen(model: Any, layers: int, cached: bool = True, store: Store | None = None) -> Iterator[None]:
    """Keeps the embeddings and the lower `layers` of a model as they are while the block lasts.

    Args:
        model: a SentenceTransformer or CrossEncoder.
        layers: how many; 0 freezes nothing.
        cached: compute them once for each text; False computes them every time, to the same result.
        store: where to keep them, for several runs; None has one of its own.

    Raises:
        OptionError: the model has fewer layers, or another structure.
    """
    if not layers:
        yield
        return
    base, stack = _structure(model, layers)
    lower = [base.embeddings, *stack[:layers]]
    for parameter in (each for part in lower for each in part.parameters()):
        parameter.requires_grad_(False)
    kept = Store() if store is None else store
    memory = _Memory(base, layers, kept, isinstance(model[0], Joined)) if cached else None
    embeddings = base.embeddings
    if memory is not None:
        base.embeddings, base.encoder.layer = memory, stack[layers:]
        handles = [model[0].register_forward_pre_hook(memory.look)]
    else:
        handles = [part.register_forward_pre_hook(_at_rest) for part in lower]
    try:
        yield
    finally:
        if memory is not None:
            base.embeddings, base.encoder.layer = embeddings, stack
            if store is None:
                kept.close()
        for handle in handles:
            handle.remove()
        for parameter in (each for part in lower for each in part.parameters()):
            parameter.requires_grad_(True)


def _at_rest(part: nn.Module, _: Any) -> None:
    part.eval()


def _structure(model: Any, layers: int) -> tuple[Any, nn.ModuleList]:
    base = getattr(model.transformers_model, "base_model", None)
    stack = getattr(getattr(base, "encoder", None), "layer", None)
    if not isinstance(stack, nn.ModuleList) or not hasattr(base, "embeddings"):
        raise OptionError(
            f"freeze {layers}: {type(base).__name__} is not built like BERT; train all its layers with 0"
        )
    if model.tokenizer.padding_side != "right":
        raise OptionError(f"freeze {layers}: the tokenizer pads on the left; train all its layers with 0")
    if layers >= len(stack):
        raise OptionError(f"freeze {layers}: the model has {len(stack)} layers; at least one must be trained")
    return base, stack


class _Memory(nn.Module):
    """Stands where the embeddings were and returns what the lowest layers make of them.

    Args:
        base: the encoder.
        layers: how many.
        store: where to keep them.
        apart: the columns of type 0 and of type 1 are two texts that do not see each other.
    """

    def __init__(self, base: Any, layers: int, store: Store, apart: bool = False) -> None:
        super().__init__()
        lower = copy.copy(base)  # shares the weights, but has the lower layers only
        lower._modules = dict(base._modules)
        lower.encoder = copy.copy(base.encoder)
        lower.encoder._modules = dict(base.encoder._modules)
        lower.encoder.layer = base.encoder.layer[:layers]
        if "pooler" in lower._modules:
            lower.pooler = None
        self.lower = [lower]  # in a list, so that it is neither saved nor trained
        self.store, self.apart = store, apart
        self.mask = torch.zeros(0)

    def look(self, _: nn.Module, inputs: tuple[dict[str, Any], ...]) -> None:
        """Notes which tokens count, before the encoder runs: a text may hold the token that pads."""
        self.mask = inputs[0]["attention_mask"]

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None, **_: Any) -> Tensor:
        """Returns (batch, length, width) hidden states; what they are at padding does not matter."""
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        if not self.apart:
            return self._states(input_ids, self.mask, types)
        sides = ((input_ids[:, side], self.mask[:, side]) for side in (types[0] == 0, types[0] == 1))
        return torch.cat([self._states(*side, torch.zeros_like(side[0])) for side in sides], dim=1)

    def _states(self, input_ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        lengths = mask.sum(dim=1).tolist()
        ids, kinds = input_ids.cpu().numpy().astype(np.int32), types.cpu().numpy().astype(np.int8)
        how = bytes([torch.is_autocast_enabled(input_ids.device.type)])  # in bf16 they are others
        keys = [
            how + ids[at, :length].tobytes() + kinds[at, :length].tobytes()
            for at, length in enumerate(lengths)
        ]
        new = [at for at, key in enumerate(keys) if key not in self.store.places]
        if new:
            self._compute([keys[at] for at in new], input_ids[new], mask[new], types[new])
        states = torch.zeros(*input_ids.shape, self.lower[0].config.hidden_size)
        for at, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            states[at, :length] = self.store.get(key, states.shape[2])
        return states.to(input_ids.device)

    @torch.no_grad()
    def _compute(self, keys: list[bytes], ids: Tensor, mask: Tensor, types: Tensor) -> None:
        lower = self.lower[0].eval()
        settings = {"token_type_ids": types} if lower.config.type_vocab_size > 1 else {}
        states = lower(input_ids=ids, attention_mask=mask, **settings).last_hidden_state.float().cpu().numpy()
        for key, row, length in zip(keys, states, mask.sum(dim=1).tolist(), strict=True):
            self.store.put(key, row[:length])
