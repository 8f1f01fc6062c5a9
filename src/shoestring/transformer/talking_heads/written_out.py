"""The form in which transformers calls attention, and the back end that has everything written out.

- A layer's `pre_mix` and `post_mix` say how it mixes; a layer without them, of any model, is plain attention.
- No mask and fewer queries than keys is the first read into a cache of fixed size: to transformers "causal" then counts
  from the first key (`sdpa_mask`, `sdpa_attention_forward`), where `talking_heads_attention` counts from the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from shoestring.transformer.talking_heads.call import prepared, without_autocast
from shoestring.transformer.talking_heads.eager import attention
from shoestring.transformer.talking_heads.mix import Mix

Kernel = Callable[..., tuple[Tensor, "Tensor | None"]]


def as_kernel(attend: Callable[..., tuple[Tensor, Tensor | None]]) -> Kernel:
    """Returns a back end in the form that transformers calls; only eager returns its weights."""

    def run(
        module: nn.Module,
        query: Float[Tensor, "b hk n k"],
        key: Float[Tensor, "b _g m k"],
        value: Float[Tensor, "b _u m v"],
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        is_causal: bool | None = None,
        **kwargs: object,
    ) -> tuple[Float[Tensor, "b n hv v"], Float[Tensor, "b hv n m"] | None]:
        causal, unwritten = _causal(module, query, attention_mask, is_causal), 0
        if causal and query.shape[2] < key.shape[2]:
            unwritten = key.shape[2] - query.shape[2]
            key, value, kwargs = _written(query.shape[2], key, value, kwargs)
        output, weights = attend(
            query, key, value, *mixes_of(module, kwargs), mask=attention_mask, is_causal=causal, scale=scaling,
            dropout=dropout,
        )  # fmt: skip
        if weights is not None and unwritten:
            weights = functional.pad(weights, (0, unwritten))
        return output.transpose(1, 2).contiguous(), weights

    return run


def _written(
    length: int, key: Tensor, value: Tensor, given: dict[str, object]
) -> tuple[Tensor, Tensor, dict[str, object]]:
    """Returns the part of a cache of fixed size that has been written: behind it are keys that nobody sees yet."""
    by_key = {name: x[:, :length] for name, x in given.items() if name.endswith("_by_key") and x is not None}  # pyrefly: ignore
    return key[:, :, :length], value[:, :, :length], {**given, **by_key}


def mixes_of(module: nn.Module, given: dict[str, object]) -> tuple[Mix, Mix]:
    """Returns the mixes of a layer: those of the call, else its own `pre_mix` and `post_mix`."""
    found = []
    for name in ("pre", "post"):
        matrix = given.get(name, getattr(module, f"{name}_mix", None))
        found.append(Mix(matrix, given.get(f"{name}_by_query"), given.get(f"{name}_by_key")))  # pyrefly: ignore
    return found[0], found[1]


def _causal(module: nn.Module, query: Tensor, mask: Tensor | None, is_causal: bool | None) -> bool:
    """Decides as transformers does: a mask says all, and without one only a row of queries can be causal."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    return mask is None and bool(causal) and query.shape[2] > 1


def _attend_written_out(query: Tensor, key: Tensor, value: Tensor, pre: Mix, post: Mix, **settings: Any):
    call = prepared(query, key, value, pre, post, **settings)
    with without_autocast(query):
        return attention(call.query, call.key, call.value, call.terms)


written_out = as_kernel(_attend_written_out)
