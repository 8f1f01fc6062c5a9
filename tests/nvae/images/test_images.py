"""Images come from the forms in which people keep them; what is broken is named."""

import gzip
import zipfile

import numpy as np
import pytest
from PIL import Image

from shoestring._errors import InputError
from shoestring.nvae import read_images
from shoestring.nvae.images import Images, fingerprints, has_test_images, held_out, require_shape

from .samples import PIXELS, RGB, idx, pictures, same


def test_every_form_gives_the_same_images(tmp_path):
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx(PIXELS)))
    np.save(tmp_path / "c.npy", PIXELS)
    np.savez(tmp_path / "d.npz", images=PIXELS, labels=np.arange(5))
    pictures(tmp_path / "e")
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for index in range(5):
            archive.write(tmp_path / "e" / f"{index}.png", f"x/{index}.png")
    for name in ("a-idx3-ubyte", "b.gz", "c.npy", "d.npz", "e", "f.zip"):
        assert same(read_images(tmp_path / name)), name
    assert isinstance(read_images(tmp_path / "c.npy").pixels.base, np.memmap)


def test_parts_of_parts_copy_nothing(tmp_path):
    np.save(tmp_path / "c.npy", PIXELS)
    images = read_images(tmp_path / "c.npy")
    part = images.rows(np.array([4, 2, 0])).part(1, 9)
    assert len(part) == 2
    assert np.array_equal(part.take(np.arange(2))[:, 0], PIXELS[[2, 0]])
    assert part.pixels is images.pixels


def test_colours_are_kept_or_changed_as_asked(tmp_path):
    np.save(tmp_path / "c.npy", RGB)
    pictures(tmp_path / "e", RGB)
    assert same(read_images(tmp_path / "c.npy"), RGB)
    assert same(read_images(tmp_path / "e"), RGB)
    assert read_images(tmp_path / "e", channels=1).shape == (1, 6, 6)
    assert read_images(tmp_path / "e", size=3).shape == (3, 3, 3)


def test_a_saved_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    column = datasets.Image()
    data = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(each) for each in PIXELS]}, features=datasets.Features({"image": column})
    )
    data.save_to_disk(tmp_path / "d")
    assert same(read_images(tmp_path / "d"))


def test_what_was_held_out_is_known_by_its_pixels():
    images = Images(np.concatenate([PIXELS, PIXELS[:3]])[:, None], "twins")
    training, test = held_out(images, 0)
    assert len(training) + len(test) == 8
    assert not {*fingerprints(training)} & {*fingerprints(test)}
    assert fingerprints(images)[:3] == fingerprints(images)[5:]


def test_the_four_files_of_mnist(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[:2])))
    assert has_test_images(tmp_path)
    assert len(read_images(tmp_path)) == 5
    (tmp_path / "emnist-test-images-idx3-ubyte").write_bytes(idx(PIXELS))
    with pytest.raises(
        InputError, match=r"has emnist-test-images.*, t10k-images.*; give the file that is meant"
    ):
        read_images(tmp_path, test=True)
    (tmp_path / "emnist-test-images-idx3-ubyte").unlink()
    assert len(read_images(tmp_path, test=True)) == 2


def test_real_mnist(data):
    images = read_images(data / "mnist")
    assert (len(images), images.shape) == (60_000, (1, 28, 28))
    assert len(read_images(data / "mnist", test=True)) == 10_000


def test_digits():
    images = read_images("digits")
    assert (len(images), images.shape, images.pixels.max()) == (1797, (1, 8, 8), 255)


def test_broken_pictures_are_named_or_left_out(tmp_path):
    folder = pictures(tmp_path / "e")
    (folder / "2.png").write_bytes(b"\x89PNG nothing")
    Image.fromarray(PIXELS[0, :4]).save(folder / "9.png")
    with pytest.raises(
        InputError, match=r"2\.png: cannot be read as a picture .*--skip-broken leaves it out"
    ):
        read_images(folder)
    images = read_images(folder, skip_broken=True)
    assert len(images) == 4
    assert [name[-5:] for name in images.skipped] == ["2.png", "9.png"]
    (folder / "2.png").unlink()
    with pytest.raises(InputError, match=r"9\.png: 4x6 gray, those before 6x6 gray; pass --size N"):
        read_images(folder)
    Image.fromarray(RGB[0]).save(folder / "9.png")
    with pytest.raises(InputError, match=r"9\.png: 6x6 RGB, those before 6x6 gray"):
        read_images(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.idx", idx(PIXELS)[:-1], "not a whole idx file of images"),
        ("a.gz", b"no gzip", "damaged gzip"),
        (
            "b.gz",
            gzip.compress(idx(PIXELS))[:12] + b"spoiled!" + gzip.compress(idx(PIXELS))[20:],
            "damaged gzip",
        ),
        ("a.npy", b"no array", "cannot be read as an array"),
        ("a.zip", b"no zip", "not a zip, or damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_images(tmp_path / name)


def test_what_is_not_images_is_refused(tmp_path):
    np.save(tmp_path / "f.npy", PIXELS.astype(np.float32))
    with pytest.raises(InputError, match="numbers of type float32, bytes"):
        read_images(tmp_path / "f.npy")
    np.save(tmp_path / "bits.npy", PIXELS // 128)
    with pytest.raises(InputError, match="no number is above 1, so all is black; multiply by 255"):
        read_images(tmp_path / "bits.npy")
    np.save(tmp_path / "cube.npy", RGB[:, :3, :3])
    with pytest.raises(InputError, match="which axis is of channels cannot be told"):
        read_images(tmp_path / "cube.npy")
    np.save(tmp_path / "c.npy", RGB)
    with pytest.raises(InputError, match="change pictures, not arrays"):
        read_images(tmp_path / "c.npy", channels=1)
    np.save(tmp_path / "one.npy", PIXELS[:1])
    with pytest.raises(InputError, match="has 1 images; at least 2 are needed"):
        read_images(tmp_path / "one.npy")
    with pytest.raises(InputError, match="no such file or folder; `digits` is"):
        read_images(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no pictures"):
        read_images(tmp_path / "empty")
    np.save(tmp_path / "c.npy", RGB)
    with pytest.raises(
        InputError, match=r"images of 6x6 with 3 channels, digits is for 8x8 with 1; .*--size 8 --channels 1"
    ):
        require_shape(read_images(tmp_path / "c.npy"), (1, 8, 8), "digits")
