"""Who sees whom: one form for padding, causal, prefix and packed-document masks.

- A mask is boolean (True: may be seen) or added to the logits; it broadcasts to (batch, heads, query, key).
- `is_causal` counts from the end: of n queries and m keys, query i sees keys 0 to i + m - n, as with a cache.
- A value at or below the lowest finite number of its type hides a key as -inf does: other code masks with it.
- A query that sees nothing has weights 0, not NaN and not the mean of what it must not see.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from shoestring._errors import OptionError

Size = int | torch.SymInt  # the latter while torch.export traces


class Span(NamedTuple):
    """Some queries of some rows of the batch and the range of keys that at least one of them sees."""

    rows: slice
    queries: slice
    keys: slice


def checked(mask: Tensor | None, batch: Size, heads: int, queries: Size, keys: Size) -> Tensor | None:
    """Returns the mask with four dimensions.

    Raises:
        OptionError: its shape or its type does not fit.
    """
    if mask is None:
        return None
    if not (mask.dtype == torch.bool or mask.is_floating_point()):
        raise OptionError(
            f"a mask of type {mask.dtype}: give a boolean one (True: may be seen) or one to add to the logits; "
            "for 1 and 0 write mask.bool()"
        )
    wanted = (batch, heads, queries, keys)
    given = (1,) * (4 - mask.ndim) + tuple(mask.shape)
    if mask.ndim > 4 or any(a not in (1, b) for a, b in zip(given, wanted, strict=True)):
        raise OptionError(
            f"a mask of shape {tuple(mask.shape)} does not broadcast to (batch, heads, query, key) = {wanted}; "
            "a padding mask (batch, key) is written mask[:, None, None, :]"
        )
    return mask.reshape(given)


def lowest(dtype: torch.dtype) -> float:
    """Returns the number from which down a logit counts as hidden."""
    return torch.finfo(dtype).min / 2


def visible(
    mask: Tensor | None, is_causal: bool, queries: Size, keys: Size, device: torch.device
) -> Bool[Tensor, "_b _h _n _m"] | None:
    """Returns True where a query may see a key, broadcastable to all pairs; None where all may."""
    seen = None if mask is None else _seen(mask)
    if is_causal:
        triangle = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
        seen = triangle[None, None] if seen is None else seen & triangle
    return seen


def _seen(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask > lowest(mask.dtype)


def part(mask: Tensor | None, rows: slice, queries: slice, keys: slice) -> Tensor | None:
    """Returns the part of a broadcasting mask for some pairs."""
    if mask is None:
        return None
    cuts = (rows, slice(None), queries, keys)
    return mask[tuple(cut if size > 1 else slice(None) for cut, size in zip(cuts, mask.shape, strict=True))]


def hide_(logits: Tensor, mask: Tensor | None, diagonal: int | None) -> Tensor | None:
    """Hides in place what may not be seen and returns which queries see nothing, (..., query, 1), if any may.

    Args:
        logits: (batch, heads, query, key).
        mask: broadcastable to the logits.
        diagonal: query i sees keys up to i + diagonal; None: all.
    """
    keys = logits.shape[-1]
    if mask is not None and mask.dtype == torch.bool:
        logits.masked_fill_(~mask, -torch.inf)
    elif mask is not None:
        logits += mask
        logits.masked_fill_(mask <= lowest(mask.dtype), -torch.inf)
    if diagonal is not None and diagonal < keys - 1:
        edge = max(diagonal + 1, 0)  # keys before the edge are seen by all
        rows = torch.arange(logits.shape[-2], device=logits.device)[:, None] + diagonal
        columns = torch.arange(edge, keys, device=logits.device)
        logits[..., edge:].masked_fill_(columns > rows, -torch.inf)
    if mask is None and (diagonal is None or diagonal >= 0):
        return None
    blind = logits.amax(-1, keepdim=True) <= lowest(logits.dtype)
    if logits.device.type == "cpu" and not blind.any():  # elsewhere a look would wait for the device
        return None
    return blind


def spans(
    mask: Tensor | None,
    is_causal: bool,
    batch: int,
    queries: int,
    keys: int,
    size: tuple[int, int],
    look: bool = True,
) -> list[Span]:
    """Cuts rows and queries into chunks of at most `size` (rows, queries), each with the keys it needs.

    Unless it may look at the mask nothing is read from the device, and only `is_causal` leaves keys out.
    """
    rows, most = size
    limits = [([0], [keys])] if mask is None or mask.shape[-1] == 1 or not look else _limits(mask)
    out = []
    for row in range(0, batch, rows):
        here = limits[row : row + rows] if len(limits) > 1 else limits
        for start in range(0, queries, most):
            stop = min(start + most, queries)
            cut = slice(start, stop) if len(here[0][0]) > 1 else slice(None)
            low = min(min(firsts[cut]) for firsts, _ in here)
            high = max(max(lasts[cut]) for _, lasts in here)
            high = min(high, stop + keys - queries) if is_causal else high
            if low < high:
                out.append(Span(slice(row, min(row + rows, batch)), slice(start, stop), slice(low, high)))
    return out


def _limits(mask: Tensor) -> list[tuple[list[int], list[int]]]:
    """Returns for each row of the batch (or one for all) each query's first visible key and the end of them."""
    keys = mask.shape[-1]
    seen = _seen(mask).any(1).byte()  # (b, n, m)
    some = seen.amax(-1)
    first = torch.where(some > 0, seen.argmax(-1), keys)
    last = torch.where(some > 0, keys - seen.flip(-1).argmax(-1), 0)
    return list(zip(first.tolist(), last.tolist(), strict=True))
