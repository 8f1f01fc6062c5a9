"""Which numbers of heads fit together."""

from __future__ import annotations

from typing import Literal, get_args

from shoestring._errors import OptionError

Talking = Literal["none", "pre", "post", "both"]


def check_counts(counts: tuple[int, int, int], talking: str, dynamic: bool) -> None:
    """Raises OptionError unless these numbers of heads can be joined by these mixes."""
    key_heads, heads, value_heads = counts
    if talking not in get_args(Talking):
        raise OptionError(f"talking_heads {talking!r}: unknown; choose one of {', '.join(get_args(Talking))}")
    if key_heads != heads and talking not in ("pre", "both"):
        raise OptionError(
            f"num_key_heads {key_heads} and num_heads {heads} differ: only a mix before the softmax joins them; "
            "set talking_heads to pre or both"
        )
    if value_heads != heads and talking not in ("post", "both"):
        raise OptionError(
            f"num_value_heads {value_heads} and num_heads {heads} differ: only a mix after the softmax joins them; "
            "set talking_heads to post or both"
        )
    if dynamic and talking == "none":
        raise OptionError("dynamic_talking_heads makes mixes depend on the input; set talking_heads to both")


def check_sharing(shared: int | None, key_heads: int, value_heads: int) -> None:
    """Raises OptionError unless groups of heads can share so many keys and values."""
    if shared is not None and (shared < 1 or key_heads % shared or value_heads % shared):
        raise OptionError(
            f"num_key_value_heads {shared}: must divide the {key_heads} key heads and the {value_heads} value heads"
        )
