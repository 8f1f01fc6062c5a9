"""The back ends as `attn_implementation` of transformers: talking_heads, talking_heads_eager, ..._chunked and so on.

Registered for the masks too: without that transformers hands out no mask and padding is attended to, silently.
"""

from __future__ import annotations

from functools import partial

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from shoestring._errors import OptionError
from shoestring.transformer.talking_heads.function import attend
from shoestring.transformer.talking_heads.written_out import Kernel, as_kernel, written_out

KERNELS: dict[str, Kernel] = {
    "talking_heads": as_kernel(partial(attend, backend="auto")),
    "talking_heads_eager": written_out,
    **{
        f"talking_heads_{name}": as_kernel(partial(attend, backend=name))
        for name in ("chunked", "triton", "lift")
    },
}
for _name, _kernel in KERNELS.items():
    AttentionInterface.register(_name, _kernel)
    AttentionMaskInterface.register(_name, sdpa_mask)


def mixing(implementation: str) -> Kernel:
    """Returns the kernel that a mixing layer runs under an `attn_implementation`.

    Raises:
        OptionError: that one would ignore the mixes.
    """
    found = {"eager": written_out, "sdpa": KERNELS["talking_heads"], **KERNELS}.get(implementation)
    if found is None:
        raise OptionError(
            f"attn_implementation {implementation!r} cannot mix heads; choose one of eager, sdpa, "
            f"{', '.join(KERNELS)}"
        )
    return found
