"""Folders, archives and the names of splits: what is meant is read, and never one heap."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from shoestring._errors import InputError
from shoestring.nvae import read_images
from shoestring.nvae.images import has_test_images
from shoestring.nvae.images.finding import split_of

from .samples import PIXELS, TOOLS, pictures


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
