"""Read single files that may be anything: broken, missing, folders, pipes, or far too large.

Every function returns what it could learn and a problem in words; none raises for bad content and none can
hang.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

#: No picture, mask or depth map that a loader could use is larger than this.
MAX_BYTES = 1 << 28

#: No 4×4 matrix as text is larger than this.
MAX_MATRIX_BYTES = 1 << 16


class Unreadable(Exception):
    """A file whose bytes cannot be had; the message says why."""


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Opened without blocking, so that a named pipe in a file's place cannot hang the caller.

    Raises:
        Unreadable: missing, not permitted, no regular file, or larger than ``limit`` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        dangling = os.path.islink(path)
        raise Unreadable("a link that leads nowhere" if dangling else "the file is missing") from error
    except OSError as error:
        raise Unreadable(f"it cannot be opened ({error.strerror or error})") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("a folder in the file's place")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > limit:
            raise Unreadable(f"{status.st_size} bytes, far more than such a file can have")
        content = os.read(descriptor, status.st_size)
        while len(content) < status.st_size:
            # A read may give less than it was asked for; nothing at all means that the file shrank.
            part = os.read(descriptor, status.st_size - len(content))
            if not part:
                break
            content += part
        return content
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror or error})") from error
    finally:
        os.close(descriptor)


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


def relative(root: Path, path: Path) -> str:
    """``path`` as it is called inside the dataset."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
