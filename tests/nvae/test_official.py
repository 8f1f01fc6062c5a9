"""Checkpoints of the official code: the same function to the last digits, and nothing else is let in.

The fixtures hold what the official model made, in float64, of weights, images and noise that follow from names
(`official_weights`).
"""

import argparse
import json
import os
import subprocess

import pytest
import torch

from shoestring._errors import InputError, OutputError
from shoestring.nvae import NVAE, Images, evaluate, train
from shoestring.nvae.model.likelihoods import log_likelihood
from shoestring.nvae.model.official import convert, gathered, read_official
from shoestring.nvae.model.official_config import official_config
from shoestring.nvae.training.settings import continued
from shoestring.ui import UI

from . import official_weights as official

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def saved(folder, held, **changes):
    path = folder / "checkpoint.pt"
    torch.save(official.checkpoint(held, **changes), path)
    return path


@pytest.fixture(scope="module", params=official.NAMES)
def converted(request, tmp_path_factory):
    held = official.fixture(request.param)
    folder = tmp_path_factory.mktemp("official")
    convert(saved(folder, held), folder / "model")
    return held, NVAE.from_pretrained(folder / "model").double().eval()


def noise_of(model):
    shapes = [(2, *shape) for shape in model.config.latent_shapes]
    return [official.numbers(f"noise.{index}", shape, -1.7, 1.7) for index, shape in enumerate(shapes)]


def official_head(head, mixtures):
    """Official mixtures go by colour, then kind, then mixture; ours by mixture, then kind, then colour."""
    if mixtures is None:
        return head
    there = torch.empty_like(head)
    there[:, :mixtures] = head[:, :mixtures]
    for colour in range(3):
        for kind in range(3):
            for mixture in range(mixtures):
                place = mixtures + 3 * mixtures * colour + kind * mixtures + mixture
                there[:, place] = head[:, mixtures + 9 * mixture + 3 * kind + colour]
    return there


def some(head, model, count):
    mixtures = model.config.mixtures if model.config.likelihood == "logistic" else None
    full = official_head(head, mixtures).flatten()
    return full[:: 970 if mixtures else 97][:count]


@pytest.mark.parametrize("kind", ["zero", "noise"])
@torch.no_grad()
def test_a_converted_model_is_the_official_function(converted, kind):
    held, model = converted
    config, noise = model.config, noise_of(model)
    noise = [each * (kind == "noise") for each in noise]
    x = official.pixels(config.in_channels, config.image_size, config.bits)
    latents, head = model.infer(x, noise=noise)
    expected = held[kind]
    for name in ("kl", "log_ratio"):
        found = torch.stack([getattr(latent, name) for latent in latents])
        torch.testing.assert_close(found, torch.tensor(expected[name], dtype=torch.float64), **CLOSE)
    logits = torch.tensor(expected["logits"], dtype=torch.float64)
    torch.testing.assert_close(some(head, model, len(logits)), logits, **CLOSE)
    likelihood = torch.tensor(expected["log_likelihood"], dtype=torch.float64)
    torch.testing.assert_close(log_likelihood(head, x, config), likelihood, **CLOSE)


@torch.no_grad()
def test_a_converted_model_samples_as_the_official_one(converted):
    held, model = converted
    expected = torch.tensor(held["sample"]["logits"], dtype=torch.float64)
    torch.testing.assert_close(
        some(model.sample_head(2, 0.7, noise_of(model)), model, len(expected)), expected, **CLOSE
    )


def test_the_card_tells_the_licence(tmp_path):
    convert(saved(tmp_path, official.fixture("bernoulli")), tmp_path / "model")
    assert "non-commercial" in (tmp_path / "model" / "README.md").read_text("utf-8")


def test_a_model_that_is_there_is_kept(tmp_path):
    path, model = saved(tmp_path, official.fixture("bernoulli")), tmp_path / "model"
    convert(path, model)
    (tmp_path / "half.pt").write_bytes(path.read_bytes()[:10_000])
    before = (model / "config.json").stat().st_mtime_ns
    with pytest.raises(OutputError, match="model"):
        convert(path, model)
    with pytest.raises(InputError, match="half"):
        convert(tmp_path / "half.pt", model, overwrite=True)
    assert (model / "config.json").stat().st_mtime_ns == before
    convert(path, model, overwrite=True)
    assert (model / "config.json").stat().st_mtime_ns != before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint.pt", "half.pt", "model"]


def test_slices_of_one_storage_the_older_format_and_early_args_are_read(tmp_path):
    held = official.fixture("logistic")
    whole = read_official(saved(tmp_path, held)).state_dict()
    weights = official.state_dict(held["keys"])
    shapes = {}
    for key, value in weights.items():
        shapes.setdefault((value.shape, value.dtype), []).append(key)
    for keys in shapes.values():
        stack = torch.stack([weights[key] for key in keys])
        weights |= dict(zip(keys, stack, strict=True))
    weights = {key: value for key, value in weights.items() if not key.endswith(".weight_normalized")}
    path = tmp_path / "early.pt"
    content = official.checkpoint(held, state_dict=weights)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    for name, value in read_official(path).state_dict().items():
        assert torch.equal(value, whole[name]), name
    early = {
        key: value for key, value in held["args"].items() if key not in ("ada_groups", "num_mixture_dec")
    }
    config = official_config(early)
    assert (config.mixtures, config.groups) == (10, (2, 2))


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_lay_on_a_gpu_are_read(tmp_path, monkeypatch, zipped):
    held = official.fixture("bernoulli")
    # as a file from a GPU: every storage tells cuda:1 as its place
    registry = torch.serialization.location_tag
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:1")
    path = tmp_path / "gpu.pt"
    torch.save(official.checkpoint(held), path, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(torch.serialization, "location_tag", registry)
    assert b"cuda:1" in path.read_bytes()
    assert {value.device.type for value in read_official(path).state_dict().values()} == {"cpu"}


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_something_is_refused_and_does_not_run(tmp_path, zipped):
    path = tmp_path / "trap.pt"
    trap = official.checkpoint(official.fixture("bernoulli"), scheduler=Trap(tmp_path / "ran"))
    torch.save(trap, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"mkdir.*nothing of it was run"):
        read_official(path)
    assert not (tmp_path / "ran").exists()


def test_only_namespace_is_let_in(tmp_path):
    path = tmp_path / "other.pt"
    torch.save(
        official.checkpoint(official.fixture("bernoulli"), scheduler=subprocess.CompletedProcess([], 0)), path
    )
    with pytest.raises(InputError, match="CompletedProcess"):
        read_official(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "pytorch-lightning_version": "2"}, "pytorch-lightning_version"),
        ([1, 2], "list"),
        ({"args": {"dataset": "mnist"}, "state_dict": {}}, "args is dict"),
        ({"args": argparse.Namespace(lr=1), "state_dict": {}}, "no dataset"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "file.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        read_official(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("arch_instance", "res_elu", "arch_instance is res_elu"),
        ("use_se", False, "use_se is False"),
        ("dataset", "stacked_mnist", "dataset is stacked_mnist"),
        ("num_postprocess_cells", 5, "num_postprocess_cells is 5"),
    ],
)
def test_what_no_preset_has_is_refused(name, value, message):
    args = {**official.fixture("bernoulli")["args"], name: value}
    with pytest.raises(InputError, match=message):
        official_config(args)


def test_one_group_is_refused():
    args = {**official.fixture("bernoulli")["args"], "num_latent_scales": 1, "num_groups_per_scale": 1}
    with pytest.raises(InputError, match="at least 2"):
        official_config(args)


def spoiled(name, change):
    """Returns a checkpoint with one weight changed."""
    held = official.fixture("bernoulli")
    weights = official.state_dict(held["keys"])
    return {"state_dict": {**weights, name: change(weights[name])}}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("stem.weight", lambda w: w * float("nan"), "stem.weight is not finite"),
        ("stem.weight", lambda w: w + 1j, "stem.weight is of torch.complex64"),
        ("stem.weight", lambda w: w.long(), "stem.weight is of torch.int64"),
        ("stem.weight", lambda w: "text", "'stem.weight' is of type str"),
        ("prior_ftr0", lambda w: w.double() * 1e300, "prior_ftr0 is not finite"),
        ("pre_process.0._ops.0.bn_act.running_var", lambda w: -w, "is negative"),
    ],
)
def test_damaged_weights_are_refused_by_name(tmp_path, name, change, message):
    path = saved(tmp_path, official.fixture("bernoulli"), **spoiled(name, change))
    with pytest.raises(InputError, match=message):
        convert(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    path = saved(tmp_path, official.fixture("bernoulli"))
    content, whole = path.read_bytes(), read_official(path).state_dict()
    refused = 0
    for place in range(1000, len(content) - 1000, len(content) // 40):
        flipped = bytearray(content)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        try:
            model = read_official(path)
        except InputError:
            refused += 1
            continue
        # between the members of the zip nothing is read
        assert all(torch.equal(value, whole[name]) for name, value in model.state_dict().items())
    assert refused > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_channels_enc": 10**7}, "num_channels_enc is 10000000, not a whole number from 0 to 4,096"),
        ({"num_channels_enc": "4"}, "num_channels_enc is '4'"),
        ({"num_channels_enc": 4096}, "makes .* where its args say"),
        ({"num_groups_per_scale": 4000}, "its args tell of .* cells, and it has"),
        ({"num_latent_scales": 40}, "more than 16 halvings"),
        ({"num_latent_scales": 12}, "its args make no model: image_size"),
        ({"num_x_bits": 9, "dataset": "cifar10"}, "bits 9"),
        ({"dataset": "my faces"}, "for images of your own give --size and --channels"),
    ],
)
def test_impossible_args_are_refused_at_once(tmp_path, changes, message):
    held = official.fixture("bernoulli")
    held["args"] |= changes
    with pytest.raises(InputError, match=message):
        read_official(saved(tmp_path, held))


def test_a_data_set_of_ones_own_is_told_by_size_and_channels(tmp_path):
    held = official.fixture("logistic")
    config = official_config(held["args"])
    held["args"]["dataset"] = "my faces"
    path = saved(tmp_path, held)
    model = read_official(path, 32, 3)
    assert model.config == config
    with pytest.raises(InputError, match=r"stem.weight makes .* where its args say"):
        read_official(path, 32, 1)
    held["args"]["dataset"] = "cifar10"
    with pytest.raises(InputError, match="its images are of cifar10, --size 32 --channels 3"):
        read_official(saved(tmp_path, held), 64)


@torch.no_grad()
def test_training_goes_on_from_the_official_function(tmp_path):
    """Before the first step the bound is the converted model's, to the bit; after it the weights have moved."""
    held = official.fixture("bernoulli")
    convert(saved(tmp_path, held), tmp_path / "model")
    pixels = (official.numbers("digits", (24, 1, 28, 28), 0, 1) > 0.6).numpy().astype("uint8") * 255
    images = Images(pixels, "noise")
    model = NVAE.from_pretrained(tmp_path / "model")
    before = evaluate(model, images.part(0, 8), seed=0)
    run = continued(None, steps=2, batch_size=8, device="cpu", learning_rate=1e-3)
    with torch.enable_grad():
        train(images, model.config, run, tmp_path / "on", test=images.part(0, 8), start=tmp_path / "model",
              ui=UI(quiet=True))  # fmt: skip
    first = json.loads((tmp_path / "on" / "log.jsonl").read_text("utf-8").splitlines()[0])
    assert first["step"] == 0
    assert first["eval_loss"] == -before.elbo
    after = NVAE.from_pretrained(tmp_path / "on")
    assert after.config == model.config
    assert not torch.equal(after.decoder.start, model.decoder.start)


def test_every_key_of_a_file_is_accounted_for():
    held = official.fixture("logistic")
    model, weights = NVAE(official_config(held["args"])), official.state_dict(held["keys"])
    counted = {key for key in weights if not key.endswith((".weight_normalized", ".num_batches_tracked"))}
    for key in counted:
        with pytest.raises(InputError, match=key):
            gathered({name: value for name, value in weights.items() if name != key}, model, "file")
    with pytest.raises(InputError, match=r"more\.weight has no place"):
        gathered({**weights, "more.weight": torch.zeros(1)}, model, "file")
    with pytest.raises(InputError, match=r"stem.weight makes \(4, 3, 5, 5\)"):
        gathered({**weights, "stem.weight": torch.zeros(4, 3, 5, 5)}, model, "file")
