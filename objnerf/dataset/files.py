"""Read and write the files of a dataset: images, matrices, masks and depth.

Every file is written to a temporary name in its own folder and then renamed, so that a reader never sees
half a file and an interrupted writer leaves the old one.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8
from PIL import Image

from objnerf.errors import InputError

#: Mask colours: the background, then the objects in order; all differ in luminance (see ``grey_levels``).
BACKGROUND_COLOUR = (64, 64, 64)
OBJECT_COLOURS = (
    (0, 0, 255),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (188, 188, 188),
    (0, 128, 64),
    (255, 75, 0),
    (128, 128, 255),
    (200, 255, 200),
    (100, 200, 100),
    (255, 170, 200),
)

#: A text file larger than this is no 4×4 matrix; reading it would only waste memory.
_MAX_MATRIX_BYTES = 65536


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on failure.

    The temporary name ends with the same suffix (libraries choose the format by it) and begins with
    ``.tmp-``, which the dataset index passes over.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a dataset is for everybody whom the user's umask lets in.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image as 8-bit RGB; transparency is flattened on white.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    with _opened_image(path) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, rgba)
        if image.mode.startswith(("I", "F")):
            # Pillow's own conversion clips 16 bits to 255 instead of scaling them.
            values = np.asarray(image).astype(np.float64)
            grey = np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        return np.asarray(image.convert("RGB"))


def write_image(path: str | os.PathLike[str], image: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write 8-bit RGB as PNG, atomically; equal pixels give equal bytes."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=6)


def read_matrix(
    path: str | os.PathLike[str], shape: tuple[int, int] = (4, 4)
) -> Float[np.ndarray, "rows columns"]:
    """Read a whitespace-separated matrix such as ``_RT.txt``.

    Raises:
        InputError: the file is missing, is no text, holds a word that is no number or another shape.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_MATRIX_BYTES:
            raise InputError(
                f"{path}: expected a {shape[0]}×{shape[1]} matrix as text, found a file of "
                f"{path.stat().st_size} bytes"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a matrix as text, found bytes that are no text") from error
    rows = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    try:
        values = [[float(word) for word in row] for row in rows]
    except ValueError as error:
        raise InputError(f"{path}: expected a matrix of numbers, {error}") from error
    if len(values) != shape[0] or any(len(row) != shape[1] for row in values):
        found = f"{len(values)} rows of {sorted({len(row) for row in values})} numbers"
        raise InputError(f"{path}: expected {shape[0]} rows of {shape[1]} numbers, found {found}")
    return np.array(values, dtype=np.float64)


def write_matrix(path: str | os.PathLike[str], matrix: Float[np.ndarray, "rows columns"]) -> None:
    """Write a matrix as text, one row a line, with every digit that a float64 needs to come back equal."""
    # + 0.0 turns -0.0 into 0.0.
    rows = [" ".join(repr(float(value) + 0.0) for value in row) for row in matrix]
    write_text(path, "\n".join(rows) + "\n")


def grey_levels(
    colours: UInt8[np.ndarray, "*batch 3"],
) -> UInt8[np.ndarray, "*batch"]:
    """Luminance of 8-bit RGB as the reference's loader sees it (ITU-R 601, Pillow's integer arithmetic)."""
    weighted = colours.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
    # asarray: of a single colour the arithmetic makes a scalar.
    return np.asarray((weighted + 0x8000) >> 16).astype(np.uint8)


def read_mask(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Read a mask's flat colours as RGB.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return read_image(path)


def labels_from_mask(mask: UInt8[np.ndarray, "height width 3"]) -> Integer[np.ndarray, "height width"]:
    """Instance labels of a mask: 0 for the background, 1… for the objects.

    A mask in this format's colours gives each object the number of its colour, so that an object has the
    same label in every view, even where another one is hidden. With other colours the objects are
    numbered by their grey levels, and the background is the second lowest level present (the reference's
    rule), or the only one.
    """
    codes = mask.astype(np.int64) @ np.array([65536, 256, 1])
    present, inverse = np.unique(codes, return_inverse=True)
    colours = np.stack([present >> 16, (present >> 8) & 255, present & 255], axis=-1).astype(np.uint8)
    palette = np.array([BACKGROUND_COLOUR, *OBJECT_COLOURS], dtype=np.int64) @ np.array([65536, 256, 1])
    if np.isin(present, palette).all():
        label_of_colour = np.array([int(np.flatnonzero(palette == code)[0]) for code in present])
    else:
        levels, level_of_colour = np.unique(grey_levels(colours), return_inverse=True)
        background = min(1, len(levels) - 1)
        label_of_level = np.zeros(len(levels), dtype=np.int64)
        label_of_level[np.arange(len(levels)) != background] = np.arange(1, len(levels))
        label_of_colour = label_of_level[level_of_colour]
    return label_of_colour[inverse].reshape(codes.shape)


def mask_from_labels(labels: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Colours of instance labels: 0 is the background, label i has ``OBJECT_COLOURS[i - 1]``.

    Raises:
        ValueError: a label is negative or beyond the palette.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(OBJECT_COLOURS):
        raise ValueError(
            f"labels must be in 0..{len(OBJECT_COLOURS)}, got {int(labels.min())}..{int(labels.max())}"
        )
    palette = np.array([BACKGROUND_COLOUR, *OBJECT_COLOURS], dtype=np.uint8)
    return palette[labels]


def read_depth(path: str | os.PathLike[str]) -> Float32[np.ndarray, "height width"]:
    """Read a planar depth map (world units), stored as H×W×1 or H×W.

    Raises:
        InputError: the file is missing, truncated, no array of numbers or of another shape.
    """
    path = Path(path)
    try:
        # Never unpickles: a dataset from elsewhere must not run code.
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise InputError(f"{path}: expected a depth map in NumPy's .npy format, {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: expected an array of numbers, found {getattr(array, 'dtype', type(array))}"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise InputError(f"{path}: expected height × width × 1, found the shape {array.shape}")
    return array.astype(np.float32)


def write_depth(path: str | os.PathLike[str], depth: Float[np.ndarray, "height width"]) -> None:
    """Write a planar depth map (world units) as float32, H×W×1, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(depth, dtype=np.float32)[..., None])


@contextmanager
def _opened_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open and decode an image; every failure becomes an InputError that names the file."""
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{path}: expected an image, found a file that cannot be decoded ({reason})"
        ) from error
