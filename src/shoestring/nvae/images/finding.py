"""Where the pictures of a source lie: in a folder, a zip or a saved dataset; which are to train on, which to test on.

- A folder or zip with `train` and `test` (or `val`, `dev`, `val2017`, 验证集, ...) and nothing else has test images of
  its own; so has a dataset with splits. Folders around everything are looked through. A class that is called `train` is
  a class; splits further inside, or with nothing to train on, are refused: nobody wants them in one heap.
- Hidden files and those that macOS puts beside others are no pictures; linked folders are followed.
- A file that is no picture by its name is one by its first bytes: nothing is passed over because of its name.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.nvae.images.arrays import idx_file

PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm",
)  # fmt: skip
FOREIGN = (
    ".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".exr", ".hdr", ".pfm", ".psd", ".svg", ".tga", ".dds", ".ico",
    ".pcx", ".sgi", ".xbm", ".fits", ".apng", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".dcm",
)  # fmt: skip
# PNG, JPEG, GIF, TIFF (and most cameras' raw files), WebP, HEIF and AVIF
FIRST_BYTES = (
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|....ftyp(?:hei|hev|mif1|avi[fs])"
)
ENOUGH = 12  # of them
_NAMES = {
    "train": "train training 训练 訓練",
    "test": "test testing 测试 測試",
    "validation": "val valid validation dev devel development eval evaluation holdout heldout 验证 驗證 校验 开发",
    "other": "extra unlabeled unlabelled unsup fold",  # neither to train on as the others are, nor to test on
}
SPLITS = {word: role for role, words in _NAMES.items() for word in words.split()}
FILLING = {
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "pics",
    "data",
    "dataset",
    "set",
    "split",
    "x",
    "a",
    "b",
}
PICTURED = {"images", "imgs", "jpegimages", "frames", "原图"}
ABOUT = {
    "masks",
    "labels",
    "annotations",
    "segmentationclass",
    "segmentationobject",
    "gt",
    "groundtruth",
    "标注",
    "掩码",
}


class Picture(NamedTuple):
    """A picture that has not been read.

    Args:
        name: by which it is refused.
        folders: in which it lies, from the source on.
        content: returns its bytes.
        refused: why it cannot be read, if its name tells.
    """

    name: str
    folders: tuple[str, ...]
    content: Callable[[], bytes]
    refused: str = ""


def has_test_images(source: str | Path) -> bool:
    """Tells whether `read_images(source, test=True)` finds images of their own."""
    folder = Path(source)
    if str(source) == "digits" or not folder.exists():
        return False
    if folder.is_dir() and (idx_file(folder, True) is not None or idx_file(folder, False) is not None):
        return idx_file(folder, True) is not None
    if folder.is_dir() and (folder / "dataset_dict.json").exists():
        splits = json.loads((folder / "dataset_dict.json").read_text("utf-8")).get("splits", [])
        return _of_dict(folder, splits, True) is not None
    listed = _listed(folder)
    return bool(listed) and _split(listed, folder, True) is not None


def find_pictures(source: str | Path, test: bool) -> Sequence[Picture] | None:
    """Returns the pictures of a source, unread; None if it is an array.

    Raises:
        InputError: there is nothing of the kind, or it cannot be told which are meant.
    """
    path = Path(source)
    if str(source) == "digits":
        return None
    if not path.exists():
        raise InputError(f"{source}: no such file or folder; `digits` is scikit-learn's set")
    if path.is_dir():
        if idx_file(path, test):
            return None
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            return _of_dataset(path, test)
    listed = _listed(path)
    if listed is None:
        return None
    if not listed:
        raise InputError(f"{path}: has no pictures ({', '.join(PICTURES[:4])}, ...), idx files or dataset")
    split = _split(listed, path, test)
    return listed if split is None else split


def _listed(path: Path) -> list[Picture] | None:
    """Returns all pictures of a folder or zip, in order; None of another file."""
    if path.is_dir():
        return [picture for file in sorted(_files(path)) for picture in _in_folder(path, file)]
    if path.suffix.lower() != ".zip":
        return None
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a zip, or damaged: {error}") from error
    members = sorted(archive.infolist(), key=lambda member: member.filename)
    return [picture for member in members for picture in _in_zip(path, archive, member)]


def _in_folder(path: Path, file: Path) -> Iterator[Picture]:
    def start() -> bytes:
        with file.open("rb") as opened:
            return opened.read(ENOUGH)

    parts = file.relative_to(path).parts
    if _is_picture(parts, start):
        yield Picture(str(file), parts[:-1], file.read_bytes, _refused(file.name))


def _in_zip(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[Picture]:
    def start() -> bytes:
        with archive.open(member) as opened:
            return opened.read(ENOUGH)

    parts = tuple(part for part in re.split(r"[\\/]", member.filename) if part not in ("", "."))
    if not member.is_dir() and parts and _is_picture(parts, start):
        yield Picture(
            f"{path}/{member.filename}", parts[:-1], lambda: archive.read(member), _refused(parts[-1])
        )


def _is_picture(parts: Sequence[str], start: Callable[[], bytes]) -> bool:
    if parts[-1].startswith(".") or any(part.startswith((".", "__MACOSX")) for part in parts[:-1]):
        return False
    if parts[-1].lower().endswith((*PICTURES, *FOREIGN)):
        return True
    try:
        return re.match(FIRST_BYTES, start(), re.DOTALL) is not None
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile):  # no permission, a password, a pipe
        return False


def _refused(name: str) -> str:
    if name.lower().endswith(PICTURES):
        return ""
    if name.lower().endswith(FOREIGN):
        return f".{name.lower().rpartition('.')[2]} is not read here; convert it to PNG"
    return "begins like a picture but is not named like one; rename it to .png, .jpg, ..."


def _files(folder: Path) -> Iterator[Path]:
    """Yields all files but those in hidden folders; a linked folder is entered once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = (
            [] if real in seen else [name for name in folders if not name.startswith((".", "__MACOSX"))]
        )
        if real not in seen:
            yield from (file for file in (Path(place, name) for name in names) if file.is_file())
        seen.add(real)


# -- to train on or to test on -------------------------------------------------------------------------------


def _split(pictures: Sequence[Picture], path: Path, test: bool) -> list[Picture] | None:
    """Returns the pictures to train or to test on; None if there are no splits.

    Raises:
        InputError: there are splits and something else beside them, none of this use, or splits further inside.
    """
    shared = _shared(pictures)
    inside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for picture in pictures:
        folders = (*picture.folders, "")  # nothing stands for pictures beside folders
        for depth in range(shared, len(folders)):
            inside[folders[:depth]].add(folders[depth])
    for folders, names in inside.items():
        _require_pictures(path.joinpath(*folders), names)
        if len(folders) > shared and len(known := _known(names)) > 1:
            place = path.joinpath(*folders)
            raise InputError(
                f"{path}: has {' and '.join(sorted(known))} inside {'/'.join(folders)}; give the folder that is meant, "
                f"such as {place / min(known)}"
            )
    around = pictures[0].folders[:shared]
    names = inside[around]
    known = _known(names)
    if len(known) < 2:
        _require_no_split_files(pictures, path)
        return None
    if others := sorted(name for name in names if known.get(name, "other") == "other"):
        raise InputError(
            f"{path}: has {' and '.join(sorted(set(known) - set(others)))}, but {others[0] or 'pictures'} beside them; "
            f"give the folder that is meant, such as {path.joinpath(*around, min(known))}"
        )
    role = _role(known.values(), test)
    if role is None:
        raise InputError(
            f"{path}: has {' and '.join(sorted(known))}, and nothing to {'test' if test else 'train'} on; give the "
            f"folder that is meant, such as {path.joinpath(*around, min(known))}"
        )
    return [picture for picture in pictures if known[picture.folders[shared]] == role]


def _require_pictures(place: Path, names: Iterable[str]) -> None:
    """Refuses folders of masks or labels beside those of the pictures that they are about."""
    named = {re.sub(r"[\W_]", "", name.lower()): name for name in names}
    if (about := sorted(named.keys() & ABOUT)) and (pictured := sorted(named.keys() & PICTURED)):
        one, other = named[pictured[0]], named[about[0]]
        raise InputError(
            f"{place}: has {one} and {other}; give the folder that is meant, such as {place / one}"
        )


def _require_no_split_files(pictures: Sequence[Picture], path: Path) -> None:
    """Refuses pictures that are all called `train_1`, `test_2`, ..., which nothing else keeps apart."""
    roles = {split_of(Path(picture.name).stem) for picture in pictures}
    if len(roles) > 1 and None not in roles:
        raise InputError(
            f"{path}: its pictures are called {Path(pictures[0].name).name} to {Path(pictures[-1].name).name}, to "
            "train and to test on in one folder; put each kind into a folder of its own"
        )


def _shared(pictures: Sequence[Picture]) -> int:
    """Returns how many folders lie around everything, up to one that is named like a split."""
    levels = itertools.zip_longest(*{picture.folders for picture in pictures})
    around = itertools.takewhile(lambda names: len(set(names)) == 1 and split_of(names[0]) is None, levels)
    return sum(1 for _ in around)


def split_of(name: str) -> str | None:
    """Returns which split a folder's name means: train, test, validation or other; None for a class.

    >>> [split_of(name) for name in ("Training_Images", "val2017", "验证集", "dev", "trains")]
    ['train', 'validation', 'validation', 'validation', None]
    """
    apart = re.sub(r"(?i)held[-_ ]out", "heldout", re.sub("(?<=[a-z])(?=[A-Z])", " ", name))
    words = re.findall(r"[^\W\d_]+", apart.lower())
    words = [re.sub("(?<=.)(set|data|images|集|数据|图片|图像|样本)+$", "", word) for word in words]
    telling = [word for word in words if word not in FILLING]
    return SPLITS.get(telling[0]) if len(telling) == 1 else None


def _known(names: Iterable[str]) -> dict[str, str]:
    """Returns the splits among some folders, if they are not all for one use: a class may be called `train`."""
    known = {name: role for name in names if (role := split_of(name)) is not None}
    return known if len(set(known.values())) > 1 else {}


def _role(roles: Iterable[str], test: bool) -> str | None:
    """Returns which of some roles has the training or the test images."""
    wanted = ("test", "validation") if test else ("train",)
    return next((role for role in wanted if role in roles), None)


def _of_dict(path: Path, names: Iterable[str], test: bool) -> str | None:
    """Returns the split of a saved dataset to train or to test on.

    Raises:
        InputError: several could be meant.
    """
    roles = {name: split_of(name) for name in names}
    role = _role([role for role in roles.values() if role], test)
    found = [name for name in roles if role is not None and roles[name] == role]
    if len(found) > 1:
        raise InputError(f"{path}: has the splits {', '.join(found)}; save the one that is meant by itself")
    return found[0] if found else None


def _of_dataset(path: Path, test: bool) -> list[Picture]:
    datasets: Any = require("nvae", "datasets")
    data = datasets.load_from_disk(path)
    if isinstance(data, datasets.DatasetDict):
        name = _of_dict(path, data, test)
        if name is None:
            raise InputError(f"{path}: has the splits {', '.join(data)}, not {'test' if test else 'train'}")
        data = data[name]
    columns = [name for name, kind in data.features.items() if isinstance(kind, datasets.Image)]
    if len(columns) != 1:
        some = (
            f"the columns {', '.join(columns)} are" if columns else f"none of {', '.join(data.features)} is"
        )
        raise InputError(f"{path}: {some} of images, and exactly one is wanted; select_columns makes it so")
    data = data.cast_column(columns[0], datasets.Image(decode=False))

    def content(index: int) -> bytes:
        image = data[index][columns[0]]
        if image is None:
            raise ValueError("there is none")
        return image["bytes"] or Path(image["path"]).read_bytes()

    return [Picture(f"{path}[{index}]", (), lambda index=index: content(index)) for index in range(len(data))]
