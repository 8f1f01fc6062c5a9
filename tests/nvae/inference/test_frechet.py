"""The Frechet distance is that of two Normals; its network is the user's, and a wrong one is named."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from shoestring._errors import InputError, OptionError
from shoestring.cli import main
from shoestring.nvae import Images
from shoestring.nvae.inference.drawing import draw
from shoestring.nvae.inference.frechet import frechet_distance, load_network

from ..conftest import some_images, tiny_model

pytest.importorskip("torchmetrics")


class Means(nn.Module):
    """Two features: the mean of the upper half and of the lower half, and nothing of colour."""

    def forward(self, images):
        """Returns (n, 2)."""
        upper, lower = images.float().mean(1).chunk(2, dim=1)
        return torch.stack([upper.mean((1, 2)), lower.mean((1, 2))], 1)


def drawn(model, count, seed):
    return torch.cat([(x * 255).round().byte() for x in draw(model, count, seed=seed)])


def test_it_is_the_distance_of_two_normals():
    model, images = tiny_model(), some_images(40)
    found = frechet_distance(model, images, Means(), seed=3)
    ours, theirs = (
        Means()(x).double().numpy() for x in (drawn(model, 40, 3), torch.from_numpy(images.pixels))
    )
    one, two = np.cov(ours.T), np.cov(theirs.T)
    cross = np.sqrt(np.linalg.eigvals(one @ two).astype(complex)).real.sum()
    expected = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * cross
    assert found == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(model, images, Means(), seed=3) == found
    assert frechet_distance(model, images, Means(), seed=3, count=10) != found


def test_its_own_images_are_at_no_distance():
    model = tiny_model()
    itself = Images(drawn(model, 30, 0).numpy(), "drawn")
    assert frechet_distance(model, itself, Means(), seed=0) == pytest.approx(0, abs=1e-3)


def test_the_command_takes_an_exported_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("m")
    example = (torch.zeros(4, 3, 8, 8, dtype=torch.uint8),)
    torch.export.save(
        torch.export.export(Means(), example, dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}}),
        "net.pt2",
    )
    with pytest.raises(SystemExit) as stop:
        main(["nvae", "eval", "m", "--data", "digits", "--limit", "51", "--fid", "net.pt2", "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["Frechet distance"] > 0


def test_wrong_networks_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.pt2: no such file; give one that torch"):
        load_network(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("no network")
    with pytest.raises(InputError, match=r"text.pt2: cannot be read as an exported network"):
        load_network(tmp_path / "text.pt2")
    model, images = tiny_model(), some_images(8)
    with pytest.raises(InputError, match=r"gives \(2, 3, 8, 8\) for 2 images"):
        frechet_distance(model, images, nn.Identity())
    with pytest.raises(InputError, match="refuses bytes of shape"):
        frechet_distance(model, images, nn.Linear(5, 2))
    with pytest.raises(OptionError, match="1 image: a distance needs at least 2"):
        frechet_distance(model, images, Means(), count=1)
