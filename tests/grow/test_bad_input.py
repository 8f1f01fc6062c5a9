"""What cannot be grown is refused in one line that says what to type; nothing is left behind."""

import json
import shutil

import pytest
import torch

from shoestring._errors import InputError, OptionError, OutputError
from shoestring.grow.growing import grow
from shoestring.grow.request import Request

from .models import make


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
    with pytest.raises(InputError, match=r"but by config\.json its dimension"):
        grow(other, tmp_path / "big", Request(ffn="2x"))


def test_pickles_are_refused(model, tmp_path):
    folder = changed(model, tmp_path / "pickle")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="may run code; save it as safetensors first"):
        grow(folder, tmp_path / "big", Request(hidden="2x"))


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


def test_an_unknown_tensor_is_named(model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = changed(model, tmp_path / "extra")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.adapter.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.adapter\.weight is no tensor of a llama that is known"):
        grow(folder, tmp_path / "big", Request(hidden="2x"))
