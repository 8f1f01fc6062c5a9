"""Pictures as other people's tools write them are what their maker meant, or refused by name."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from shoestring._errors import InputError
from shoestring.nvae import read_images
from shoestring.nvae.images.decoding import Decoding
from shoestring.nvae.images.packing import pack

from .samples import PIXELS, RGB, TOOLS, pictures, same

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
