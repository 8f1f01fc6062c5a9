"""Our own family, every kind of it: what it computes stays."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from shoestring._errors import OptionError
from shoestring.transformer import ShoestringConfig, ShoestringForCausalLM, ShoestringForMaskedLM

from .models import logits, save

BASE = {
    "vocab_size": 61, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "key_size": 6, "value_size": 4,
    "intermediate_size": 24, "max_position_embeddings": 32, "norm_eps": 1e-3,
}  # fmt: skip
KINDS = {
    "pre": {},
    "decoder": {"is_decoder": True},
    "layer": {"norm": "layer", "position": "learned"},
    "post": {"norm_position": "post", "norm": "layer"},
    "biases": {
        "attention_bias": True,
        "mlp_bias": True,
        "gated": False,
        "type_vocab_size": 2,
        "head_bias": True,
    },
    "transform": {"norm_position": "post", "norm": "layer", "head_transform": True, "hidden_act": "gelu"},
    "narrow": {"embedding_size": 8, "head_transform": True},
    "conditional": {"norm": "layer", "layer_norm_cond_size": 5},
    "talks before": {"talking_heads": "pre", "num_key_heads": 2},
    "talks after": {"talking_heads": "post", "num_value_heads": 6},
    "talks": {"talking_heads": "both", "num_key_heads": 2, "num_value_heads": 6, "is_decoder": True},
    "talks in groups": {"talking_heads": "both", "num_key_value_heads": 2},
    "groups": {"num_key_value_heads": 2},
    "dynamic": {"talking_heads": "both", "dynamic_talking_heads": True},
}
GROWTHS = {
    "2x": {"hidden": "2x"},
    "1.5x": {"hidden": "1.5x", "heads": "1x"},
    "heads": {"heads": "2x", "ffn": "+3"},
    "key size": {"head_dim": "10"},
    "blocks and ids": {"layers": "+2", "vocab": "+5"},
}
POST = ("post", "transform")


def model(folder, kind):
    config = ShoestringConfig(**BASE, **KINDS[kind])
    head = ShoestringForCausalLM if config.is_decoder else ShoestringForMaskedLM

    class Head:
        from_config = staticmethod(head)

    return save(folder, config, Head)


def distance(source, target, kind):
    head = AutoModelForCausalLM if KINDS[kind].get("is_decoder") else AutoModelForMaskedLM
    old, new = (logits(folder, head, torch.float64) for folder in (source, target))
    return float((old - new).abs().max() / old.abs().max())


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_it_computes_stays(kind, growth, tmp_path, enlarge):
    request = {**GROWTHS[growth], "dtype": "float64"}
    source = model(tmp_path / "small", kind)
    refused = (
        (kind in POST and growth in ("1.5x", "blocks and ids"))
        or (kind, growth) in (("dynamic", "heads"), ("conditional", "1.5x"))
    )  # fmt: skip
    if refused:
        with pytest.raises(OptionError):
            enlarge(source, **request)
        return
    if kind in ("groups", "talks in groups") and growth == "heads":
        request["kv_heads"] = "2x"
    assert distance(source, enlarge(source, **request), kind) <= 1e-12


def test_computed_positions_hold_their_width(tmp_path, enlarge):
    config = ShoestringConfig(**BASE, position="sinusoidal")

    class Head:
        from_config = staticmethod(ShoestringForMaskedLM)

    with pytest.raises(OptionError, match="positions are computed for this width; grow --ffn"):
        enlarge(save(tmp_path / "small", config, Head), hidden="2x")


def test_mixes_of_copies_differ(tmp_path, enlarge):
    """Equal rows would get equal gradients for ever."""
    from safetensors.torch import load_file

    target = enlarge(model(tmp_path / "small", "talks"), heads="2x")
    tensors = load_file(target / "model.safetensors")
    for name in ("pre_mix", "post_mix"):
        mix = tensors[f"model.layers.0.attention.{name}"]
        half = len(mix) // 2
        assert not torch.allclose(mix[:half], mix[half:], rtol=1e-3)
