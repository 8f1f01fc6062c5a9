"""The commands as their users type them."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from promised import kept
from shoestring.cli import main

from ..conftest import tiny_model


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder and returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["nvae", *map(str, arguments)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return command


@pytest.fixture
def model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "m")
    return "m"


def test_train_then_everything_else(run, tmp_path):
    small = ("--set", "groups=[1,1]", "--set", "encoder_channels=8", "--set", "decoder_channels=8")
    code, out, err = run(
        "train", "--data", "digits", "-o", "m", *small, "--steps", 4, "--set", "clip=2", "--json", "-q"
    )
    assert code == 0, err
    trained = kept("nvae train", out)
    assert trained["skipped steps"] == 0
    assert trained["negative ELBO (nats)"] > 0
    code, out, _ = run("eval", "m", "--data", "digits", "--samples", 3, "--limit", 20, "--json")
    found = kept("nvae eval", out)
    assert found["importance-weighted, K=3 (nats)"] < found["negative ELBO (nats)"]
    assert found["images"] == 20
    assert found["split"] == "held-out"  # 179 digits that training has not seen
    everything = run("eval", "m", "--data", "digits", "--split", "all", "--limit", 500, "--json")[1]
    assert json.loads(everything)["images"] == 500
    more = ("train", "--data", "digits", "-o", "more", "--from", "m", "--steps", 3, "--json", "-q")
    code, out, err = run(*more)
    assert code == 0, err
    before = kept("nvae train", out)["negative ELBO before (nats)"]
    assert before == pytest.approx(trained["negative ELBO (nats)"], rel=1e-6)
    log = [json.loads(line) for line in (tmp_path / "more" / "log.jsonl").open()]
    assert log[0]["step"] == 0
    assert list((tmp_path / "m" / "samples").iterdir())
    again = json.loads(run("eval", "m", "--data", "digits", "--samples", 3, "--limit", 20, "--json")[1])
    assert again == found


def test_pictures_are_pictures(run, model, tmp_path):
    kept("nvae sample", run("sample", model, "-o", "s.png", "-n", 6, "--temperature", "0.5,0.8", "--json")[1])
    assert Image.open(tmp_path / "s.png").size == (3 * 58 - 2, 2 * 58 - 2)
    assert run("sample", model, "-o", "s.gif", "-n", 5, "--no-readjust", "--pixels", "drawn")[0] == 0
    assert Image.open(tmp_path / "s.gif").n_frames == 5
    done = run("reconstruct", model, "--data", "digits", "-o", "r.png", "-n", 5, "--json")
    kept("nvae reconstruct", done[1])
    assert Image.open(tmp_path / "r.png").size == (5 * 58 - 2, 2 * 58 - 2)
    done = run("interpolate", model, "--data", "digits", "-o", "i.png", "-n", 2, "--steps", 4, "--json")
    kept("nvae interpolate", done[1])
    assert Image.open(tmp_path / "i.png").size == (4 * 58 - 2, 2 * 58 - 2)


def test_the_same_seed_draws_the_same_picture(run, model, tmp_path):
    for name in ("a.png", "b.png"):
        run("sample", model, "-o", name, "-n", 4, "--seed", 3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_latents_there_and_back(run, model, tmp_path):
    kept("nvae encode", run("encode", model, "--data", "digits", "-o", "z.safetensors", "--json")[1])
    latents = load_file(tmp_path / "z.safetensors")
    assert {name: value.shape for name, value in latents.items()} == {
        "group.00": (1797, 2, 4, 4), "group.01": (1797, 2, 8, 8), "group.02": (1797, 2, 8, 8),
    }  # fmt: skip
    kept("nvae decode", run("decode", model, "z.safetensors", "-o", "x.npy", "--json")[1])
    images = np.load(tmp_path / "x.npy")
    assert (images.shape, images.dtype) == ((1797, 1, 8, 8), np.uint8)
    assert (
        run("sample", model, "-o", "given.npy", "-n", 70, "--given", "z.safetensors", "--groups", 2)[0] == 0
    )
    assert np.load(tmp_path / "given.npy").shape == (70, 1, 8, 8)
    assert run("decode", model, "z.safetensors", "-o", "y.npy", "--groups", 1, "--temperature", 0.5)[0] == 0
    assert not np.array_equal(np.load(tmp_path / "y.npy"), images)
    assert run("sample", model, "-o", "folder", "-n", 5)[0] == 0
    assert len(list((tmp_path / "folder").glob("*.png"))) == 5
    spoiled = {name: value if name != "group.01" else value[:5] for name, value in latents.items()}
    save_file(spoiled, tmp_path / "spoiled.safetensors")
    assert "has groups of 1797 and 5" in run("decode", model, "spoiled.safetensors", "-o", "y.npy")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sample", "m", "-o", "s.jpg"), "s.jpg: give .png (a grid), .gif"),
        (("sample", "m", "-o", "s.png", "--temperature", "hot"), "--temperature hot: give a number"),
        (("sample", "m", "-o", "s.png", "--temperature", "1,2,3"), "give one number from 0, or 2"),
        (("sample", "none", "-o", "s.png"), "none: no such folder"),
        (("sample", "m", "-o", "s.png", "-n", "0"), "--count 0: must be at least 1"),
        (("eval", "m", "--data", "digits", "--samples", "0"), "--samples 0: must be at least 1"),
        (("decode", "m", "z", "-o", "x.png"), "z: no such file; make one with"),
        (
            ("train", "--data", "digits", "-o", "n", "--preset", "mnist"),
            "images of 8x8 with 1 channels, the preset mnist",
        ),
        (
            ("train", "--data", "digits", "-o", "n", "--from", "m"),
            "--from: say how long to go on: --steps or",
        ),
        (
            ("train", "--data", "digits", "-o", "n", "--from", "m", "--steps", "2", "--set", "latents=3"),
            "--set latents: a model that is gone on with keeps its configuration",
        ),
        (("train", "--data", "digits", "-o", "n", "--minutes", "0"), "minutes 0.0: must be above 0"),
        (("train", "--data", "digits", "-o", "n", "--set", "groups=[3,3,3,3,3]"), "divide by 16"),
        (("train", "--data", "digits", "-o", "n", "--steps", "3", "--minutes", "1"), "give one of them"),
        (("train", "--data", "digits", "-o", "m"), "m: holds a finished model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_everything(run, model, tmp_path, arguments, says):
    before = {path.name for path in tmp_path.iterdir()}
    code, out, err = run(*arguments, "-q")
    assert code == 1
    assert says in err
    assert err.count("\n") == 1, err
    assert out == ""
    assert {path.name for path in tmp_path.iterdir()} == before


def test_presets_are_shown(run):
    kept("nvae", run("digits", "--json")[1])
    code, out, _ = run("digits", "mnist")
    assert code == 0
    assert "(10, 5)" in out
