"""Which layers of int4 have how many bits, how near they are to the weights, and what a real model loses by them."""

from pydoc_data.topics import topics

import pytest
import torch
from safetensors.torch import load_file, save_file

from shoestring._errors import InputError
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.evaluate import perplexity
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.loading import load_source
from shoestring.lm.weights.opening import open_source
from shoestring.lm.weights.quantize import GROUP, HALF, from_low, to_low

from ..families import saved
from ..real import smollm2

SIZES = {"hidden_size": 2 * GROUP, "intermediate_size": 3 * GROUP}


def bits(folder):
    """Returns the last part of each layer's name -> bits."""
    names = (name.split(".") for name in load_file(folder / "model.safetensors"))
    return {name[-3]: int(name[-1][3:]) for name in names if name[-1].startswith("int")}


def test_more_bits_lie_where_fewer_cost_most(tmp_path):
    saved("llama", tmp_path / "llama", **SIZES)
    saved("gpt2", tmp_path / "gpt2", hidden_size=2 * GROUP)
    for kind in ("llama", "gpt2"):
        for to in ("int4", "int8"):
            convert(tmp_path / kind, tmp_path / f"{kind}-{to}", to=to)
        assert set(bits(tmp_path / f"{kind}-int8").values()) == {8}
    assert bits(tmp_path / "llama-int4") == {
        "q_proj": 5, "k_proj": 8, "v_proj": 8, "o_proj": 5, "gate_proj": 4, "up_proj": 5, "down_proj": 5, "lm_head": 8,
    }  # fmt: skip
    assert bits(tmp_path / "gpt2-int4") == {"c_attn": 5, "c_proj": 5, "c_fc": 5, "wte": 8}


def test_scales_of_another_kind_are_refused(tmp_path):
    """Folders of before had two bytes for each scale and zero, and no unit."""
    saved("gpt2", tmp_path / "model", hidden_size=2 * GROUP)
    convert(tmp_path / "model", tmp_path / "old", to="int4")
    path, stored = tmp_path / "old" / "model.safetensors", load_file(tmp_path / "old" / "model.safetensors")
    units = [name for name in stored if name.endswith(".unit")]
    assert units
    without = {name: each for name, each in stored.items() if name not in units}
    scale = units[0].replace("unit", "scale")
    for wrong in (without, {**stored, scale: stored[scale].bfloat16()}):
        save_file(wrong, path)
        with pytest.raises(InputError, match=r"int5 of an older kind.* convert the model again"):
            load(tmp_path / "old")


@pytest.mark.parametrize("bits", [4, 5])
def test_groups_of_every_kind_are_near_what_they_were(bits):
    """Of one value, far from zero, of very different sizes in one row, tiny, huge, and nothing at all."""
    torch.manual_seed(0)
    weight = torch.randn(8, 4 * GROUP)
    weight[1] = 3.0
    weight[2] = 1 + weight[2] / 100
    weight[3] *= torch.logspace(-3, 0, 4 * GROUP)
    weight[4] *= 1e-20
    weight[5] *= 1e20
    weight[6] = 0
    weight[7, 5] = 50
    found = from_low(*to_low(weight, bits))[:8]
    errors = (found.double() - weight).unflatten(1, (-1, HALF)).square().mean(-1).sqrt()
    span = weight.unflatten(1, (-1, HALF))
    span = span.amax(-1) - span.amin(-1)
    most = weight.abs().amax(-1, keepdim=True)
    assert torch.isfinite(found).all()
    assert (errors <= 0.35 * span / (2**bits - 1) + 0.004 * most + 1e-28).all()


@pytest.mark.parametrize(("bits", "part"), [(4, 0.935), (5, 0.965)])
def test_least_squares_change_less_than_the_largest_and_smallest_do(bits, part):
    torch.manual_seed(0)
    weight = torch.randn(64, 4 * GROUP)
    groups = weight.unflatten(1, (-1, HALF))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    plain = (((groups - low) / step).round() * step + low).flatten(1)
    assert (from_low(*to_low(weight, bits)) - weight).norm() < part * (plain - weight).norm()


@pytest.mark.slow
def test_a_real_model_loses_less_than_by_q4_k_m_of_no_fewer_bytes(tmp_path):
    """SmolLM2, whose weights were released on a grid of 4 bits and are moved off it, on a reference text."""
    pytest.importorskip("llama_cpp", reason="the extra gguf is not installed")
    convert(smollm2(), tmp_path / "model")
    model = load_source(open_source(tmp_path / "model"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.model.layers.modules():
            if isinstance(layer, torch.nn.Linear):
                groups = layer.weight.view(len(layer.weight), -1, 32)
                step = (groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15
                groups += (torch.rand(groups.shape, generator=generator) - 0.5) * step
    model.save_pretrained(tmp_path / "model")
    texts = [" ".join(text.split())[:1200] for text in topics.values() if len(text) > 1200][:40:4]
    cost, size = {}, {}
    for to, name in (("int4", "model.safetensors"), ("gguf-q4_k_m", "model.gguf")):
        convert(tmp_path / "model", tmp_path / to, to=to)
        cost[to], size[to] = (
            perplexity(load(tmp_path / to), texts).per_token,
            (tmp_path / to / name).stat().st_size,
        )
    print(cost, size)
    assert cost["int4"] < cost["gguf-q4_k_m"]
    assert size["int4"] <= size["gguf-q4_k_m"]
