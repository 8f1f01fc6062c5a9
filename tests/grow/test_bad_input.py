"""What cannot be grown is refused in one line that says what to type; nothing is left behind."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from shoestring._errors import InputError, OptionError, OutputError
from shoestring.grow.growing import grow
from shoestring.grow.plan.request import Request

from .models import HEADS, make


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make(tmp_path_factory.mktemp("bad") / "small", "llama")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make(tmp_path_factory.mktemp("bad") / "bert", "bert")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"hidden": "8"}, "--hidden 8: would shrink it from 16 to 8"),
        ({"hidden": "0.5x"}, "would shrink"),
        ({"ffn": "900000x"}, "at most 16,777,216 is allowed"),
        ({"hidden": "1.3x"}, "16 becomes 20.8, not a whole number; try 20 or 21"),
        ({"hidden": "big"}, "--hidden big: not a size"),
        ({"hidden": "-3"}, "not a size"),
        ({"experts": "2x"}, "llama has no such size of its own; it has --hidden, --heads"),
        ({"heads": "6", "kv_heads": "4", "hidden": "48"}, "--heads 6, --kv-heads 4: .*try --kv-heads"),
        ({"heads": "12"}, "multiple of its heads; try --heads"),
        ({"split": "half", "hidden": "2x"}, "--split half: unknown; choose one of grid, noise, equal"),
        ({"dtype": "int8", "hidden": "2x"}, "--dtype int8: unknown"),
        ({"place": "bottom", "layers": "2x"}, "--place bottom: unknown"),
        ({"noise": 2.0, "hidden": "2x"}, "--noise 2: must be above 0"),
        ({}, "nothing to grow; give --hidden 2x"),
    ],
)
def test_sizes_that_do_not_fit(request_, message, model, tmp_path):
    with pytest.raises(OptionError, match=message):
        grow(model, tmp_path / "big", Request(**request_))
    assert not list(tmp_path.iterdir())


def test_refusals_name_the_nearest_that_is_exact(bert, tmp_path):
    with pytest.raises(
        OptionError, match="bert is post-norm, 16 -> 24 cannot be exact; use 32; or pass --allow-lossy"
    ):
        grow(bert, tmp_path / "big", Request(hidden="1.5x"))
    with pytest.raises(OptionError, match=r"LN\(x \+ 0\) is not x"):
        grow(bert, tmp_path / "big", Request(layers="+1"))
    with pytest.raises(OptionError, match="try --hidden 32"):
        grow(bert, tmp_path / "big", Request(heads="8"))


def changed(model, folder, **changes):
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_sources_that_are_no_whole_model(model, tmp_path):
    two = Request(hidden="2x")
    with pytest.raises(InputError, match="no such folder"):
        grow(tmp_path / "none", tmp_path / "big", two)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a model folder, it is empty"):
        grow(tmp_path / "empty", tmp_path / "big", two)
    cut = changed(model, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-5])
    with pytest.raises(InputError, match="damaged"):
        grow(cut, tmp_path / "big", two)
    quantised = changed(model, tmp_path / "quantised", quantization_config={"quant_method": "gptq"})
    with pytest.raises(InputError, match=r"is quantised \(gptq\); grow the model before"):
        grow(quantised, tmp_path / "big", two)
    unknown = changed(model, tmp_path / "unknown", model_type="nonesuch")
    with pytest.raises(InputError, match="transformers knows no architecture 'nonesuch'"):
        grow(unknown, tmp_path / "big", two)
    other = changed(model, tmp_path / "other", intermediate_size=99)
    with pytest.raises(InputError, match=r"but by config\.json it should be"):
        grow(other, tmp_path / "big", Request(ffn="2x"))


def pickled(model, folder, state, **settings):
    """The same model as torch.save writes it; several states become shards."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    if isinstance(state, dict):
        torch.save(state, folder / "pytorch_model.bin", **settings)
        return folder
    names = [f"pytorch_model-{number}-of-{len(state)}.bin" for number in range(len(state))]
    for name, part in zip(names, state, strict=True):
        torch.save(part, folder / name, **settings)
    index = {"weight_map": {key: name for name, part in zip(names, state, strict=True) for key in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def same_weights(one, truth):
    """A pickle may have a tied bias twice."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, truth))
    return second.keys() <= first.keys() and all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_pickles_grow_into_what_safetensors_grow_into(family, tmp_path):
    """Tied heads lie in a pickle twice, in one place; here in one file and in shards, and whole models are compared."""
    source = make(tmp_path / "source", family)
    head = HEADS.get(family, AutoModelForCausalLM)
    state = head.from_pretrained(source).state_dict()
    items = list(state.items())
    two = Request(hidden="2x")
    grow(source, tmp_path / "truth", two, verify="algebra")
    report = grow(pickled(source, tmp_path / "one", state), tmp_path / "a", two, verify="full")
    shards = [dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])]
    grow(pickled(source, tmp_path / "two", shards), tmp_path / "b", two, verify="algebra")
    assert report.proof.relative <= 1e-12
    assert report.whole.error <= 1e-4
    assert same_weights(tmp_path / "a", tmp_path / "truth")
    assert same_weights(tmp_path / "b", tmp_path / "truth")


def test_nothing_in_a_pickle_is_run(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pickled(model, tmp_path / "harmful", {"model.norm.weight": Harmful()})
    with pytest.raises(InputError, match="cannot be read without running what is in it"):
        grow(folder, tmp_path / "big", Request(hidden="2x"))
    assert not (tmp_path / "harmed").exists()
    other = pickled(model, tmp_path / "other", {"model": {"a": torch.zeros(1)}})
    with pytest.raises(InputError, match="holds something else than tensors by name"):
        grow(other, tmp_path / "big", Request(hidden="2x"))


def test_what_an_error_about_a_pickle_says_to_type_works(model, tmp_path):
    state = load_file(model / "model.safetensors")
    turned = {name: each.T.contiguous().T if each.ndim == 2 else each for name, each in state.items()}
    grow(model, tmp_path / "truth", Request(hidden="2x"), verify="algebra")
    for name, folder in (
        ("old", pickled(model, tmp_path / "old", state, _use_new_zipfile_serialization=False)),
        ("turned", pickled(model, tmp_path / "turned", turned)),
    ):
        with pytest.raises(InputError) as error:
            grow(folder, tmp_path / f"big-{name}", Request(hidden="2x"), verify="algebra")
        command = shlex.split(str(error.value).partition("type: ")[2])
        subprocess.run([sys.executable, *command[1:]], check=True)
        grow(folder, tmp_path / f"big-{name}", Request(hidden="2x"), verify="algebra")
        assert same_weights(tmp_path / f"big-{name}", tmp_path / "truth")


def test_a_missing_shard(model, tmp_path):
    folder = changed(model, tmp_path / "shards")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"lacks model-00001-of-00002\.safetensors and 1 more"):
        grow(folder, tmp_path / "big", Request(hidden="2x"))


def test_targets_that_will_not_do(model, tmp_path):
    two = Request(hidden="2x")
    source = changed(model, tmp_path / "around" / "small")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "note.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target, message in (
        (source / "big", "is in the model that is grown"),
        (source, "is in the model that is grown"),
        (tmp_path / "around", "the model that is grown lies in it"),
        (tmp_path / "there", "exists and is not empty"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "no" / "big", "folder around it does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            grow(source, target, two)
    assert (tmp_path / "there" / "note.txt").read_text() == "mine"
    grow(source, tmp_path / "there", two, verify="algebra", overwrite=True)
    assert not (tmp_path / "there" / "note.txt").exists()


def test_a_tensor_that_transformers_does_not_read_is_left_out_by_name(model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = changed(model, tmp_path / "extra")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.adapter.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    report = grow(folder, tmp_path / "big", Request(hidden="2x"), verify="algebra")
    assert "left out model.adapter.weight, which transformers does not read" in report.lines()
