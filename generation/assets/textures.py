"""Image textures of the user's for floors."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from objnerf.dataset.files import read_image
from objnerf.dataset.untrusted import opened_picture
from objnerf.errors import InputError, WorkError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

_MIN_SIDE = 16
# A jump across the seam as large as this many times the usual jump inside is seen as a line.
_SEAM_RATIO = 2.5


class UnusableTexture(Exception):
    """An image that can't be used; the message says why, without the file's name."""


#: Last words of names: of the colours of a surface, and of what else comes in a set with them.
_COLOUR_WORDS = ("color", "colour", "col", "diff", "diffuse", "albedo", "basecolor", "base_color")
_MAP_WORDS = (
    *("normal", "normalgl", "normaldx", "nor", "nor_gl", "nor_dx", "nrm", "norm", "bump"),
    *("rough", "roughness", "gloss", "glossiness", "smoothness", "spec", "specular", "reflection"),
    *("metal", "metallic", "metalness", "ao", "ambientocclusion", "occlusion", "arm", "orm", "cavity"),
    *("disp", "displacement", "height", "depth", "opacity", "alpha", "mask", "translucency", "emission"),
)
#: What may stand behind those words: a size, as in 'wood_diff_2k'.
_SIZE = re.compile(r"[-_. ]\d+k$")


def find_textures(folder: Path) -> list[Path]:
    """Colour images below a folder, relative to it and sorted; hidden ones and `find_maps` are left out."""
    maps = {path for path, _ in find_maps(folder)}
    return [path for path in _find_images(folder) if path not in maps]


def find_maps(folder: Path) -> list[tuple[Path, Path]]:
    """Normal maps and the like: images that the name says to belong to a colour image, and that image.

    'wood_rough.jpg' is the roughness of 'wood_diff.jpg' or 'wood.jpg' beside it; alone it is a rough wood.
    """
    found = _find_images(folder)
    sets: dict[Path, Path] = {}
    for path in found:
        words = _surface(path, _COLOUR_WORDS)
        if words is not None:
            sets[words] = path
    for path in found:
        sets.setdefault(path.with_name(_SIZE.sub("", path.stem.lower())), path)
    maps = []
    for path in found:
        surface = _surface(path, _MAP_WORDS)
        if surface is not None and surface in sets:
            maps.append((path, sets[surface]))
    return maps


def _surface(path: Path, words: tuple[str, ...]) -> Path | None:
    """The path without the last word of its name, in lower case; None where that is none of `words`."""
    stem = _SIZE.sub("", path.stem.lower())
    for word in sorted(words, key=len, reverse=True):
        start = stem.removesuffix(word)
        if start != stem and start[-1:] in ("_", "-", " ", "."):
            return path.with_name(_SIZE.sub("", start[:-1]))
    return None


def _find_images(folder: Path) -> list[Path]:
    found = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def read_texture(path: Path) -> Image.Image:
    """An image as 8-bit RGB, transparent parts on white.

    Raises:
        UnusableTexture: not an image, truncated, too small or too large.
    """
    try:
        with opened_picture(path) as image:
            width, height = image.size
            if min(width, height) < _MIN_SIDE:
                raise UnusableTexture(
                    f"it has {width} × {height} pixels, expected at least {_MIN_SIDE} a side"
                )
        return Image.fromarray(read_image(path))
    except UnusableTexture:
        raise
    except InputError as error:
        raise UnusableTexture(f"can't be read ({error})") from error


def is_seamless(image: Image.Image) -> bool:
    """Whether its opposite edges go together: the jump across the seam is like those inside."""
    size = (min(image.width, 256), min(image.height, 256))
    small = np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.float64)
    for axis in (0, 1):
        inside = np.abs(np.diff(small, axis=axis)).mean()
        first, last = np.take(small, 0, axis=axis), np.take(small, -1, axis=axis)
        if np.abs(first - last).mean() > _SEAM_RATIO * inside + 1.0:
            return False
    return True


def square_copies(width: int, height: int) -> tuple[int, int]:
    """How many copies of an image, across and down, make a square, or nearly: at most four each way."""
    ratio = Fraction(width, height)
    if ratio >= 1:
        near = min(ratio, Fraction(4)).limit_denominator(4)
        return near.denominator, near.numerator
    down, across = square_copies(height, width)
    return across, down


def load_texture(
    path: Path,
    size: int,
    sha256: str | None = None,
    mirrored: bool = False,
    copies: tuple[int, int] = (1, 1),
) -> UInt8[np.ndarray, "size size 3"]:
    """Image of `size` pixels a side.

    Args:
        path: the file.
        size: pixels a side.
        sha256: what the file must hash to.
        mirrored: put it together with its mirror images, so that one that isn't seamless becomes so.
        copies: how often it stands across and down, see `square_copies`.
    Raises:
        WorkError: it is gone, changed or can't be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkError(f"texture {path}: can't be read ({error})") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise WorkError(
            f"texture {path}: it is not the file that the scene was planned with (checksums differ)."
        )
    try:
        image = read_texture(path)
    except UnusableTexture as error:
        raise WorkError(f"texture {path}: {error}") from error
    across, down = copies
    # whole pixels a copy, then the size wanted: copies stay alike to the pixel
    cell = _resized(image, -(-size // across), -(-size // down), mirrored)
    return _resized(Image.fromarray(np.tile(cell, (down, across, 1))), size, size)


def _resized(
    image: Image.Image, width: int, height: int, mirrored: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """The image, or the image with its mirror images to the right, below and both."""
    if not mirrored:
        return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    quarter = _resized(image, width - width // 2, height - height // 2)
    row = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    return np.concatenate([row, row[::-1]], axis=0)[:height, :width]
