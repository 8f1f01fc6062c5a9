"""GPTQ: what layers say about a text changes less than by rounding alone, and the folder holds what was computed."""

import pytest
import torch

from shoestring import hub
from shoestring._errors import InputError, OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.weights.calibrate import calibrated, gptq
from shoestring.lm.weights.conversion import convert
from shoestring.lm.weights.few_bits import Linear4
from shoestring.lm.weights.loading import load_source
from shoestring.lm.weights.quantize import GROUP, from_int4, to_int4
from shoestring.lm.weights.skeleton import layers_of
from shoestring.lm.weights.sources import FolderSource

from ..families import VOCABULARY, saved


@pytest.mark.parametrize("seed", range(3))
def test_a_layer_changes_what_it_says_less_than_by_rounding(seed):
    torch.manual_seed(seed)
    mixed = torch.randn(30, 3 * GROUP)  # inputs that go together, as a network's do
    x, weight = torch.randn(500, 30) @ mixed + torch.randn(500, 3 * GROUP), torch.randn(96, 3 * GROUP)

    fitted, rounded = (
        float((x @ (from_int4(*parts) - weight).t()).norm())
        for parts in (gptq(weight, x.t() @ x), to_int4(weight))
    )
    assert fitted < 0.8 * rounded


def test_inputs_that_are_never_there_do_no_harm():
    torch.manual_seed(0)
    x, weight = torch.randn(100, GROUP), torch.randn(8, GROUP)
    x[:, :9] = 0
    assert torch.isfinite(from_int4(*gptq(weight, x.t() @ x))).all()


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text"])
def test_a_folder_holds_what_was_fitted(tmp_path, kind):
    """Block by block in the model, whose weights become what the bits stand for, and in the folder: the same."""
    saved(kind, tmp_path / "model")
    model = load_source(FolderSource(tmp_path / "model"))
    rows = torch.randint(3, VOCABULARY - 8, (30, 40), generator=torch.Generator().manual_seed(1)).tolist()
    texts = [" ".join(f"w{id}" for id in row) for row in rows]
    convert(tmp_path / "model", tmp_path / "fitted", to="int4", calibration=texts)
    rows = [hub.load_tokenizer(tmp_path / "model").encode(text) for text in texts]
    found = calibrated(model, layers_of(model).linear, rows, lambda count: None)
    engine = load(tmp_path / "fitted")
    few = {name: each for name, each in engine.model.named_modules() if isinstance(each, Linear4)}
    assert {f"{name}.weight" for name in few} == set(found)
    for name, layer in few.items():
        for part, wanted in zip(
            (layer.levels, layer.scale, layer.zero), found[f"{name}.weight"], strict=True
        ):
            assert torch.equal(part, wanted)


def test_what_cannot_be_calibrated_is_refused(tmp_path):
    saved("llama", tmp_path / "model")
    with pytest.raises(OptionError, match="--calibration with --to int8: only int4 is fitted"):
        convert(tmp_path / "model", tmp_path / "out", to="int8", calibration=["w3 w4"])
    with pytest.raises(InputError, match="the calibration text has 2 tokens; give 256 or more"):
        convert(tmp_path / "model", tmp_path / "out", to="int4", calibration=["w3 w4"])
    assert not (tmp_path / "out").exists()
