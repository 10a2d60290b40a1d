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

from objnerf.dataset import names
from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.folders import TEMPORARY_PREFIX
from objnerf.dataset.untrusted import Unreadable, open_regular, opened_picture, read_bytes
from objnerf.errors import InputError

#: Mask colours: the background, then the objects in order; all differ in luminance (see ``grey_levels``).
#: Files are painted with them: a colour never changes its place, and new ones go to the end.
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
    # From here on: the farthest in CIELAB from all before it, lighter than the background.
    (160, 120, 0),
    (240, 0, 120),
    (120, 40, 120),
    (0, 160, 240),
    (200, 80, 80),
    (240, 120, 240),
    (80, 40, 200),
    (40, 160, 160),
    (160, 240, 40),
    (40, 80, 160),
    (200, 200, 80),
    (120, 80, 40),
    (200, 160, 240),
    (120, 120, 160),
    (0, 200, 40),
    (0, 200, 160),
    (240, 160, 0),
    (200, 160, 120),
    (200, 0, 160),
    (80, 120, 0),
    (160, 0, 240),
    (160, 40, 0),
    (120, 160, 120),
    (80, 200, 240),
    (160, 80, 120),
    (240, 120, 40),
    (240, 40, 80),
    (160, 120, 120),
    (160, 240, 240),
    (0, 120, 160),
    (40, 240, 160),
    (240, 200, 0),
    (240, 240, 160),
    (200, 80, 240),
    (240, 160, 80),
    (160, 160, 80),
    (200, 120, 80),
    (200, 200, 240),
    (240, 120, 200),
    (240, 240, 80),
    (0, 240, 120),
    (200, 200, 160),
    (160, 40, 80),
    (240, 200, 120),
    (120, 120, 80),
    (160, 80, 0),
    (200, 240, 120),
    (240, 120, 160),
    (0, 160, 40),
    (120, 160, 0),
)

#: Red, green and blue times this are one number, 0xRRGGBB.
_PACKING = np.array([65536, 256, 1])

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
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.parent)
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


def read_image(
    path: str | os.PathLike[str], at_least: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image as 8-bit RGB; transparency is flattened on white.

    Args:
        path: the file.
        at_least: width and height that are enough for the caller, pixels. A JPEG may then come smaller, by
            2, 4 or 8, which is decoded several times faster; only by what divides both sides, so that the
            image's edges stay where they are. Other formats always come as they are stored.
    Raises:
        InputError: the file is missing, truncated or no image.
    """
    with opened_picture(path) as image:
        if at_least is not None and image.format == "JPEG":
            _decode_smaller(image, at_least)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, rgba)
        return np.asarray(eight_bits(image).convert("RGB"))


def eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel; Pillow's own conversion clips 16 bits instead of scaling them."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))


def _decode_smaller(image: Image.Image, at_least: tuple[int, int]) -> None:
    """Have a JPEG decoded at the smallest scale that divides its sides and leaves enough of them."""
    width, height = image.size
    for scale in (8, 4, 2):
        smaller = width // scale, height // scale
        divides = width % scale == height % scale == 0
        if divides and smaller[0] >= at_least[0] and smaller[1] >= at_least[1]:
            image.draft(None, smaller)
            return


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
    values = read_rows(path, f"a {shape[0]}×{shape[1]} matrix")
    if len(values) != shape[0] or any(len(row) != shape[1] for row in values):
        raise InputError(
            f"{path}: expected {shape[0]} rows of {shape[1]} numbers, found {_describe_rows(values)}"
        )
    return np.array(values, dtype=np.float64)


def read_rows(path: str | os.PathLike[str], expected: str) -> list[list[float]]:
    """The numbers of a small text file, line by line; empty lines are passed over.

    Args:
        path: the file.
        expected: what should be in it, for messages.
    Raises:
        InputError: the file is missing, too large, is no text or holds a word that is no number.
    """
    path = Path(path)
    try:
        text = read_bytes(path, _MAX_MATRIX_BYTES).decode()
    except Unreadable as problem:
        raise InputError(
            f"{path}: expected {expected} as text, which cannot be read ({problem})"
        ) from problem
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a matrix as text, found binary data") from error
    rows = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    try:
        return [[float(word) for word in row] for row in rows]
    except ValueError as error:
        raise InputError(f"{path}: expected a matrix of numbers, {error}") from error


def _describe_rows(rows: list[list[float]]) -> str:
    return f"{len(rows)} rows of {sorted({len(row) for row in rows})} numbers"


def write_matrix(path: str | os.PathLike[str], matrix: Float[np.ndarray, "rows columns"]) -> None:
    """Write a matrix as text, one row a line, with every digit that a float64 needs to come back equal."""
    # + 0.0 turns -0.0 into 0.0.
    rows = [" ".join(repr(float(value) + 0.0) for value in row) for row in matrix]
    write_text(path, "\n".join(rows) + "\n")


#: A focal length of this many image widths sees less than three degrees: a number beyond it is in pixels.
_PIXELS_FROM = 20.0

#: A principal point that is no further from the middle than this, in pixels, is the middle: half a pixel is
#: the difference between the two customs of where a pixel's centre lies.
_HALF_PIXEL = 0.5 + 1e-6


def read_pinhole(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Pinhole:
    """Read a view's ``_intrinsics.txt``: a matrix of 3×3, 3×4 or 4×4 numbers.

    uOCF and SlotLifter have fx / width and fy / height on its diagonal, and in the third column how far the
    principal point lies from the image's middle, in half widths and half heights. Where both focal lengths
    are too large to be shares (over 20), the matrix is one in pixels, as ScanNet and many others have it: fx,
    fy on the diagonal and cx, cy in the third column.

    Args:
        path: the file.
        size: width and height of the image; only needed for a matrix in pixels, and then read from the
            image beside the file when it is not given.
    Raises:
        InputError: the file is missing or no such matrix: not finite, focal lengths that are not positive,
            skewed pixels, rows that are no pinhole's.
    """
    path = Path(path)
    matrix = _read_intrinsics_matrix(path)
    fx, fy, x, y = (float(value) for value in (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]))
    if not (fx > 0 and fy > 0):
        raise InputError(
            f"{path}: expected the positive focal lengths fx / width and fy / height on the diagonal, found "
            f"{fx:g} and {fy:g}"
        )
    if max(abs(float(matrix[0, 1])), abs(float(matrix[1, 0]))) > 1e-6 * max(fx, fy):
        raise InputError(f"{path}: expected pixels without skew, found {matrix[0, 1]:g} off the diagonal")
    if np.abs(matrix[2, :3] - [0, 0, 1]).max() > 1e-6:
        raise InputError(
            f"{path}: expected 0 0 1 as the third row, found {' '.join(f'{v:g}' for v in matrix[2, :3])}"
        )
    if min(fx, fy) <= _PIXELS_FROM:
        if max(fx, fy) > _PIXELS_FROM or max(abs(x), abs(y)) > 1:
            raise InputError(
                f"{path}: expected fx / width, fy / height and a principal point within the image, or all "
                f"four in pixels; found {fx:g}, {fy:g} and {x:g}, {y:g}"
            )
        return Pinhole((fx, fy), (x / 2 + 0.0, y / 2 + 0.0))
    if size is None:
        size = image_size(path.with_name(path.name.removesuffix(names.INTRINSICS_SUFFIX) + ".png"))
    width, height = size
    offset = x - (width - 1) / 2, y - (height - 1) / 2
    if abs(offset[0]) > width / 2 or abs(offset[1]) > height / 2:
        raise InputError(
            f"{path}: expected a principal point within the image of {width} x {height} pixels, found "
            f"{x:g}, {y:g}"
        )
    if max(map(abs, offset)) <= _HALF_PIXEL:
        offset = 0.0, 0.0
    return Pinhole((fx / width, fy / height), (offset[0] / width, offset[1] / height))


def _read_intrinsics_matrix(path: Path) -> Float[np.ndarray, "rows columns"]:
    rows = read_rows(path, "a 3×3 or 4×4 matrix")
    shape = (len(rows), *{len(row) for row in rows})
    if shape not in ((3, 3), (3, 4), (4, 4)):
        raise InputError(f"{path}: expected a 3×3 or 4×4 matrix, found {_describe_rows(rows)}")
    matrix = np.array(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise InputError(f"{path}: expected finite numbers, found nan or inf")
    return matrix


def write_pinhole(path: str | os.PathLike[str], pinhole: Pinhole) -> None:
    """Write a view's ``_intrinsics.txt`` as uOCF and SlotLifter read it: 3×3, shares of the size."""
    (fx, fy), (x, y) = pinhole.focal_ratio, pinhole.principal_offset
    write_matrix(path, np.array([[fx, 0, 2 * x], [0, fy, 2 * y], [0, 0, 1]], dtype=np.float64))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image in pixels, from its header.

    Raises:
        InputError: the file is missing or no image.
    """
    with opened_picture(path) as image:
        return image.size


def grey_levels(
    colours: UInt8[np.ndarray, "*batch 3"],
) -> UInt8[np.ndarray, "*batch"]:
    """Luminance of 8-bit RGB as uORF's loader sees it (ITU-R 601, Pillow's integer arithmetic)."""
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
    same label in every view, even where another one is hidden. Colours that are not the format's, beside its
    background, are numbered after its last one, by their grey levels, then by red, green and blue. In a mask
    without the format's background that has other colours than its own, all objects are numbered by their
    grey levels, and the background is the second lowest level present (uORF's rule), or the only
    one.
    """
    codes = mask.astype(np.int64) @ _PACKING
    present, inverse = np.unique(codes, return_inverse=True)
    colours = np.stack([present >> 16, (present >> 8) & 255, present & 255], axis=-1).astype(np.uint8)
    palette = np.array([BACKGROUND_COLOUR, *OBJECT_COLOURS], dtype=np.int64) @ _PACKING
    listed = np.isin(present, palette)
    if listed.all() or palette[0] in present:
        label_of_colour = (present[:, None] == palette).argmax(axis=1)
        others = np.flatnonzero(~listed)
        # Packed colours are in rising order already, and a stable sort keeps it among equal grey levels.
        by_grey = others[np.argsort(grey_levels(colours[others]), kind="stable")]
        label_of_colour[by_grey] = len(palette) + np.arange(len(by_grey))
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


def read_array(path: str | os.PathLike[str], expected: str) -> np.ndarray:
    """Read an array of numbers, of any shape, in NumPy's .npy format.

    Args:
        path: the file.
        expected: what should be in it, for messages.
    Raises:
        InputError: the file is missing, truncated or no array of numbers.
    """
    try:
        # Never unpickles: a dataset from elsewhere must not run code.
        with open_regular(path) as file:
            array = np.load(file, allow_pickle=False)
    except Unreadable as problem:
        raise InputError(f"{path}: expected {expected}, which cannot be read ({problem})") from problem
    except Exception as error:
        # The header is evaluated as Python's literals, and fails in whatever way a damaged one can.
        raise InputError(f"{path}: expected {expected}, {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: expected an array of numbers, found {getattr(array, 'dtype', type(array))}"
        )
    return array


def read_depth(path: str | os.PathLike[str]) -> Float32[np.ndarray, "height width"]:
    """Read a planar depth map (world units), stored as H×W×1 or H×W.

    Raises:
        InputError: the file is missing, truncated, no array of numbers or of another shape.
    """
    array = read_array(path, "a depth map in NumPy's .npy format")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise InputError(f"{path}: expected height × width × 1, found the shape {array.shape}")
    with np.errstate(over="ignore"):  # too large for 32 bits is as good as infinite
        return array.astype(np.float32)


def write_depth(path: str | os.PathLike[str], depth: Float[np.ndarray, "height width"]) -> None:
    """Write a planar depth map (world units) as float32, H×W×1, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(depth, dtype=np.float32)[..., None])
