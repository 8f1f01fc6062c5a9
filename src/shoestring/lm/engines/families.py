"""The families of decoders that the torch engine runs: those that a test holds against transformers, one by one.

tests/lm/engines/test_families.py makes a small model of each with its own pattern of layers and windows shorter than
the prompt, and compares log-probabilities, rows padded on the left, steps, forks, joins, candidates, int8 and int4 with
an uncached forward pass. What is not in `EXACT` is refused by name: models that keep something else than keys and
values (Mamba, hybrids with linear attention), encoders, and decoders that lost their encoder.
"""

from __future__ import annotations

from typing import Any

from shoestring._errors import OptionError

_NAMES = """\
afmoe apertus arcee aria_text beam biogpt bitnet bloom codegen cohere cohere2 cohere2_moe cwm dbrx deepseek_v2
deepseek_v3 diffllama doge dots1 ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon flex_olmo flint gemma gemma2
gemma3_text glm glm4 glm4_moe glm4_moe_lite gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss
gptj granite granite_swa granitemoe granitemoe_swa granitemoeshared helium hrm_text hunyuan_v1_dense
hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 jetmoe kolibri1 laguna llama llama4_text mellum
mimo_v2_flash minicpm3 minimax_m2 ministral ministral3 mistral mixtral modernbert-decoder mpt nanochat nemotron
olmo olmo2 olmo3 olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss shoestring smollm3
solar_open stablelm starcoder2 vaultgemma xglm youtu
"""
EXACT = frozenset(_NAMES.split())
ROWS = frozenset({"bloom", "gpt_neo", "mpt"})  # of those, the ones that make masks of their own
_POSITIONS = {
    "bloom": ("seq_length", 2048),
    "mpt": ("max_seq_len", 2048),
}  # trained with so many; ALiBi names none


def require_known(kind: str) -> None:
    """Raises OptionError for a family that is not in `EXACT`."""
    if kind not in EXACT:
        raise OptionError(
            f"model_type {kind!r}: not among the {len(EXACT)} families that were proven equal to transformers, such "
            "as gpt2, llama, qwen3 or gemma2; run it with transformers itself"
        )


def positions_of(config: Any) -> int:
    """Returns how many tokens a row may have.

    Where positions are scaled by a text's length (rope types dynamic and longrope), keys that were kept would be of
    another scale than new ones: such models are run up to the length at which the scale changes.
    """
    name, usual = _POSITIONS.get(config.model_type, ("max_position_embeddings", None))
    positions = int(getattr(config, name, None) or usual or 0)
    if positions < 1:
        raise OptionError(
            f"model_type {config.model_type!r}: config.json does not say how many positions it has"
        )
    rope = getattr(config, "rope_parameters", None) or {}
    layers = rope.values() if rope and all(isinstance(each, dict) for each in rope.values()) else [rope]
    for each in layers:
        if each.get("rope_type") in ("dynamic", "longrope"):
            first = each.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            positions = min(positions, int(first or positions))
    return positions
