"""One picture as bytes, gray or RGB, as its maker meant it; what cannot be known is refused by name.

- Depth: 1 to 16 bits become 8 by rounding; 32 bits, signed and floating-point numbers do not say what is white.
- Orientation of EXIF is applied; colour profiles become sRGB. CMYK, LAB and PNG's gamma other than sRGB's are refused.
- Transparency: opaque alpha is dropped; anything else needs a background, for hidden colours mean nothing.
- Films and files of several pages are refused; of a camera's multi-picture JPEG the first is the picture.

Decoded by Pillow, which takes much else for granted: its default conversions clip 16 bits to white.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from shoestring._errors import InputError, OptionError
from shoestring._extras import require

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
BACKGROUNDS = {"white": 255, "black": 0}
SRGB_GAMMA = 0.45455
SRGB_COLOURS = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x and y of white, red, green, blue
WHITE_IS_ZERO, BITS, SAMPLES, PHOTOMETRIC = 0, 258, 339, 262  # of TIFF
SIGNED, FLOAT = 2, 3
SRGB_TRANSFERS = (1, 13)  # of PNG's cICP chunk: BT.709 and sRGB
NEAR = 1  # level of 255 up to which a profile is sRGB's


@dataclass(frozen=True)
class Decoding:
    """How pictures are decoded.

    Args:
        channels: 1 (gray) or 3 (RGB); None takes them as they are.
        size: cut to a square around the middle and scaled to this side; None takes them as they are.
        background: `white` or `black`, on which transparent pictures are laid; None refuses them.

    Raises:
        OptionError: a value is out of range.
    """

    channels: int | None = None
    size: int | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise OptionError(f"channels {self.channels}: pictures have 1 (gray) or 3 (RGB)")
        if self.size is not None and self.size < 1:
            raise OptionError(f"size {self.size}: must be at least 1")
        if self.background is not None and self.background not in BACKGROUNDS:
            raise OptionError(f"background {self.background!r}: must be one of {', '.join(BACKGROUNDS)}")

    def decoded(self, content: bytes, name: str) -> np.ndarray:
        """Returns a picture as bytes, (height, width) or (height, width, 3).

        Raises:
            InputError: it cannot be read, or it cannot be known what it shows.
        """
        module: Any = require("nvae", "PIL.Image")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", module.DecompressionBombWarning)  # twice as many are refused
                with module.open(io.BytesIO(content), formats=FORMATS) as picture:
                    return self._converted(picture, content)
        except _Unknown as error:
            raise InputError(f"{name}: {error}; --skip-broken leaves it out") from error
        except Exception as error:  # whatever a foreign file does to its reader
            reason = _reason(error)
            raise InputError(
                f"{name}: cannot be read as a picture ({reason}); --skip-broken leaves it out"
            ) from error

    def _converted(self, picture: Any, content: bytes) -> np.ndarray:
        _require_one(picture)
        _require_plain(picture, content)
        _require_palette(picture)
        profile, file_format = picture.info.get("icc_profile"), picture.format
        key = picture.info.get("transparency")
        depth = content[24] if file_format == "PNG" else 8
        turned = require_module("PIL.ImageOps").exif_transpose(picture)
        base, alpha = _split(turned, picture, key, depth)
        base = _in_srgb(base, profile)
        gray = self.channels == 1 or (self.channels is None and base.mode == "L")
        array = np.asarray(base.convert("L" if gray else "RGB"))
        return self._fitted(self._laid(array, alpha))

    def _laid(self, array: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        if alpha is None or alpha.min() == 255:
            return array
        if self.background is None:
            raise _Unknown("has transparent pixels; --background white or black lays it on that")
        weight = alpha.astype(np.int64)
        weight = weight if array.ndim == 2 else weight[:, :, None]
        mixed = weight * array + (255 - weight) * BACKGROUNDS[self.background]
        return ((mixed + 127) // 255).astype(np.uint8)

    def _fitted(self, array: np.ndarray) -> np.ndarray:
        if self.size is None:
            return array
        module: Any = require("nvae", "PIL.Image")
        picture = module.fromarray(array)
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.asarray(picture.resize((self.size, self.size), module.Resampling.BOX, box))


class _Unknown(Exception):
    """It cannot be known what a picture shows."""


def require_module(name: str) -> Any:
    """Returns a module of Pillow."""
    return require("nvae", name)


def _require_one(picture: Any) -> None:
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format != "MPO":
        raise _Unknown(f"has {count} pictures in it, as a film or pages; save the one that is meant")


def _require_plain(picture: Any, content: bytes) -> None:
    """Refuses numbers whose meaning the file does not tell, or tells in a way that Pillow does not follow."""
    if picture.format == "TIFF":
        kinds = picture.tag_v2.get(SAMPLES, (1,))
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if FLOAT in kinds or picture.mode == "F":
            raise _Unknown(
                "has floating-point numbers, which do not say what is white; save it with 8 or 16 bits"
            )
        if SIGNED in kinds:
            raise _Unknown("has signed numbers, which do not say what is black; save it with 8 or 16 bits")
    if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
        raise _Unknown("has numbers of 32 bits, which do not say what is white; save it with 8 or 16 bits")
    if picture.mode in ("CMYK", "LAB", "HSV"):
        raise _Unknown(f"has the colours of {picture.mode}, not gray or RGB; convert it to sRGB")
    if picture.format == "PNG" and "icc_profile" not in picture.info:
        _require_srgb(picture.info, content, picture.mode in ("1", "L", "LA", "I;16"))


def _require_srgb(info: dict[str, Any], content: bytes, gray: bool) -> None:
    """Refuses what PNG's chunks about colour say, if it is something else than sRGB; one goes before the next."""
    code = _chunk(content, b"cICP")  # third edition, 11.3.2.6: primaries, transfer, matrix, full range
    if code is not None:
        if code[0] != 1 or code[1] not in SRGB_TRANSFERS or code[2:] != b"\0\1":
            raise _Unknown(f"has colours of cICP {'-'.join(map(str, code))}, not sRGB; convert it to sRGB")
        return
    if "srgb" in info:
        return
    gamma, colours = info.get("gamma"), info.get("chromaticity")
    if gamma and abs(gamma - SRGB_GAMMA) > 0.01:
        raise _Unknown(f"has a gamma of {gamma:g}, not sRGB's {SRGB_GAMMA}; convert it to sRGB")
    if colours and not gray and max(abs(x - y) for x, y in zip(colours, SRGB_COLOURS, strict=True)) > 0.01:
        raise _Unknown("has primary colours (cHRM) of its own, not sRGB's; convert it to sRGB")


def _require_palette(picture: Any) -> None:
    """Refuses pixels of colours that a palette does not have; every reader shows another colour."""
    if picture.mode == "P" and picture.palette is not None:
        colours, most = len(picture.palette.palette) // len(picture.palette.mode), np.asarray(picture).max()
        if most >= colours:
            raise _Unknown(
                f"has pixels of colour {most} where its palette ends at {colours - 1}; save it anew"
            )


def _chunk(content: bytes, wanted: bytes) -> bytes | None:
    """Returns a chunk of four bytes that stands before a PNG's pixels."""
    position = 8
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IDAT":
            return None
        if kind == wanted and length == 4:
            return content[position + 8 : position + 12]
        position += 12 + length
    return None


def _split(turned: Any, picture: Any, key: Any, depth: int) -> tuple[Any, np.ndarray | None]:
    """Returns the colours, in mode L or RGB, and the alpha, if there is one."""
    if turned.mode.startswith("I"):
        array = np.asarray(turned).astype(np.int64)
        alpha = None if key is None else _keyed(array[..., None], (key,))
        return _eight(array, picture), alpha
    if turned.mode in ("1", "L", "RGB"):
        if key is None:
            return turned.convert("L") if turned.mode == "1" else turned, None
        keys = key if isinstance(key, tuple) else (key,)
        if depth == 16:
            raise _Unknown("has one transparent colour of 16 bits; save it with an alpha channel or 8 bits")
        top = 1 if turned.mode == "1" or depth > 8 else 255 // (2**depth - 1)
        plain = turned.convert("L") if turned.mode == "1" else turned
        array = np.atleast_3d(np.asarray(plain))
        return plain, _keyed(array, tuple(each * top for each in keys))
    if turned.mode in ("La", "RGBa"):
        turned = turned.convert("LA" if turned.mode == "La" else "RGBA")
    gray = turned.mode == "LA"
    if turned.mode == "PA" or (turned.mode == "P" and key is not None):
        turned = turned.convert("RGBA")
    alpha = np.asarray(turned.getchannel("A")) if "A" in turned.getbands() else None
    return turned.convert("L" if gray else "RGB"), alpha


def _keyed(array: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
    """Returns alpha: 0 where a pixel has the transparent colour."""
    return np.where((array == np.array(key)).all(-1), 0, 255).astype(np.uint8)


def _eight(array: np.ndarray, picture: Any) -> Any:
    """Returns gray of more than 8 bits in 8, rounded; 65,535 (4,095 of a TIFF of 12 bits) is white."""
    most = 65535
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(BITS, (16,))
        most = 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
        if picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            array = most - array
    if array.min() < 0 or array.max() > most:
        raise _Unknown(f"has numbers from {array.min()} to {array.max()} where 0 to {most} are expected")
    module = require_module("PIL.Image")
    return module.fromarray(((array * 255 + most // 2) // most).astype(np.uint8))


def _in_srgb(base: Any, profile: bytes | None) -> Any:
    """Returns the colours in sRGB."""
    if not profile:
        return base
    space = profile[16:20]
    if (space == b"GRAY" and base.mode != "L") or space not in (b"GRAY", b"RGB "):
        raise _Unknown(
            f"has a colour profile for {space.decode('ascii', 'replace').strip()!r}; convert it to sRGB"
        )
    transform = _transform(profile, "L" if space == b"GRAY" else "RGB")
    if transform is None:
        return base
    gray = base.mode == "L"
    converted = transform.apply(base if space == b"GRAY" else base.convert("RGB"))
    return converted.convert("L") if gray else converted


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """Returns how a profile's colours become sRGB, or None if they are."""
    cms: Any = require_module("PIL.ImageCms")
    try:
        source = cms.ImageCmsProfile(io.BytesIO(profile))
        intent = cms.getDefaultIntent(source)
        transform = cms.buildTransform(source, cms.createProfile("sRGB"), mode, "RGB", intent)
    except cms.PyCMSError as error:
        raise _Unknown(f"has a colour profile that cannot be read ({_first_line(error)})") from error
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 1, 3)
    probe = require_module("PIL.Image").fromarray(cube if mode == "RGB" else levels[:, None])
    found = np.asarray(transform.apply(probe)).astype(int)
    wanted = np.asarray(probe.convert("RGB")).astype(int)
    return None if np.abs(found - wanted).max() <= NEAR else transform


def _reason(error: Exception) -> str:
    module: Any = require_module("PIL.Image")
    if isinstance(error, require_module("PIL").UnidentifiedImageError):
        return "of no kind or depth that is read: " + ", ".join(FORMATS)
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    if isinstance(error, module.DecompressionBombError) and pixels:
        return f"{int(pixels[1]):,} pixels, at most {2 * module.MAX_IMAGE_PIXELS:,} are read"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
