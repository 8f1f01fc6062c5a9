"""A folder is checked whole before it runs: what one precision refuses every precision does, by the weight's name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from shoestring._errors import InputError
from shoestring.lm.engines.load import load
from shoestring.lm.fewshot.choosing import choose
from shoestring.lm.fewshot.evaluate import perplexity
from shoestring.lm.generation.beam import beam_search
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.weights.conversion import convert

from ..conftest import changed
from ..families import saved

UP, NORM, BIAS = (
    f"model.layers.1.{name}" for name in ("mlp.up_proj.weight", "input_layernorm.weight", "mlp.bias")
)
WAYS = ("fp32", "bf16", "int8", "int4")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    saved("llama", folder, num_hidden_layers=2)
    return folder


@pytest.fixture(scope="module")
def stored(whole, tmp_path_factory):
    """The model in int8 and in int4."""
    folder = tmp_path_factory.mktemp("stored")
    for to in ("int8", "int4"):
        convert(whole, folder / to, to=to)
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copied")


def replaced(folder, **weights):
    """Changes weights of a folder; None takes one away."""
    held = {**load_file(folder / "model.safetensors"), **weights}
    kept = {name: weight.clone() for name, weight in held.items() if weight is not None}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def refused_everywhere(folder, tmp_path, *parts):
    for precision in WAYS:
        with pytest.raises(InputError) as error:
            load(folder, precision=precision, device="cpu")
        assert all(part in str(error.value) for part in parts), (precision, str(error.value))
    for to in ("hf", "int4"):
        with pytest.raises(InputError):
            convert(folder, tmp_path / "out", to=to)


@pytest.mark.parametrize(
    ("name", "weight", "says"),
    [
        (UP, None, "is missing"),
        (NORM, None, "is missing"),
        (UP, torch.ones(127, 64), "(127, 64), but config.json says (128, 64)"),
        (UP, torch.ones(128, 64, dtype=torch.int32), "int32"),
        (UP, torch.full((128, 64), torch.nan), "8,192 values that are not finite"),
        (NORM, torch.tensor([torch.inf] + [1.0] * 63), "1 values that are not finite"),
        (BIAS, torch.ones(128), "is not a weight of llama"),
        ("model.layers.2.mlp.up_proj.weight", torch.ones(128, 64), "is not a weight of llama"),
    ],
)
def test_weights_that_do_not_fit(copied, tmp_path, name, weight, says):
    replaced(copied, **{name: weight})
    refused_everywhere(copied, tmp_path, name, says)


@pytest.mark.parametrize(
    ("name", "weight", "says"),
    [
        ("self_attn.q_proj.bias", torch.ones(64), "is not a weight of mixtral"),
        ("block_sparse_moe.experts.1.w1.weight", None, "missing or of another size"),
        ("block_sparse_moe.experts.1.w1.weight", torch.ones(3, 64), "missing or of another size"),
        ("block_sparse_moe.experts.1.w1.weight", torch.tensor(torch.nan), "not finite"),
    ],
)
def test_experts_that_do_not_fit(tmp_path, name, weight, says):
    """Experts are stored apart and become one weight: only transformers can say what fits."""
    saved("mixtral", tmp_path / "model", num_hidden_layers=2)
    name = f"model.layers.1.{name}"
    if weight is not None and not weight.dim():
        weight = torch.full_like(load_file(tmp_path / "model/model.safetensors")[name], torch.nan)
    replaced(tmp_path / "model", **{name: weight})
    for precision in ("fp32", "bf16"):
        with pytest.raises(InputError, match=says):
            load(tmp_path / "model", precision=precision, device="cpu")


@pytest.mark.parametrize(
    ("family", "buffers"),
    [
        ("llama", ["model.layers.1.self_attn.rotary_emb.inv_freq"]),
        ("gpt2", ["transformer.h.1.attn.bias", "transformer.h.1.attn.masked_bias"]),
        ("gpt_neo", ["transformer.h.1.attn.attention.bias", "transformer.h.1.attn.attention.masked_bias"]),
        ("gpt_neox", ["gpt_neox.layers.1.attention.bias", "gpt_neox.layers.1.attention.masked_bias"]),
        ("codegen", ["transformer.h.1.attn.causal_mask"]),
    ],
)
def test_masks_and_frequencies_of_older_files_are_passed_over(tmp_path, family, buffers):
    saved(family, tmp_path / "model", num_hidden_layers=2)
    wanted = load(tmp_path / "model", device="cpu").open([[5, 6]]).logits
    replaced(tmp_path / "model", **{name: torch.ones(1, 1, 4, 4, dtype=torch.bool) for name in buffers})
    assert torch.equal(load(tmp_path / "model", device="cpu").open([[5, 6]]).logits, wanted)
    load(tmp_path / "model", device="cpu", precision="int8")


@pytest.mark.parametrize(
    "method", ["gptq", "awq", "fp8", "mxfp4", "bitsandbytes", "compressed-tensors", None]
)
def test_bits_that_others_took(copied, tmp_path, method):
    """GPTQ's config says bits too; ours is told by its model_type."""
    changed(copied, quantization_config={"quant_method": method, "bits": 4})
    refused_everywhere(copied, tmp_path, "is quantized", method or "")


def test_no_quantization_is_none(copied, tmp_path):
    changed(copied, quantization_config=None)
    assert all(precision in load(copied, precision=precision, device="cpu").kind for precision in WAYS)
    convert(copied, tmp_path / "out", to="int4")


@pytest.mark.parametrize("shards", [1, 2])
def test_only_the_files_that_transformers_reads(whole, copied, shards):
    """Mistral's releases hold the weights twice, under other names; a model saved again leaves older shards behind."""
    if shards > 1:
        held = list(load_file(copied / "model.safetensors").items())
        parts = {f"model-{place}.safetensors": dict(held[place::2]) for place in (0, 1)}
        for file, part in parts.items():
            save_file(part, copied / file, {"format": "pt"})
        places = {name: file for file, part in parts.items() for name in part}
        (copied / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places})
        )
        (copied / "model.safetensors").unlink()
    save_file(
        {"layers.0.attention.wk.weight": torch.ones(2), UP: torch.ones(128, 64)}, copied / "z.safetensors"
    )
    save_file({UP: torch.ones(128, 64)}, copied / "model-7.safetensors")
    for precision in WAYS:
        engines = [load(each, precision=precision, device="cpu") for each in (copied, whole)]
        assert torch.equal(*(engine.open([[1, 2, 3]]).logits for engine in engines))


def test_a_shard_that_was_not_copied(copied, tmp_path):
    (copied / "model.safetensors").rename(copied / "model-1.safetensors")
    places = dict.fromkeys(load_file(copied / "model-1.safetensors"), "model-1.safetensors")
    places[UP] = "model-2.safetensors"
    (copied / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    refused_everywhere(copied, tmp_path, "model-2.safetensors is missing")


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 1}'])
def test_an_index_that_names_no_files(copied, tmp_path, index):
    (copied / "model.safetensors").unlink()
    (copied / "model.safetensors.index.json").write_text(index)
    refused_everywhere(copied, tmp_path, "model.safetensors.index.json: damaged, it names no files")


@pytest.mark.parametrize("to", ["int8", "int4"])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_hidden_layers": 3}, "model.layers.2.self_attn.q_proj.weight is missing"),
        ({"num_hidden_layers": 1}, "model.layers.1.input_layernorm.weight is not a weight of llama"),
        ({"attention_bias": True}, "model.layers.0.self_attn.q_proj.bias is missing"),
        ({"base_model_type": "qwen2"}, "model.layers.0.self_attn.q_proj.bias is missing"),
        ({"base_model_type": "gpt2"}, "is missing"),
    ],
)
def test_few_bits_of_another_model(stored, tmp_path, to, settings, says):
    folder = changed(shutil.copytree(stored / to, tmp_path / to), **settings)
    with pytest.raises(InputError, match=says):
        load(folder)


@pytest.mark.parametrize("to", ["int8", "int4"])
def test_few_bits_of_which_some_are_gone(stored, tmp_path, to):
    folder = shutil.copytree(stored / to, tmp_path / to)
    gone = [name for name in load_file(folder / "model.safetensors") if name.startswith(UP)]
    assert gone
    replaced(folder, **dict.fromkeys(gone))
    with pytest.raises(InputError, match=f"{UP} is missing"):
        load(folder)


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_what_becomes_too_large_is_no_answer(copied, precision):
    """Finite weights whose products are not: nothing is said of a text rather than `!!!` and a perplexity of nan."""
    replaced(copied, **{NORM: torch.full((64,), 1e38), UP: torch.full((128, 64), 1e38)})
    engine, few = load(copied, precision=precision, device="cpu"), Sampling(max_tokens=2)
    for asked in (
        lambda: perplexity(engine, ["w5 w6 w7"]),
        lambda: generate(engine, ["w5 w6"], few),
        lambda: generate(engine, ["w5 w6"], Sampling(max_tokens=2, temperature=0)),
        lambda: beam_search(engine, ["w5 w6"], few),
        lambda: choose(engine, "w5 w6", [" w7", " w8 w9"]),
    ):
        with pytest.raises(InputError, match="the model's answer is not a number"):
            asked()
