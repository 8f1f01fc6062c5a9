"""Linear mixes over the heads axis: one matrix for all, and matrices that each query or each key brings along.

- y[o] = sum over i of (matrix[i, o] + by_query[q, i, o] + by_key[k, i, o]) x[i], for every pair of query q and key k.
- The three are applied one after the other, so no tensor of (query, key, i, o) is ever made.
- No bias: after the softmax it would attend to masked keys, before the softmax it changes nothing.

Source: Shazeer et al. 2020, "Talking-Heads Attention", sections 3 and 4 (dynamic projections).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Mix(NamedTuple):
    """What mixes the heads; all three None mixes nothing.

    Args:
        matrix: (in, out), for every pair alike; None stands for the identity.
        by_query: (batch, query, in, out), added for each query.
        by_key: (batch, key, in, out), added for each key.
    """

    matrix: Tensor | None = None
    by_query: Tensor | None = None
    by_key: Tensor | None = None

    @property
    def mixes(self) -> bool:
        """Whether any head hears another one."""
        return self.matrix is not None or self.dynamic

    @property
    def dynamic(self) -> bool:
        """Whether the matrices depend on the input."""
        return self.by_query is not None or self.by_key is not None

    def part(self, row: slice, queries: slice, keys: slice) -> Mix:
        """Returns what concerns some rows of the batch, some queries and some keys; views, never copies."""
        return Mix(
            self.matrix,
            None if self.by_query is None else self.by_query[row, queries],
            None if self.by_key is None else self.by_key[row, keys],
        )

    def apply(self, x: Float[Tensor, "b i n m"]) -> Float[Tensor, "b o n m"]:
        """Returns the mixed heads; differentiable."""
        out = x
        if self.matrix is not None:
            out = torch.bmm(self.matrix.t().expand(x.shape[0], -1, -1), x.flatten(2)).view(
                x.shape[0], self.matrix.shape[1], *x.shape[2:]
            )
        if self.by_query is not None:
            out = out + torch.einsum("binm,bnio->bonm", x, self.by_query)
        if self.by_key is not None:
            out = out + torch.einsum("binm,bmio->bonm", x, self.by_key)
        return out

    def pull(
        self, x: Float[Tensor, "b i n m"], gradient: Float[Tensor, "b o n m"], into: Mix
    ) -> Float[Tensor, "b i n m"]:
        """Returns the gradient of x and adds those of the matrices to `into`."""
        back = gradient
        if self.matrix is not None and into.matrix is not None:
            flat_x, flat = x.flatten(2), gradient.flatten(2)
            back = torch.bmm(self.matrix.expand(len(x), -1, -1), flat).unflatten(2, x.shape[2:])
            into.matrix.add_(torch.bmm(flat_x, flat.transpose(1, 2)).sum(0))
        if self.by_query is not None and into.by_query is not None:
            back = back + torch.einsum("bonm,bnio->binm", gradient, self.by_query)
            into.by_query.add_(torch.einsum("binm,bonm->bnio", x, gradient))
        if self.by_key is not None and into.by_key is not None:
            back = back + torch.einsum("bonm,bmio->binm", gradient, self.by_key)
            into.by_key.add_(torch.einsum("binm,bonm->bmio", x, gradient))
        return back

    def zeros(self) -> Mix:
        """Returns room for the gradients."""
        return Mix(*(None if x is None else torch.zeros_like(x) for x in self))


def identity(rows: int, columns: int, like: Tensor) -> Tensor:
    """Returns the mix that changes nothing, of the device and type of another tensor."""
    return torch.eye(rows, columns, dtype=like.dtype, device=like.device)
