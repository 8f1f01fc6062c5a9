"""A decoding step in one call of the kernel: norms, products, attention and the cache's new keys of all blocks.

Between the layers of a small model Python and torch cost more than the products do. Prompts, candidates and models without
a form (`forms`) are read by the model itself.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.lm.engines.forms import Form, form_of
from shoestring.lm.weights.few_bits import LEVEL, _kernel

SMALL = 1 << 17  # products of a step below which a second thread costs more than it gives
_FIRST = 1024  # positions whose rotary angles are computed at first


class FusedStep:
    """The decoding step of a model that has a form.

    Args:
        form: of the model.
        positions: how many tokens a row may have.
    """

    def __init__(self, form: Form, positions: int) -> None:
        self.form, self._positions = form, positions
        self._packed = form.packed()
        self._products = sum(layer.outputs * layer.inputs for block in form.blocks for layer in block.linear)
        self._own = threading.local()  # a thread's working memory
        self._angles: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def __call__(
        self, tokens: Sequence[int], cache: Any, pads: Sequence[int]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Returns the logits after one more token of each row; its keys and values are appended to the cache.

        Args:
            tokens: one for each row.
            cache: of `cache.new_cache`, with at least one token.
            pads: how many tokens on the left of each row are none.
        """
        seen, padding = cache.get_seq_length(), torch.tensor(pads)
        positions = seen - padding
        x = self.form.embed(torch.tensor(tokens)[:, None], positions[:, None])[:, 0].contiguous()
        angles = [table[positions] for table in self._turns(seen + 1)]
        buffers = [layer.lengthen(1) for layer in cache.layers]
        held = [keys.data_ptr() for keys, _ in buffers] + [values.data_ptr() for _, values in buffers]
        rows, room = len(x), buffers[0][0].shape[2]
        threads = 1 if rows * self._products < SMALL else torch.get_num_threads()
        memory = self._room_for(rows, room, threads)
        _kernel.step(
            self._packed, x.data_ptr(), rows, *([each.data_ptr() for each in angles] or (0, 0)),
            padding.data_ptr(), struct.pack(f"@{len(held)}P", *held), seen, room, memory.data_ptr(), threads, LEVEL,
        )  # fmt: skip
        return self.form.head(x)

    def _room_for(self, rows: int, room: int, threads: int) -> Tensor:
        needed = _kernel.step_bytes(self._packed, rows, room, threads)
        memory = getattr(self._own, "memory", None)
        if memory is None or len(memory) < needed:
            memory = self._own.memory = torch.empty(needed, dtype=torch.uint8)
        return memory

    def _turns(self, count: int) -> tuple[Tensor, ...]:
        """Returns cosines and sines of the first positions, at least so many, (positions, head size)."""
        rotary = self.form.rotary
        if rotary is None:
            return ()
        if self._angles is None or len(self._angles[0]) < count:
            count = max(count, min(max(2 * count, _FIRST), self._positions))
            cosines, sines = rotary(torch.empty(0), torch.arange(count)[None])
            self._angles = cosines[0].contiguous(), sines[0].contiguous()
        return self._angles


def fused_step(model: Any, positions: int) -> FusedStep | None:
    """Returns the step of a model, or None: it has no form, or the kernel was not compiled."""
    form = form_of(model) if _kernel is not None else None
    return None if form is None else FusedStep(form, positions)
