"""New blocks for architectures without a rule: a copy of an old one in which some tensors are zero adds nothing.

Which tensors those are is tried: first the gains of norms on what a sublayer puts out (zero weights below such a norm
would have gradients of the order of 1 / sqrt(eps)), then what usually is a sublayer's last projection. Only what leaves
the outputs of a tiny model with all of the blocks as they were, in fp64, is accepted; with norms on the residual stream
itself (BERT) nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shoestring.grow.infer.probing import Key
from shoestring.grow.infer.tiny import LAYERS, number
from shoestring.grow.plan.planning import block_sources

OUTPUTS = re.compile(
    r"(?:^|\.)(?:o_proj|out_proj|c_proj|down_proj|dense_4h_to_h|fc2|fc_out|w2|wo|o|out_lin|lin2|output_linear|"
    r"(?:self_attn|attention|self_attention)\.dense|down|out|mlp\.c_proj)(?:\.weight|\.bias)?$"
)
OUTPUT_NORMS = re.compile(
    r"(?:^|\.)post_\w*norm\.weight$|(?:^|\.)\w*(?:attn|attention|mlp|ffn)_(?:out|output|post)_?norm\.weight$"
)
Silence = dict[Key, float]


def silences(keys: Iterable[Key]) -> Iterator[Silence]:
    """Yields what may make a block add nothing: keys, and the number that all of the tensor becomes."""
    inside = [key for key in dict.fromkeys(keys) if "*" in key[0]]
    norms = [key for key in inside if OUTPUT_NORMS.search(key[0])]
    for gain in (0.0, -1.0) if norms else ():  # gemma's norms multiply by 1 + weight
        yield dict.fromkeys(norms, gain)
    if outputs := [key for key in inside if OUTPUTS.search(key[0]) or (key[1] and OUTPUTS.search(key[1]))]:
        yield dict.fromkeys(outputs, 0.0)


def deeper(
    config: Mapping[str, Any], made: Any, new: int, place: str
) -> tuple[dict[str, Any], list[tuple[int, bool]]]:
    """Returns what changes in a config with more blocks, and which old block each new one copies.

    Args:
        config: as stored.
        made: transformers' object of it, which has its defaults.
        new: how many blocks there will be.
        place: see `block_sources`.
    """
    old, names = number(made, "num_hidden_layers"), getattr(made, "attribute_map", {})
    blocks = block_sources(old, new, place)
    changed: dict[str, Any] = {
        key: [value[source] for source, _ in blocks]
        for key, value in made.to_dict().items()
        if isinstance(value, list) and len(value) == old and key not in names
    }
    for name in LAYERS:
        key = names.get(name, name)
        if number(made, name) == old and (key in config or name == "num_hidden_layers"):
            changed[key] = new
    return changed, blocks


def renumbered(name: str, block: int) -> str:
    """Returns a tensor's name in another block; the first number in a name is its block's.

    >>> renumbered("model.layers.3.mlp.experts.0.w1.weight", 5)
    'model.layers.5.mlp.experts.0.w1.weight'
    """
    return re.sub(r"(?<=\.)\d+(?=\.)", str(block), name, count=1)
