"""Images come from the forms in which people keep them; what is broken is named."""

import gzip
import zipfile

import numpy as np
import pytest
from PIL import Image

from shoestring._errors import InputError
from shoestring.nvae import read_images
from shoestring.nvae.images import has_test_images, require_shape

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)


def idx(pixels):
    return (
        b"\0\0\x08"
        + bytes([pixels.ndim])
        + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
        + pixels.tobytes()
    )


def pictures(folder, pixels=PIXELS):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def same(images, pixels=PIXELS):
    expected = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.array_equal(images.pixels, expected)


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


def test_the_four_files_of_mnist(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[:2])))
    assert has_test_images(tmp_path)
    assert len(read_images(tmp_path)) == 5
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
