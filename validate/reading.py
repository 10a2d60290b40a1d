"""Read single files that may be anything: broken, missing, folders, pipes, or far too large.

Every function returns what it could learn and a problem in words; none raises for bad content and none can
hang.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset.untrusted import Unreadable, read_bytes

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


def relative(root: Path, path: Path) -> str:
    """``path`` as it is called inside the dataset."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
