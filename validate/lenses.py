"""The lens of each view: its own ``_intrinsics.txt``, else that of the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, Pinhole, common_pinhole, typical_pinhole
from objnerf.dataset.files import read_pinhole
from objnerf.dataset.index import View
from objnerf.errors import InputError
from validate.reading import MAX_MATRIX_BYTES, Unreadable, read_bytes
from validate.settings import OPTION, VIEWS, Settings
from validate.workers import Workers

#: Views whose files are read in one piece of work.
_CHUNK = 500


@dataclass(frozen=True)
class Lenses:
    """What each view is seen through.

    Attributes:
        numbers: fx / width, fy / height, and how far the principal point lies right of and below the
            picture's middle, as shares of width and height.
        own: which views have usable intrinsics of their own.
        problems: why the file of a view cannot be used; the dataset's lens is taken for it.
    """

    numbers: Float[np.ndarray, "views 4"]
    own: Bool[np.ndarray, "views"]
    problems: dict[int, str]

    @property
    def differ(self) -> bool:
        """Whether any two views have different lenses, or one is off centre."""
        return common_pinhole(self.pinholes()) is None or bool(np.abs(self.numbers[:, 2:]).max() > 0)

    def pinhole(self, view: int) -> Pinhole:
        """The lens of one view."""
        fx, fy, x, y = self.numbers[view].tolist()
        return Pinhole((fx, fy), (x, y))

    def pinholes(self) -> list[Pinhole]:
        """The lenses that occur, each once."""
        return [Pinhole((fx, fy), (x, y)) for fx, fy, x, y in np.unique(self.numbers, axis=0).tolist()]

    def intrinsics(self, view: int, width: int, height: int) -> Intrinsics:
        """The lens of one view in pixels."""
        return self.pinhole(view).at(width, height)


def read_lenses(
    root: Path, views: Sequence[View], settings: Settings, workers: Workers
) -> tuple[Lenses, Settings]:
    """Read the views' own intrinsics.

    Args:
        settings: whose focal ratio holds for all other views, and for all views where it is an option.
    Returns:
        The lenses, and the settings with the focal ratio that all views have, or the median one where cameras
        differ.
    """
    numbers = np.tile([*settings.focal_ratio, 0.0, 0.0], (len(views), 1))
    lenses = Lenses(numbers, np.zeros(len(views), dtype=bool), {})
    having = [index for index, view in enumerate(views) if names.INTRINSICS_SUFFIX in view.companions]
    if not having:
        return lenses, settings
    tasks = (
        (str(root), [views[i].stem for i in having[k : k + _CHUNK]]) for k in range(0, len(having), _CHUNK)
    )
    found = (item for piece in workers.map(_read_piece, tasks) for item in piece)
    for index, item in zip(having, found, strict=True):
        if isinstance(item, str):
            lenses.problems[index] = item
        elif settings.source.get("focal_ratio") != OPTION:
            numbers[index] = [*item.focal_ratio, *item.principal_offset]
            lenses.own[index] = True
    if not lenses.own.any():
        return lenses, settings
    all_of_them = [lenses.pinhole(view) for view in range(len(views))]
    ratio = (common_pinhole(all_of_them) or typical_pinhole(all_of_them)).focal_ratio
    source = {**settings.source, "focal_ratio": VIEWS}
    return lenses, replace(settings, focal_ratio=ratio, source=source)


def _read_piece(task: tuple[str, list[str]]) -> list[Pinhole | str]:
    root, stems = task
    return [_read(Path(root), stem) for stem in stems]


def _read(root: Path, stem: str) -> Pinhole | str:
    """The lens of one view, or what is wrong with its file."""
    path = root / f"{stem}{names.INTRINSICS_SUFFIX}"
    try:
        # A pipe or a device in the file's place would hang the plain reader.
        read_bytes(path, MAX_MATRIX_BYTES)
        if not (root / f"{stem}.png").is_file():
            return "its picture is no regular file"
        return read_pinhole(path)
    except Unreadable as problem:
        return str(problem)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
