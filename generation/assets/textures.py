"""Image textures of the user's for floors."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from objnerf.dataset.untrusted import opened_picture
from objnerf.errors import InputError, WorkError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

_MIN_SIDE = 16
# A jump across the seam as large as this many times the usual jump inside is seen as a line.
_SEAM_RATIO = 2.5


class UnusableTexture(Exception):
    """An image that can't be used; the message says why, without the file's name."""


def find_textures(folder: Path) -> list[Path]:
    """Images below a folder, relative to it and sorted; hidden ones are left out."""
    found = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def read_texture(path: Path) -> Image.Image:
    """An image as 8-bit RGB.

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
            if image.mode.startswith("I"):
                # 16-bit grey: pillow's conversion would clip it to white
                deep = np.asarray(image, dtype=np.float64)
                grey = np.round(deep * (255 / 65535 if deep.max() > 255 else 1)).astype(np.uint8)
                return Image.fromarray(grey).convert("RGB")
            return image.convert("RGB")
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


def load_texture(
    path: Path, size: int, sha256: str | None = None, mirrored: bool = False
) -> UInt8[np.ndarray, "size size 3"]:
    """Image of `size` pixels a side.

    Args:
        path: the file.
        size: pixels a side.
        sha256: what the file must hash to.
        mirrored: put it together with its mirror images, so that one that isn't seamless becomes so.
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
    if not mirrored:
        return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    half = size - size // 2
    quarter = np.asarray(image.resize((half, half), Image.Resampling.LANCZOS))
    row = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    return np.concatenate([row, row[::-1]], axis=0)[:size, :size]
