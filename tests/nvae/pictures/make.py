"""Writes the pictures of this folder and table.json, with tools that are not ours (and not Pillow).

    python make.py        needs Debian's imagemagick, netpbm, libtiff-tools, libjpeg-turbo-progs, webp, apngasm,
                          libimage-exiftool-perl and icc-profiles-free

The patterns are formulas, written as PGM and PPM byte by byte; `table.json` tells what each file must be read as:

- `pattern`: gray, colour, pale (colour over white by alpha), dark (over black), two (black and white);
- `turned`: by which orientation of EXIF, 1 to 8, the file has to be turned;
- `within`: levels of 255 by which lossy formats may differ;
- `refused`: what the message says, if it cannot be known what the picture shows.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 12, 10
ADOBE = "/usr/share/color/icc/compatibleWithAdobeRGB1998.icc"
SRGB = "/usr/share/color/icc/sRGB.icc"
GRAY = "/usr/share/color/icc/Gray.icc"
TABLE: dict[str, dict[str, object]] = {}


def gray16(x: int, y: int) -> int:
    """Returns a level of 65,535 whose low byte matters when it is rounded to 8 bits."""
    return (y * WIDTH + x) * 540 + 130 * (x % 2)


def colour(x: int, y: int) -> tuple[int, int, int]:
    """Returns bytes of red, green and blue."""
    return 20 * x, 25 * y, 255 - 9 * (x + y)


def alpha(x: int, y: int) -> int:
    """Returns a byte: from nothing at the left to all at the right."""
    return round(255 * x / (WIDTH - 1))


def write(path: Path, magic: str, most: int, values: list[int]) -> None:
    """Writes PGM or PPM."""
    wide = most > 255
    body = b"".join(value.to_bytes(1 + wide, "big") for value in values)
    path.write_bytes(f"{magic}\n{WIDTH} {HEIGHT}\n{most}\n".encode() + body)


def sources(folder: Path) -> None:
    """Writes the patterns."""
    places = [(x, y) for y in range(HEIGHT) for x in range(WIDTH)]
    write(folder / "gray16.pgm", "P5", 65535, [gray16(x, y) for x, y in places])
    write(folder / "gray12.pgm", "P5", 4095, [gray16(x, y) * 4095 // 65535 for x, y in places])
    write(folder / "gray.pgm", "P5", 255, [(gray16(x, y) + 128) // 257 for x, y in places])
    write(folder / "colour.ppm", "P6", 255, [value for x, y in places for value in colour(x, y)])
    write(
        folder / "colour16.ppm",
        "P6",
        65535,
        [257 * value + (value < 128) for x, y in places for value in colour(x, y)],
    )
    write(folder / "alpha.pgm", "P5", 255, [alpha(x, y) for x, y in places])
    write(folder / "opaque.pgm", "P5", 255, [255 for _ in places])
    write(folder / "two.pgm", "P5", 255, [255 * ((x + y // 3) % 2) for x, y in places])


def run(*command: object) -> None:
    """Runs a tool."""
    subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=HERE)


def made(name: str, pattern: str, *command: object, **facts: object) -> None:
    """Makes a file with a tool; the word OUT is the file."""
    run(*(HERE / name if part == "OUT" else part for part in command))
    TABLE[name] = {"pattern": pattern, "by": str(command[0]), **facts}


def magick(name: str, pattern: str, *arguments: object, kind: str = "", **facts: object) -> None:
    """Makes a file with ImageMagick."""
    made(name, pattern, "convert-im6.q16", *arguments, f"{kind}{HERE / name}", **facts)


def shell(name: str, pattern: str, command: str, **facts: object) -> None:
    """Makes a file of what a command prints."""
    run("sh", "-c", f"{command} > {HERE / name}")
    TABLE[name] = {"pattern": pattern, "by": command.split(maxsplit=1)[0], **facts}


def depths(s: Path) -> None:
    """Mode x depth x format."""
    magick(
        "gray-1.png",
        "two",
        s / "two.pgm",
        "-depth",
        1,
        "-define",
        "png:bit-depth=1",
        "-define",
        "png:color-type=0",
    )
    magick("gray-8.png", "gray", s / "gray.pgm", "-define", "png:color-type=0")
    magick(
        "gray-16.png", "gray", s / "gray16.pgm", "-define", "png:color-type=0", "-define", "png:bit-depth=16"
    )
    magick("rgb-8.png", "colour", s / "colour.ppm", "-define", "png:color-type=2")
    magick(
        "rgb-16.png",
        "colour",
        s / "colour16.ppm",
        "-define",
        "png:color-type=2",
        "-define",
        "png:bit-depth=16",
    )
    magick("palette.png", "two", s / "two.pgm", "-define", "png:color-type=3", kind="png8:")
    for name in ("gray16.pgm", "gray12.pgm", "gray.pgm", "colour.ppm", "colour16.ppm"):
        shutil.copy(s / name, HERE / f"pnm-{name}")
        TABLE[f"pnm-{name}"] = {"pattern": name[:4] if name[0] == "g" else "colour", "by": "bytes"}
    magick("two.pbm", "two", s / "two.pgm")
    magick("colour.bmp", "colour", s / "colour.ppm")
    magick("gray.bmp", "gray", s / "gray.pgm", kind="bmp3:")
    shell("gray.gif", "gray", f"ppmtogif {s}/gray.pgm")
    made(
        "gray.jpg",
        "gray",
        "cjpeg",
        "-quality",
        100,
        "-grayscale",
        "-outfile",
        "OUT",
        s / "gray.pgm",
        within=3,
    )
    made(
        "rgb.jpg",
        "colour",
        "cjpeg",
        "-quality",
        100,
        "-sample",
        "1x1",
        "-outfile",
        "OUT",
        s / "colour.ppm",
        within=4,
    )
    made("lossless.webp", "colour", "cwebp", "-lossless", s / "colour.ppm", "-o", "OUT")


def tiffs(s: Path) -> None:
    """TIFF's depths, signs, byte orders, inversions and packings."""
    magick("gray-16.tif", "gray", s / "gray16.pgm", "-depth", 16, "-compress", "none")
    magick("gray-16-big.tif", "gray", s / "gray16.pgm", "-depth", 16, "-endian", "MSB", "-compress", "zip")
    magick("gray-16-white.tif", "white", s / "gray16.pgm", "-depth", 16, "-define", "quantum:polarity=min-is-white",
           "-compress", "none")  # fmt: skip
    magick(
        "gray-8-white.tif",
        "white",
        s / "gray.pgm",
        "-define",
        "quantum:polarity=min-is-white",
        "-compress",
        "none",
    )
    magick("gray-12.tif", "gray", s / "gray16.pgm", "-depth", 12, "-compress", "none", within=1)
    magick("gray-32.tif", "gray", s / "gray16.pgm", "-depth", 32, "-compress", "none", refused="32 bits")
    magick("float-32.tif", "gray", s / "gray16.pgm", "-define", "quantum:format=floating-point", "-depth", 32,
           "-compress", "zip", refused="floating-point")  # fmt: skip
    magick("rgb-8.tif", "colour", s / "colour.ppm", "-compress", "lzw")
    magick("rgb-16.tif", "colour", s / "colour16.ppm", "-depth", 16, "-compress", "none")
    made("rgb-planes.tif", "colour", "tiffcp", "-p", "separate", HERE / "rgb-8.tif", "OUT")
    made("rgb-tiles.tif", "colour", "tiffcp", "-t", "-w", 16, "-l", 16, HERE / "rgb-8.tif", "OUT")
    magick("cmyk.tif", "colour", s / "colour.ppm", "-colorspace", "CMYK", "-compress", "none", refused="CMYK")
    magick("lab.tif", "colour", s / "colour.ppm", "-colorspace", "Lab", "-compress", "none", refused="LAB")
    magick("pages.tif", "gray", s / "gray.pgm", s / "two.pgm", refused="2 pictures")
    magick("signed-16.tif", "gray", s / "gray16.pgm", "-depth", 16, "-define", "quantum:format=signed",
           "-compress", "none", refused="signed")  # fmt: skip


def orientations(s: Path) -> None:
    """The eight orientations of EXIF, in JPEG, and some in PNG, TIFF and WebP."""
    run("cjpeg", "-quality", 100, "-sample", "1x1", "-outfile", s / "plain.jpg", s / "colour.ppm")
    for turn in range(1, 9):
        name = f"turned-{turn}.jpg"
        shutil.copy(s / "plain.jpg", HERE / name)
        run("exiftool", "-n", "-overwrite_original", f"-Orientation={turn}", HERE / name)
        TABLE[name] = {"pattern": "colour", "by": "exiftool", "turned": turn, "within": 4}
    for source, turn in (("rgb-8.png", 6), ("rgb-8.tif", 8), ("lossless.webp", 5), ("gray-16.tif", 3)):
        name = f"turned-{turn}.{source.rpartition('.')[2]}"
        shutil.copy(HERE / source, HERE / name)
        run("exiftool", "-n", "-overwrite_original", f"-Orientation={turn}", HERE / name)
        TABLE[name] = {"pattern": TABLE[source]["pattern"], "by": "exiftool", "turned": turn}


def transparency(s: Path) -> None:
    """Alpha: of all kinds, and opaque."""
    over = (s / "alpha.pgm", "-alpha", "off", "-compose", "CopyOpacity", "-composite")
    whole = (s / "opaque.pgm", "-alpha", "off", "-compose", "CopyOpacity", "-composite")
    magick("rgba.png", "alpha", s / "colour.ppm", *over, "-define", "png:color-type=6")
    magick("rgba-16.png", "alpha", s / "colour16.ppm", *over, "-define", "png:color-type=6",
           "-define", "png:bit-depth=16", within=1)  # fmt: skip
    magick("rgba-opaque.png", "colour", s / "colour.ppm", *whole, "-define", "png:color-type=6")
    magick("gray-alpha.png", "gray alpha", s / "gray.pgm", *over, "-define", "png:color-type=4")
    magick("rgba.tif", "alpha", s / "colour.ppm", *over, "-compress", "none")
    magick("rgba-associated.tif", "alpha", s / "colour.ppm", *over, "-define", "tiff:alpha=associated",
           "-compress", "none", within=11)  # fmt: skip
    made("alpha.webp", "alpha", "cwebp", "-lossless", "-exact", HERE / "rgba.png", "-o", "OUT")
    magick("black-is-clear.gif", "two alpha", s / "two.pgm", "-transparent", "black")
    shell("black-is-clear.png", "two alpha", f"pnmtopng -transparent =black {s}/two.pgm")
    shell("key-8.png", "key", f"pnmtopng -transparent =rgb:78/64/A5 {s}/colour.ppm")
    shell("key-16.png", "key", f"pnmtopng -transparent =rgb:7879/6465/A5A5 {s}/colour16.ppm",
          refused="one transparent colour")  # fmt: skip


def animations(s: Path) -> None:
    """Films and pictures of one frame that could be films."""
    magick("film.gif", "gray", s / "gray.pgm", s / "two.pgm", refused="2 pictures")
    magick("one.gif", "two", s / "two.pgm", "-loop", 0)
    for index, name in enumerate(("gray", "two")):
        run("convert-im6.q16", s / f"{name}.pgm", f"png24:{s}/frame{index}.png")
    made("film.png", "gray", "apngasm", "OUT", s / "frame0.png", s / "frame1.png", refused="2 pictures")
    for name in ("gray", "two"):
        run("cwebp", "-lossless", s / f"{name}.pgm", "-o", s / f"{name}.webp")
    made("film.webp", "gray", "webpmux", "-frame", s / "gray.webp", "+100", "-frame", s / "two.webp", "+100", "-o",
         "OUT", refused="2 pictures")  # fmt: skip


def colours(s: Path) -> None:
    """Colour profiles, gamma and inks."""
    magick("srgb.png", "colour", s / "colour.ppm", "-profile", SRGB)
    magick("adobe.png", "colour", s / "colour.ppm", "-profile", SRGB, "-profile", ADOBE, within=8)
    magick("adobe.jpg", "colour", s / "colour.ppm", "-profile", SRGB, "-profile", ADOBE, "-quality", 100,
           "-sampling-factor", "1x1", within=12)  # fmt: skip
    magick("adobe.tif", "colour", s / "colour.ppm", "-profile", SRGB, "-profile", ADOBE, within=8)
    for name, profile, pattern in (("gray-srgb.jpg", SRGB, "gray"), ("gray-gamma.jpg", GRAY, "gray gamma")):
        shutil.copy(HERE / "gray.jpg", HERE / name)
        run("exiftool", "-overwrite_original", f"-icc_profile<={profile}", HERE / name)
        TABLE[name] = {"pattern": pattern, "by": "exiftool", "within": 4 if profile == SRGB else 13}
    magick("linear.png", "colour", s / "colour16.ppm", "-colorspace", "RGB", "-define", "png:color-type=2",
           refused="gamma")  # fmt: skip
    magick("cmyk.jpg", "colour", s / "colour.ppm", "-colorspace", "CMYK", "-quality", 100, refused="CMYK")


def broken(s: Path) -> None:
    """What is no whole picture."""
    whole = (HERE / "rgb.jpg").read_bytes()
    (HERE / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    png = (HERE / "rgb-8.png").read_bytes()
    (HERE / "cut.png").write_bytes(png[: len(png) * 2 // 3])
    (HERE / "text.png").write_text("no picture")
    (HERE / "empty.png").write_bytes(b"")
    for name in ("cut.jpg", "cut.png", "text.png", "empty.png"):
        TABLE[name] = {"pattern": "", "by": "bytes", "refused": "cannot be read as a picture"}
    run("sh", "-c", f"pbmmake -white 20000 20000 | pnmtopng | head -c 2000 > {HERE}/huge.png")
    TABLE["huge.png"] = {"pattern": "", "by": "pnmtopng", "refused": "400,000,000 pixels"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        s = Path(folder)
        sources(s)
        for make in (depths, tiffs, orientations, transparency, animations, colours, broken):
            make(s)
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(facts)}" for name, facts in sorted(TABLE.items()))
    (HERE / "table.json").write_text("{\n" + text + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
