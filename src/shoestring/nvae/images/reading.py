"""Images from the forms in which people keep them: folders, zips, saved datasets and arrays of pictures.

- `read_images` gives one array of bytes; a picture that cannot be read, or is of another size, is refused by its name,
  or left out and counted.
- A folder or zip with `train` and `test` (or `val`) and nothing else has test images of its own; so has a folder with
  MNIST's four files, and a dataset with splits. A class that is called `train` among others is a class.
- Hidden files and those that macOS puts beside others are no pictures; linked folders are followed.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.nvae.images.arrays import as_maps, digits, idx_file, read_array, require_bytes
from shoestring.nvae.images.decoding import Decoding
from shoestring.nvae.images.sets import Images

PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm",
)  # fmt: skip
FOREIGN = (
    ".avif",
    ".heic",
    ".heif",
    ".jxl",
    ".jp2",
    ".j2k",
    ".exr",
    ".hdr",
    ".pfm",
    ".psd",
    ".svg",
    ".tga",
    ".dds",
)
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
    "valid": "validation", "validation": "validation",
}  # fmt: skip
FEWEST = 2


class Picture(NamedTuple):
    """A picture that has not been read.

    Args:
        name: by which it is refused.
        top: the first folder of its path, or nothing.
        content: returns its bytes.
    """

    name: str
    top: str
    content: Callable[[], bytes]


def read_images(
    source: str | Path, *, channels: int | None = None, size: int | None = None, background: str | None = None,
    skip_broken: bool = False, test: bool = False,
) -> Images:  # fmt: skip
    """Reads images.

    Args:
        source: `digits`, or a file or folder as the module's first lines tell.
        channels: 1 or 3 turns pictures into gray or RGB; None takes them as they are.
        size: pictures are cut to a square around the middle and scaled to this; None takes them as they are.
        background: `white` or `black`, on which transparent pictures are laid; None refuses them.
        skip_broken: leave out pictures that cannot be read or are of another size, and count them.
        test: of a source that has test images of its own, those.

    Raises:
        InputError: nothing there, broken, of mixed sizes, or too few.

    >>> read_images("digits").shape
    (1, 8, 8)
    """
    decoding, skipped = Decoding(channels, size, background), []
    pictures = find_pictures(source, test)
    if pictures is None:
        pixels = _array(source, decoding, test)
    else:
        pixels = _stacked(decoded(pictures, decoding, skip_broken, skipped), len(pictures))
    if len(pixels) < FEWEST:
        left_out = f" ({len(skipped)} were left out, the first {skipped[0]})" if skipped else ""
        raise InputError(f"{source}: has {len(pixels)} images{left_out}; at least {FEWEST} are needed")
    require_bytes(pixels, source)
    return Images(pixels, str(source), tuple(skipped))


def has_test_images(source: str | Path) -> bool:
    """Tells whether `read_images(source, test=True)` finds images of their own."""
    folder = Path(source)
    if str(source) == "digits" or not folder.exists():
        return False
    if folder.is_dir() and (idx_file(folder, True) is not None or idx_file(folder, False) is not None):
        return idx_file(folder, True) is not None
    if folder.is_dir() and (folder / "dataset_dict.json").exists():
        splits = json.loads((folder / "dataset_dict.json").read_text("utf-8")).get("splits", [])
        return _role(splits, True) is not None
    listed = _listed(folder)
    return listed is not None and _tops(listed, folder, True) is not None


def find_pictures(source: str | Path, test: bool) -> Sequence[Picture] | None:
    """Returns the pictures of a source, unread; None if it is an array.

    Raises:
        InputError: there is nothing of the kind.
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
    tops = _tops(listed, path, test)
    return listed if tops is None else [picture for picture in listed if picture.top in tops]


def decoded(
    pictures: Sequence[Picture], decoding: Decoding, skip_broken: bool, skipped: list[str]
) -> Iterator[np.ndarray]:
    """Yields pictures as bytes, (h, w) or (h, w, 3); the first decides the size. `skipped` gets the names of others."""
    first: tuple[int, ...] | None = None
    for picture in pictures:
        try:
            array = decoding.decoded(_content(picture), picture.name)
            first = first or array.shape
            if array.shape != first:
                raise InputError(
                    f"{picture.name}: {_shape(array.shape)}, those before {_shape(first)}; pass --size N and "
                    "--channels 1 or 3 to make them alike, or --skip-broken to leave it out"
                )
        except InputError:
            if not skip_broken:
                raise
            skipped.append(picture.name)
            continue
        yield array


def _content(picture: Picture) -> bytes:
    if picture.name.lower().endswith(FOREIGN):
        kind = picture.name.lower().rpartition(".")[2]
        raise InputError(
            f"{picture.name}: .{kind} is not read here; convert it to PNG, or --skip-broken leaves it out"
        )
    try:
        return picture.content()
    except (
        Exception
    ) as error:  # a file without permission, a damaged or encrypted member, a dataset's missing file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{picture.name}: cannot be read ({reason}); --skip-broken leaves it out") from error


def _stacked(arrays: Iterator[np.ndarray], most: int) -> np.ndarray:
    """Returns all in one array (n, c, h, w), which is the only copy."""
    pixels, count = np.empty((0, 1, 1), np.uint8), 0
    for array in arrays:
        if not count:
            pixels = np.empty((most, *array.shape), np.uint8)
        pixels[count] = array
        count += 1
    pixels = pixels[:count]
    return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)


def _array(source: str | Path, decoding: Decoding, test: bool) -> np.ndarray:
    path = Path(source)
    folder_file = idx_file(path, test) if path.is_dir() else None
    array = digits() if str(source) == "digits" else read_array(folder_file or path)
    pixels = as_maps(array, source)
    channels, height, width = pixels.shape[1:]
    if decoding.channels not in (None, channels) or decoding.size not in (None, height) or (
        decoding.size not in (None, width)
    ):  # fmt: skip
        raise InputError(
            f"{source}: is an array of {height}x{width} with {channels} channels; --size and --channels change "
            "pictures, not arrays"
        )
    return pixels


# -- where pictures lie ------------------------------------------------------------------------------------


def _listed(path: Path) -> list[Picture] | None:
    """Returns all pictures of a folder or zip, in order; None of another file."""
    if path.is_dir():
        return [
            _in_folder(path, file) for file in sorted(_files(path)) if _is_picture(PurePosixPath(file.name))
        ]
    if path.suffix.lower() != ".zip":
        return None
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a zip, or damaged: {error}") from error
    names = [PurePosixPath(name) for name in sorted(archive.namelist()) if not name.endswith("/")]
    kept = [name for name in names if _is_picture(name)]
    shared = _shared_top(kept)
    return [
        Picture(f"{path}/{name}", _top(name.parts[shared:]), lambda name=name: archive.read(str(name)))
        for name in kept
    ]


def _in_folder(path: Path, file: Path) -> Picture:
    return Picture(str(file), _top(file.relative_to(path).parts), file.read_bytes)


def _top(parts: Sequence[str]) -> str:
    return parts[0] if parts[1:] else ""


def _shared_top(names: Sequence[PurePosixPath]) -> int:
    """Returns 1 if a zip has one folder around everything that is no split."""
    tops = {_top(name.parts) for name in names}
    return int(len(tops) == 1 and not tops & {"", *SPLITS})


def _is_picture(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return not hidden and name.suffix.lower() in (*PICTURES, *FOREIGN)


def _files(folder: Path) -> Iterator[Path]:
    """Yields all files but those in hidden folders; a linked folder is entered once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = (
            [] if real in seen else [name for name in folders if not name.startswith((".", "__MACOSX"))]
        )
        if real not in seen:
            yield from (Path(place, name) for name in names)
        seen.add(real)


def _tops(pictures: Sequence[Picture], path: Path, test: bool) -> set[str] | None:
    """Returns the folders that a split consists of; None if there are no splits.

    Raises:
        InputError: there are splits and something else beside them.
    """
    tops = {picture.top for picture in pictures}
    known = {top: SPLITS[top.lower()] for top in tops if top.lower() in SPLITS}
    if "train" not in known.values() or len(known) == 1:
        return None
    if others := sorted(tops - known.keys()):
        beside = others[0] or "pictures"
        raise InputError(
            f"{path}: has {' and '.join(sorted(known))}, but {beside} beside them; give the folder that is meant, "
            f"such as {path / min(known)}"
        )
    role = _role(list(known.values()), test)
    return None if role is None else {top for top, kind in known.items() if kind == role}


def _role(names: Sequence[str], test: bool) -> str | None:
    """Returns which of some splits has the training or the test images."""
    wanted = ("test", "validation") if test else ("train",)
    roles = {SPLITS.get(name.lower(), name): name for name in names}
    return next((roles[role] for role in wanted if role in roles), None)


def _of_dataset(path: Path, test: bool) -> list[Picture]:
    datasets: Any = require("nvae", "datasets")
    data = datasets.load_from_disk(path)
    if isinstance(data, datasets.DatasetDict):
        name = _role(list(data), test)
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

    return [Picture(f"{path}[{index}]", "", lambda index=index: content(index)) for index in range(len(data))]


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]} {'gray' if len(shape) == 2 else 'RGB'}"
