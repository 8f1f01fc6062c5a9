"""Images as one array of bytes, from the forms in which people keep them.

- MNIST's idx files (also .gz), .npy (memory-mapped) and .npz, folders and zips of pictures, Hugging Face datasets saved
  on disk, and `digits`, the 1,797 of scikit-learn.
- A folder with MNIST's four files gives its test images too.
- A picture that cannot be read, or is of another size, is refused by its name, or left out and counted.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shoestring._errors import InputError, OptionError
from shoestring._extras import require

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TEST_NAMES = ("t10k", "test")
FEWEST = 2


@dataclass(frozen=True)
class Images:
    """A set of images of one size.

    Args:
        pixels: uint8 (n, channels, height, width); may be memory-mapped.
        name: where they come from.
        skipped: pictures that were left out.
        chosen: which rows of `pixels` belong to the set; None takes all. Nothing is copied.
    """

    pixels: np.ndarray
    name: str
    skipped: tuple[str, ...] = ()
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.pixels.shape[1:]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the pixels of some images, (b, channels, height, width)."""
        return self.pixels[indices if self.chosen is None else self.chosen[indices]]

    def rows(self, indices: np.ndarray) -> Images:
        """Returns the set of some images."""
        return replace(self, chosen=indices if self.chosen is None else self.chosen[indices], skipped=())

    def part(self, start: int, stop: int) -> Images:
        """Returns the set of the images from `start` to `stop`."""
        return self.rows(np.arange(len(self))[start:stop])


def read_images(
    source: str | Path, *, channels: int | None = None, size: int | None = None, skip_broken: bool = False,
    test: bool = False,
) -> Images:  # fmt: skip
    """Reads images.

    Args:
        source: `digits`, or a file or folder as the module's first lines tell.
        channels: 1 or 3 turns pictures into gray or RGB; None takes them as they are.
        size: pictures are cut to a square around the middle and scaled to this; None takes them as they are.
        skip_broken: leave out pictures that cannot be read or are of another size, and count them.
        test: of MNIST's four files and of a dataset with splits, the test images.

    Raises:
        InputError: nothing there, broken, of mixed sizes, or too few.

    >>> read_images("digits").shape
    (1, 8, 8)
    """
    pixels, skipped = _read(str(source), _Pictures(channels, size, skip_broken), test)
    pixels = _as_maps(pixels, source)
    if len(pixels) < FEWEST:
        raise InputError(f"{source}: has {len(pixels)} images; at least {FEWEST} are needed")
    return Images(pixels, str(source), tuple(skipped))


def require_shape(images: Images, shape: tuple[int, int, int], preset: str) -> None:
    """Refuses images that a model is not for.

    Raises:
        InputError: they are of another size or number of channels.
    """
    if images.shape != shape:
        (channels, height, width), (want, side, _) = images.shape, shape
        resize = f"--size {side}" if (height, width) != (side, side) else ""
        recolour = f"--channels {want}" if channels != want else ""
        raise InputError(
            f"{images.name}: images of {height}x{width} with {channels} channels, {preset} is for {side}x{side} with "
            f"{want}; for pictures pass {' '.join(filter(None, (resize, recolour)))}, or change the model by --set"
        )


def has_test_images(source: str | Path) -> bool:
    """Tells whether `read_images(source, test=True)` finds images of their own."""
    folder = Path(source)
    return folder.is_dir() and (_idx_file(folder, True) is not None or (folder / "test").is_dir())


def _read(source: str, pictures: _Pictures, test: bool) -> tuple[np.ndarray, list[str]]:
    if source == "digits":
        return _digits(), []
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or folder; `digits` is scikit-learn's set")
    if path.is_dir():
        return _from_folder(path, pictures, test)
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix in (".npy", ".npz"):
        return _from_numpy(path), []
    if suffix == ".zip":
        return _from_zip(path, pictures)
    return read_idx(path), []


def _from_folder(path: Path, pictures: _Pictures, test: bool) -> tuple[np.ndarray, list[str]]:
    if idx := _idx_file(path, test):
        return read_idx(idx), []
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return _from_dataset(path, pictures, test)
    split = path / ("test" if test else "train")
    path = split if split.is_dir() else path
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
    if not files:
        raise InputError(f"{path}: has no pictures ({', '.join(PICTURES[:4])}, ...), idx files or dataset")
    return pictures.stack((str(file), file.read_bytes) for file in files)


def _from_zip(path: Path, pictures: _Pictures) -> tuple[np.ndarray, list[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in PICTURES)
            if not names:
                raise InputError(f"{path}: has no pictures in it")
            return pictures.stack((f"{path}/{name}", lambda name=name: archive.read(name)) for name in names)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a zip, or damaged: {error}") from error


def _from_dataset(path: Path, pictures: _Pictures, test: bool) -> tuple[np.ndarray, list[str]]:
    datasets: Any = require("nvae", "datasets")
    data = datasets.load_from_disk(path)
    if isinstance(data, datasets.DatasetDict):
        name = "test" if test else "train"
        if name not in data:
            raise InputError(f"{path}: has the splits {', '.join(data)}, not {name}")
        data = data[name]
    column = next((name for name, kind in data.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise InputError(f"{path}: none of its columns {', '.join(data.features)} is of images")
    data = data.cast_column(column, datasets.Image(decode=False))

    def content(index: int) -> bytes:
        image = data[index][column]
        return image["bytes"] or Path(image["path"]).read_bytes()

    return pictures.stack(
        (f"{path}[{index}]", lambda index=index: content(index)) for index in range(len(data))
    )


@dataclass(frozen=True)
class _Pictures:
    """How pictures are decoded."""

    channels: int | None
    size: int | None
    skip_broken: bool

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise OptionError(f"channels {self.channels}: pictures have 1 (gray) or 3 (RGB)")
        if self.size is not None and self.size < 1:
            raise OptionError(f"size {self.size}: must be at least 1")

    def stack(self, pictures: Iterator[tuple[str, Callable[[], bytes]]]) -> tuple[np.ndarray, list[str]]:
        """Decodes pictures into one array; the first decides the size."""
        arrays: list[np.ndarray] = []
        skipped: list[str] = []
        for name, content in pictures:
            try:
                array = self._decoded(content(), name)
                if arrays and array.shape != arrays[0].shape:
                    raise InputError(
                        f"{name}: {_shape(array)}, those before {_shape(arrays[0])}; pass --size N and --channels 1 "
                        "or 3 to make them alike, or --skip-broken to leave it out"
                    )
                arrays.append(array)
            except InputError:
                if not self.skip_broken:
                    raise
                skipped.append(name)
        return (np.stack(arrays) if arrays else np.empty((0, 1, 1), np.uint8)), skipped

    def _decoded(self, content: bytes, name: str) -> np.ndarray:
        image_module: Any = require("nvae", "PIL.Image")
        try:
            with image_module.open(io.BytesIO(content)) as picture:
                gray = self.channels == 1 or (
                    self.channels is None and picture.mode in ("1", "L", "LA", "I;16")
                )
                converted = picture.convert("L" if gray else "RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(
                f"{name}: cannot be read as a picture ({error}); --skip-broken leaves it out"
            ) from error
        if self.size is not None:
            side = min(converted.size)
            left, top = (converted.width - side) // 2, (converted.height - side) // 2
            box = (left, top, left + side, top + side)
            converted = converted.resize((self.size, self.size), image_module.Resampling.BOX, box)
        return np.asarray(converted)


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file of bytes: 0, 0, type 8, rank, big-endian sizes, bytes (LeCun's format)."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: damaged gzip: {error}") from error
    rank = content[3] if content[:3] == b"\0\0\x08" else 0
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank))
    if rank not in (3, 4) or len(content) != 4 + 4 * rank + int(np.prod(shape)):
        raise InputError(
            f"{path}: not a whole idx file of images; give .npy, .npz, .zip, idx, a folder of pictures or digits"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _idx_file(folder: Path, test: bool) -> Path | None:
    found = sorted(folder.glob("*images*idx[34]-ubyte*"))
    of = [path for path in found if path.name.startswith(TEST_NAMES) == test]
    return of[0] if of else None


def _from_numpy(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an array: {error}") from error
    images = [name for name, array in arrays.items() if array.ndim >= 3]
    if len(images) != 1:
        raise InputError(
            f"{path}: has the arrays {', '.join(arrays)}; exactly one of three or four axes is wanted"
        )
    return arrays[images[0]]


def _digits() -> np.ndarray:
    datasets: Any = require("nvae", "sklearn.datasets")
    return np.round(datasets.load_digits().images * (255 / 16)).astype(np.uint8)


def _as_maps(array: np.ndarray, source: object) -> np.ndarray:
    """Returns (n, c, h, w) of (n, h, w), (n, h, w, c) or (n, c, h, w)."""
    if array.dtype != np.uint8:
        raise InputError(f"{source}: numbers of type {array.dtype}, bytes (uint8, 0 to 255) are wanted")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4:
        raise InputError(
            f"{source}: an array of shape {array.shape}; (images, height, width[, channels]) is wanted"
        )
    return array if array.shape[1] < array.shape[3] else array.transpose(0, 3, 1, 2)


def _shape(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]} {'gray' if array.ndim == 2 else 'RGB'}"
