"""Tokens go through all blocks in one call of the kernel: norms, products, attention, new keys and values.

Between the layers of a small model Python and torch cost more than the products do. Candidates in a tree and models
without a form (`forms`) are read by the model itself. Floats are added in one order: a token's result has the same bits
alone, in company, whatever was read together with it, and on every processor.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from shoestring.lm.engines import cache as caches
from shoestring.lm.engines.forms import Form, form_of
from shoestring.lm.weights.few_bits import LEVEL, _kernel

SMALL = 1 << 17  # products below which a second thread costs more than it gives
_KEPT = 8 << 20  # bytes of working memory that a thread keeps
_FIRST = 1024  # positions whose rotary angles are computed at first


class Fused:
    """Reads tokens as a model that has a form does.

    Args:
        kernel: the module `shoestring.lm._kernel`.
        form: of the model.
        positions: how many tokens a row may have.
    """

    def __init__(self, kernel: Any, form: Form, positions: int) -> None:
        self._kernel, self.form, self._positions = kernel, form, positions
        self._packed = form.packed()
        self._products = sum(layer.outputs * layer.inputs for block in form.blocks for layer in block.linear)
        self._own = threading.local()  # a thread's working memory
        self._angles: tuple[Tensor, Tensor] | None = None

    def __call__(
        self, ids: Int[Tensor, "rows tokens"], cache: Any, pads: Sequence[int], keep: int
    ) -> Float[Tensor, "rows kept vocabulary"]:
        """Returns the logits of the last `keep` tokens, 0 is all; keys and values are appended to the cache.

        Args:
            ids: new tokens.
            cache: of `cache.new_cache`.
            pads: how many columns on the left of each row are no tokens.
            keep: how many tokens' logits.
        """
        (rows, count), seen, form = ids.shape, cache.get_seq_length(), self.form
        padding = torch.tensor(pads)
        positions = (torch.arange(seen, seen + count) - padding[:, None]).clamp(min=0)
        x = form.embed(ids, positions).contiguous()
        angles = [table[positions] for table in self._turns(int(positions.max()) + 1)]
        buffers = caches.lengthen(cache, count, (len(form.blocks), rows, form.key_heads, form.head_dim))
        held = [part[place].data_ptr() for place in (0, 1) for part in buffers]
        room = buffers[0][0].shape[2]
        threads = 1 if rows * count * self._products < SMALL else torch.get_num_threads()
        memory = self._memory(rows * count, room, threads)
        self._kernel.blocks(
            self._packed, x.data_ptr(), rows, count, *([each.data_ptr() for each in angles] or (0, 0)),
            padding.data_ptr(), struct.pack(f"@{len(held)}P", *held), seen, room, memory.data_ptr(), threads, LEVEL,
        )  # fmt: skip
        return form.head(x[:, -keep:])

    def _memory(self, lines: int, room: int, threads: int) -> Tensor:
        """Returns working memory, which is kept for the next step where it is small."""
        needed = self._kernel.blocks_bytes(self._packed, lines, room, threads)
        memory = getattr(self._own, "memory", None)
        if memory is None or len(memory) < needed:
            memory = torch.empty(needed, dtype=torch.uint8)
            self._own.memory = memory if needed <= _KEPT else None
        return memory

    def _turns(self, count: int) -> tuple[Tensor, ...]:
        """Returns cosines and sines of the first positions, at least so many, (positions, head size)."""
        rotary = self.form.rotary
        if rotary is None:
            return ()
        angles = self._angles  # of another thread's reading, maybe
        if angles is None or len(angles[0]) < count:
            count = max(count, min(max(2 * count, _FIRST), self._positions))
            cosines, sines = rotary(torch.empty(0, dtype=torch.float32), torch.arange(count)[None])
            self._angles = angles = cosines[0].contiguous(), sines[0].contiguous()
        return angles


def fused_of(model: Any, positions: int) -> Fused | None:
    """Returns what reads a model's tokens, or None: it has no form, or the kernel was not compiled."""
    form = form_of(model) if _kernel is not None else None
    return None if form is None else Fused(_kernel, form, positions)
