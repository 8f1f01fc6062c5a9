"""Images come from the forms in which people keep them; what is broken is named."""

import gzip
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shoestring._errors import InputError
from shoestring.nvae import read_images
from shoestring.nvae.images import Images, fingerprints, has_test_images, held_out, require_shape
from shoestring.nvae.images.decoding import Decoding
from shoestring.nvae.images.finding import split_of
from shoestring.nvae.images.packing import pack

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


# -- pictures as other people's tools write them (pictures/make.py) -----------------------------------------------

TOOLS = Path(__file__).parents[1] / "pictures"
TABLE = json.loads((TOOLS / "table.json").read_text("utf-8"))
Y, X = np.mgrid[:10, :12]
GRAY = np.round(((Y * 12 + X) * 540 + 130 * (X % 2)) / 257)
COLOUR = np.stack([20 * X, 25 * Y, 255 - 9 * (X + Y)], -1)
ALPHA = np.round(255 * X / 11) / 255
KEY = (COLOUR == (120, 100, 165)).all(-1)
PATTERNS = {
    "gray": GRAY,
    "white": 255 - GRAY,
    "gray gamma": 255
    * np.where(GRAY < 0.0031308 * 255, 12.92 * GRAY / 255, 1.055 * (GRAY / 255) ** (1 / 2.4) - 0.055),
    "colour": COLOUR,
    "two": 255 * ((X + Y // 3) % 2),
}
CLEAR = {  # colours and alpha
    "alpha": (COLOUR, ALPHA[..., None]),
    "gray alpha": (GRAY, ALPHA),
    "two alpha": (PATTERNS["two"], PATTERNS["two"] / 255),
    "key": (COLOUR, ~KEY[..., None]),
}
TURNS = {  # EXIF's orientation -> what its viewer sees
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip


def differs(name, facts, background):
    """Returns by how many levels a file is read differently from what it was made of."""
    found = Decoding(background=background).decoded((TOOLS / name).read_bytes(), name).astype(float)
    ground = {"white": 255, "black": 0}.get(background)
    if facts["pattern"] in CLEAR:
        colours, alpha = CLEAR[facts["pattern"]]
        wanted = alpha * colours + (1 - alpha) * ground
    else:
        wanted = TURNS[facts.get("turned", 1)](PATTERNS[facts["pattern"]])
    wanted = (
        wanted[..., None].repeat(3, -1) if found.ndim > wanted.ndim else wanted
    )  # gray in a file of colours
    assert found.shape == wanted.shape, name
    return np.abs(found - wanted).max() - facts.get("within", 0)


def test_every_picture_is_what_its_maker_meant_or_refused_by_name():
    read, refused = [], []
    for name, facts in TABLE.items():
        if "refused" in facts:
            with pytest.raises(InputError, match=rf"{name}: .*{facts['refused']}"):
                Decoding(background="white").decoded((TOOLS / name).read_bytes(), name)
            refused.append(name)
            continue
        clear = facts["pattern"] in CLEAR
        if clear:
            with pytest.raises(InputError, match="transparent pixels; --background white or black"):
                Decoding().decoded((TOOLS / name).read_bytes(), name)
        for background in ("white", "black") if clear else (None,):
            assert differs(name, facts, background) <= 1, name
        read.append(name)
    print(f"{len(read)} of {len(TABLE) - len(refused)} read as expected, {len(refused)} refused")
    assert (len(read), len(refused)) == (56, 17)


@pytest.mark.parametrize(
    ("name", "chunk", "content", "refused"),
    [
        (
            "rgb-8.png",
            b"cHRM",
            (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
            "primary colours",
        ),  # P3
        ("rgb-8.png", b"cHRM", (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), ""),  # sRGB
        ("gray-8.png", b"cHRM", (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000), ""),  # gray has none
        ("rgb-8.png", b"cICP", bytes((1, 13, 0, 0)), "cICP 1-13-0-0"),  # 16 is black
        ("rgb-8.png", b"cICP", bytes((1, 13, 0, 1)), ""),
        ("palette.png", b"PLTE", bytes(3), "palette ends at 0"),
    ],
)
def test_what_pngs_say_about_colours_is_followed_or_refused(name, chunk, content, refused):
    """By files of other tools, with one chunk put in or exchanged, as the PNG specification has it."""
    whole = (TOOLS / name).read_bytes()
    content = content if isinstance(content, bytes) else np.array(content, ">u4").tobytes()
    pieces = [piece for piece in chunks(whole) if piece[4:8] not in (b"cHRM", b"gAMA", b"sRGB", chunk)]
    checked = chunk + content
    put = len(content).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")
    changed = whole[:8] + b"".join([pieces[0], put, *pieces[1:]])
    if refused:
        with pytest.raises(InputError, match=refused):
            Decoding().decoded(changed, name)
    else:
        assert np.array_equal(Decoding().decoded(changed, name), Decoding().decoded(whole, name))


def chunks(png):
    position = 8
    while position < len(png):
        stop = position + 12 + int.from_bytes(png[position : position + 4], "big")
        yield png[position:stop]
        position = stop


def test_a_huge_picture_is_left_out_like_any_that_cannot_be_read(tmp_path):
    for name in ("rgb-8.png", "huge.png", "turned-1.jpg", "cut.png"):
        (tmp_path / name).write_bytes((TOOLS / name).read_bytes())
    images = read_images(tmp_path, skip_broken=True)
    assert (len(images), [Path(name).name for name in images.skipped]) == (2, ["cut.png", "huge.png"])


def test_packed_pictures_are_the_pictures(tmp_path):
    for pixels, name in ((PIXELS, "gray"), (RGB, "rgb")):
        folder = pictures(tmp_path / name, pixels)
        (folder / "broken.png").write_bytes(b"no picture")
        with pytest.raises(InputError, match=r"broken\.png: cannot be read"):
            pack(folder, tmp_path / f"{name}.npy")
        assert not (tmp_path / f"{name}.npy").exists()
        done = pack(folder, tmp_path / f"{name}.npy", skip_broken=True)
        assert (done.images, len(done.skipped)) == (5, 1)
        read = read_images(tmp_path / f"{name}.npy")
        assert same(read, pixels)
        assert isinstance(read.pixels.base, np.memmap) or isinstance(read.pixels, np.memmap)


# -- folders and splits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_a_class_called_train_is_a_class_and_a_split_is_a_split(tmp_path, zipped):
    for index, name in enumerate(("car", "bus", "train")):
        pictures(tmp_path / "classes" / name, PIXELS[index : index + 3])
    for name, few in (("train/a", PIXELS), ("train/b", PIXELS[:2]), ("val/a", PIXELS[:3])):
        pictures(tmp_path / "splits" / name, few)
    pictures(tmp_path / "mixed" / "train")
    pictures(tmp_path / "mixed" / "test")
    pictures(tmp_path / "mixed" / "car")
    classes, splits, mixed = (tmp_path / name for name in ("classes", "splits", "mixed"))
    if zipped:
        classes, splits, mixed = (zip_of(folder) for folder in (classes, splits, mixed))
    assert len(read_images(classes)) == 9
    assert not has_test_images(classes)
    assert (len(read_images(splits)), len(read_images(splits, test=True))) == (7, 3)
    assert has_test_images(splits)
    with pytest.raises(
        InputError, match="has test and train, but car beside them; give the folder that is meant"
    ):
        read_images(mixed)


def test_splits_inside_are_found_or_refused_never_one_heap(tmp_path):
    """`images/train` and `images/val` are a detector's layout, `bottle/train` and `bottle/test` an inspector's."""
    for name, few in (
        ("yolo/images/train", 5),
        ("yolo/images/val", 3),
        ("a/x/train", 2),
        ("a/x/test", 2),
        ("a/y", 2),
    ):
        pictures(tmp_path / name, PIXELS[:few])
    for yolo in (tmp_path / "yolo", zip_of(tmp_path / "yolo")):
        assert (len(read_images(yolo)), len(read_images(yolo, test=True))) == (5, 3)
    for inside in (tmp_path / "a", zip_of(tmp_path / "a")):
        with pytest.raises(InputError, match=r"has test and train inside .*x; give the folder that is meant"):
            read_images(inside)
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for name in ("x\\train\\0.png", "x\\train\\1.png", "x\\test\\0.png", ".\\x\\test\\1.png"):
            archive.writestr(name, (tmp_path / "a" / "y" / "0.png").read_bytes())
    assert len(read_images(tmp_path / "windows.zip")) == 2


SPLIT_NAMES = {  # how data sets on GitHub, Kaggle and Hugging Face name them, and how Chinese ones do
    "train": "train Train TRAIN training train2017 train_images images_train trainset train-set trainA 训练集 训练",
    "test": "test Testing test2017 test_images testset testB test-data 测试集 测试图片",
    "validation": "val valid validation dev devel Val2017 valset eval held-out holdout dev_set 验证集 校验集 开发集",
    "other": "extra unlabeled unlabeled2017 fold1",
    "None": "cat trains tested value contrast devil bus training_wheels 火车 0 tr te",
}


def test_splits_are_known_by_any_of_their_names():
    for role, names in SPLIT_NAMES.items():
        assert {name: str(split_of(name)) for name in names.split()} == dict.fromkeys(names.split(), role)


@pytest.mark.parametrize("held", ["dev", "valid", "Val2017", "held-out", "验证集", "开发集"])
def test_a_folder_beside_train_that_is_held_out_is_no_class(tmp_path, held):
    pictures(tmp_path / "s" / "train_images", PIXELS)
    pictures(tmp_path / "s" / held, PIXELS[:2])
    for source in (tmp_path / "s", zip_of(tmp_path / "s")):
        assert (len(read_images(source)), len(read_images(source, test=True))) == (len(PIXELS), 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test", "dev"), "has dev and test, and nothing to train on; give the folder that is meant"),
        (("train", "unlabeled"), "has train, but unlabeled beside them; give the folder that is meant"),
        (("fold1", "fold2", "test"), "has test, but fold1 beside them; give the folder that is meant"),
        (("images", "masks"), "has images and masks; give the folder that is meant, such as"),
        (("train/JPEGImages", "train/Annotations", "val"), "has JPEGImages and Annotations; give the folder"),
    ],
)
def test_splits_of_which_none_is_meant_are_refused(tmp_path, names, message):
    for name in names:
        pictures(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read_images(tmp_path)


def test_splits_in_the_names_of_files_are_refused(tmp_path):
    for index, name in enumerate(("train_0", "train_1", "test_0")):
        Image.fromarray(PIXELS[index]).save(tmp_path / f"{name}.png")
    with pytest.raises(
        InputError, match=r"test_0\.png to train_1\.png, to train and to test on in one folder"
    ):
        read_images(tmp_path)


def test_a_picture_with_another_name_is_not_passed_over(tmp_path):
    folder = pictures(tmp_path / "e")
    (folder / "labels.txt").write_text("0 1 2 3 4")
    assert len(read_images(folder)) == 5
    for name in ("photo.jpg?w=100", "raw.k25"):
        (folder / name).write_bytes((TOOLS / ("rgb.jpg" if "jpg" in name else "gray-16.tif")).read_bytes())
        for source in (folder, zip_of_all(folder)):
            with pytest.raises(
                InputError, match="begins like a picture but is not named like one; rename it"
            ):
                read_images(source)
            assert len(read_images(source, skip_broken=True).skipped) == 1
        (folder / name).unlink()
    (folder / "icon.ico").write_bytes(b"")
    with pytest.raises(InputError, match=r"icon.ico: .ico is not read here"):
        read_images(folder)


def zip_of_all(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path


@pytest.mark.parametrize(
    "shape", [(6, 6, 3), (3, 6, 6), (20, 6, 1), (6, 6, 3, 20), (20, 6, 6, 4), (20, 3, 6, 3), (20, 6)]
)
def test_arrays_whose_axes_cannot_be_told_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.full(shape, 9, np.uint8))
    with pytest.raises(InputError, match=r"an array of shape \("):
        read_images(tmp_path / "a.npy")


def test_a_second_array_in_a_file_is_not_passed_over(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, PIXELS)
        np.save(file, PIXELS)
    with pytest.raises(InputError, match="bytes after its array"):
        read_images(tmp_path / "a.npy")


def zip_of(folder):
    """Everything in one folder of the zip, as macOS makes them."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder.parent))
        archive.writestr(f"__MACOSX/{folder.name}/._0.png", b"no picture")
    return path


def test_hidden_files_are_no_pictures_links_are_followed_and_foreign_kinds_are_named(tmp_path):
    pictures(tmp_path / "far", PIXELS[:3])
    folder = pictures(tmp_path / "near")
    (folder / "linked").symlink_to(tmp_path / "far")
    (folder / "round").symlink_to(folder)
    (folder / "._0.png").write_bytes(b"no picture")
    pictures(folder / ".ipynb_checkpoints")
    assert len(read_images(folder)) == 8
    (folder / "photo.HEIC").write_bytes(b"")
    with pytest.raises(InputError, match=r"photo.HEIC: .heic is not read here; convert it to PNG"):
        read_images(folder)
    assert len(read_images(folder, skip_broken=True).skipped) == 1


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
