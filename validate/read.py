"""Read single files that may be anything: broken, hostile, missing, folders, pipes, or far too large.

Everything wrong with a picture or a depth map is an ``Unreadable`` with the reason in words; a matrix is
returned with what is wrong with it. Nothing raises anything else for bad content, and nothing can hang.
"""

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from objnerf.dataset.untrusted import MAX_PIXELS, PICTURE_FORMATS, Unreadable, read_bytes

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, and what its file says that the pixels don't."""

    image: Image.Image
    format: str
    bits: int


def decode_image(content: bytes) -> Decoded:
    """Decode a picture from the bytes of its file.

    Raises:
        Unreadable: empty, truncated, corrupted, too large, or no image.
    """
    if not content:
        raise Unreadable("an empty file")
    bits = 8
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        bits = _check_png(content)
    try:
        if content.startswith(b"\x89PNG"):
            image: Image.Image = Image.open(io.BytesIO(content), formats=("PNG",))
            image.load()
        else:
            image, _ = _decode_other(content)
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable("it needs more memory than there is") from error
    except Exception as error:
        # Pillow's plug-ins raise whatever they stumble over on hostile bytes; all of it means the same.
        reason = " ".join(str(error).split()) or type(error).__name__
        if "cannot identify" in reason:
            reason = "its bytes are in no image format"
        raise Unreadable(f"it cannot be decoded ({reason[:120]})") from error
    return Decoded(image, image.format or "unknown", bits)


def decode_thumbnail(content: bytes, least: int) -> tuple[Image.Image, tuple[int, int]]:
    """A picture at reduced size where that is faster to decode, and its own width and height.

    JPEG data is decoded at an eighth, a quarter or a half of its size (libjpeg scales while it transforms),
    no smaller than ``least`` pixels across; everything else at its own size.

    Raises:
        Unreadable: as ``decode_image``.
    """
    if not content.startswith(_JPEG):
        image = decode_image(content).image
        return image, image.size
    try:
        return _decode_other(content, least)
    except Unreadable:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"it cannot be decoded ({reason[:120]})") from error


def _decode_other(content: bytes, least: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Decode what is no PNG though it is called so; its own size comes second.

    Args:
        least: width that suffices of a JPEG.
    """
    with warnings.catch_warnings():
        # Pillow only warns of pictures that are very large.
        warnings.simplefilter("error")
        image = Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise Unreadable(f"{image.size[0]}×{image.size[1]} pixels, more than any loader takes")
        size = image.size
        if least is not None and size[0] > least:
            # Scaled by a power of two to at least this size, or left alone by other formats.
            image.draft(None, (least, max(1, size[1] * least // size[0])))
        image.load()
    return image, size


def _check_png(content: bytes) -> int:
    """Walk a PNG's chunks: bit depth a channel, after checking size, checksums and the end.

    Pillow does not verify the checksums of pixel data, so a flipped bit can pass as a strange picture.
    """
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise Unreadable("a truncated PNG: its header is cut off")
    width, height, bits = struct.unpack(">IIB", content[16:25])
    if width == 0 or height == 0 or width * height > MAX_PIXELS:
        raise Unreadable(f"a PNG of {width}×{height} pixels")
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kind = content[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(content):
            break
        (stored,) = struct.unpack(">I", content[end : end + 4])
        if zlib.crc32(memoryview(content)[position + 4 : end]) != stored:
            raise Unreadable(f"a damaged PNG: the checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IEND":
            return int(bits)
        position = end + 4
    raise Unreadable("a truncated PNG: it ends before its last chunk")


@dataclass(frozen=True)
class DepthMap:
    """A depth map as its file has it.

    Attributes:
        values: the map; None when the shape is none of a depth map's.
        dims: number of axes, and the sizes of the first three (0 where there is none).
        is_float32: the type in the file.
    """

    values: Float32[np.ndarray, "height width"] | None
    dims: tuple[int, int, int, int]
    is_float32: bool


@dataclass(frozen=True)
class _Layout:
    """What the header of a .npy file says: ``shape`` is None when it is none of a depth map's."""

    dtype: np.dtype[Any]
    count: int
    shape: tuple[int, int] | None
    order: Literal["C", "F"]
    dims: tuple[int, int, int, int]


@lru_cache(maxsize=64)
def _npy_layout(header: bytes) -> _Layout:
    """Read the header of a .npy file; all files of a dataset share one.

    Raises:
        Unreadable: no header of an array of numbers.
    """
    stream = io.BytesIO(header)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    except Exception as error:
        # The header is evaluated as Python literals; hostile ones fail in many ways.
        raise Unreadable(f"it is no .npy file ({' '.join(str(error).split())[:80]})") from error
    if dtype.kind not in "fiu" or dtype.itemsize > 16:
        raise Unreadable(f"an array of {dtype}, expected float32")
    count = 1
    for size in shape:
        count *= int(size)
    sizes = [min(int(size), 2**31 - 1) for size in shape[:3]] + [0, 0, 0]
    plane = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
    return _Layout(
        dtype=dtype,
        count=count,
        shape=(int(plane[0]), int(plane[1])) if len(plane) == 2 and count > 0 else None,
        order="F" if fortran else "C",
        dims=(len(shape), sizes[0], sizes[1], sizes[2]),
    )


def decode_depth(content: bytes) -> DepthMap:
    """Read a depth map from the bytes of its file.

    Raises:
        Unreadable: no array of numbers, or truncated.
    """
    if not content:
        raise Unreadable("an empty file")
    if not content.startswith(np.lib.format.MAGIC_PREFIX):
        raise Unreadable("it is no .npy file (it begins with other bytes)")
    # Version 1.0 gives its header's length in two bytes, later ones in four.
    width = 2 if content[6:8] == b"\x01\x00" else 4
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if start > min(len(content), 1 << 16):
        raise Unreadable("truncated: its header is cut off")
    layout = _npy_layout(content[:start])
    held = layout.count * layout.dtype.itemsize
    if held > len(content) - start:
        raise Unreadable(f"truncated: {len(content) - start} bytes of values, the header promises {held}")
    is_float32 = layout.dtype == np.float32
    if layout.shape is None:
        return DepthMap(None, layout.dims, is_float32)
    values = np.frombuffer(content, dtype=layout.dtype, count=layout.count, offset=start)
    values = values.reshape(layout.shape, order=layout.order)
    if layout.dtype.char != "f" or not layout.dtype.isnative:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
    return DepthMap(values, layout.dims, is_float32)


#: No 4×4 matrix as text is larger than this.
MAX_MATRIX_BYTES = 1 << 16


@dataclass(frozen=True)
class MatrixText:
    """A matrix file as it was found.

    Attributes:
        values: the numbers, when it has the wanted shape (they may still be nan or inf).
        unread: why the text is no matrix.
        shape: the shape that it has instead of the wanted one, in words.
    """

    values: Float[np.ndarray, "rows columns"] | None = None
    unread: str | None = None
    shape: str | None = None


def read_matrix_text(path: str | os.PathLike[str], rows: int, columns: int) -> MatrixText:
    """Read a whitespace-separated matrix and say how it differs from ``rows`` × ``columns``, if it does."""
    try:
        content = read_bytes(path, MAX_MATRIX_BYTES)
    except Unreadable as problem:
        return MatrixText(unread=str(problem))
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return MatrixText(unread="bytes that are no plain text")
    words = text.split()
    if not words:
        return MatrixText(unread="an empty file")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        commas = "; its numbers are separated by commas" if "," in text else ""
        return MatrixText(unread=f"{_first_non_number(words)!r} where a number should be{commas}")
    lengths = [len(line.split()) for line in text.splitlines() if line.strip()]
    if len(lengths) != rows or any(length != columns for length in lengths):
        widths = sorted(set(lengths))
        width = str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
        return MatrixText(shape=f"{len(lengths)}×{width}")
    return MatrixText(values=np.array(numbers, dtype=np.float64).reshape(rows, columns))


def _first_non_number(words: list[str]) -> str:
    for word in words:
        try:
            float(word)
        except ValueError:
            return word if len(word) <= 20 else word[:17] + "..."
    return ""
