"""What the formats of posed photo collections have in common.

They have one folder a scene, a pose and an image a view, a camera matrix in pixels, and a world that means
nothing to anybody else (``PosedScenes.world`` is ``free``).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import (
    PosedScene,
    PosedScenes,
    checked_pose,
    is_picture,
    natural_order,
    scene_folders,
)
from objnerf.dataset.files import read_rows
from objnerf.errors import InputError

#: A principal point farther from the image's middle, as a share of the side, is that of another image.
_FARTHEST_CENTRE = 0.25
_NUMBER = re.compile(r"\d+")
#: Skew that moves no pixel by more than this is rounding, pixels.
_LARGEST_SKEW = 0.1


def read_captures(
    folder: Path,
    holds_scene: Callable[[Path], bool],
    read_scene: Callable[[Path, list[str]], PosedScene],
    expected: str,
) -> PosedScenes:
    """Read a scene's folder, or a folder of such folders (for which see ``scene_folders``).

    Args:
        folder: what the user named.
        holds_scene: whether a folder holds a scene of the format.
        read_scene: reads one; adds to the notes what the user should know.
        expected: the format's files in words, for the message.
    Raises:
        InputError: no scene is there, or one that cannot be read.
    """
    folders = [folder] if holds_scene(folder) else []
    if not folders and folder.is_dir():
        folders = scene_folders(folder, holds_scene)
    if not folders:
        raise InputError(f"{folder}: expected {expected}, in it or in its sub-folders; found none")
    scenes: list[PosedScene] = []
    # Notes by their text without the scene's name and numbers.
    kinds: dict[str, list[str]] = {}
    for path in folders:
        notes: list[str] = []
        scenes.append(read_scene(path, notes))
        for note in notes:
            kinds.setdefault(_NUMBER.sub("#", note.replace(str(path), "")), []).append(note)
    folded = (
        first if not more else f"{first} (likewise in {len(more)} more)" for first, *more in kinds.values()
    )
    return PosedScenes(tuple(scenes), notes=tuple(folded), world="free")


def pictures_in(folder: Path) -> list[Path]:
    """The images in a folder in the order of their names as ``sorted`` has it; none where it is no folder.

    Formats that number their cameras by the place in this order mean the plain one: ``10.png`` before
    ``2.png``.
    """
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if is_picture(path)), key=lambda path: path.name)


@dataclass(frozen=True)
class Frame:
    """An image and the file with its pose."""

    name: str
    image: Path
    pose: Path


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without suffix.

    Raises:
        InputError: two of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(files):
        if path.stem in found:
            raise InputError(
                f"{path}: expected one file of the name {path.stem}, found {found[path.stem]} too"
            )
        found[path.stem] = path
    return found


def paired_frames(
    images: Mapping[str, Path], poses: Mapping[str, Path], where: Path, notes: list[str]
) -> list[Frame]:
    """Images with the poses of the same name, numbers in the names taken as numbers.

    What has no partner is left out, and the notes say so.

    Raises:
        InputError: nothing has a partner.
    """
    frames = [
        Frame(name, images[name], poses[name])
        for name in sorted(images.keys() & poses.keys(), key=lambda name: natural_order(Path(name)))
    ]
    if not frames:
        raise InputError(
            f"{where}: expected images and poses of the same names, found {len(images)} images and "
            f"{len(poses)} poses without a pair"
        )
    alone = [path for name, path in images.items() if name not in poses]
    alone += [path for name, path in poses.items() if name not in images]
    if alone:
        notes.append(
            f"{where}: {len(alone)} images and poses without a counterpart of the same name were left out; "
            f"the first: {min(alone)}"
        )
    return frames


def read_pose(path: Path) -> Float[np.ndarray, "4 4"]:
    """A pose as text, of 3 × 4 or 4 × 4 numbers, row by row; all may stand on one line.

    Raises:
        InputError: something else is there, nan or inf.
    """
    return checked_pose(read_numbers(path, "a 4x4 pose matrix"), str(path))


def read_numbers(path: Path, expected: str) -> Float[np.ndarray, "rows 4"]:
    """The numbers of a pose file in rows of four; they may be nan or inf."""
    numbers = [number for row in read_rows(path, expected) for number in row]
    if len(numbers) not in (12, 16):
        raise InputError(f"{path}: expected {expected} of 16 numbers, found {len(numbers)}")
    return np.array(numbers, dtype=np.float64).reshape(-1, 4)


def read_camera_matrix(path: Path) -> Float[np.ndarray, "rows columns"]:
    """A camera matrix as text, of 3 × 3, 3 × 4 or 4 × 4 numbers.

    Raises:
        InputError: something else is there.
    """
    rows = read_rows(path, "a camera matrix of 3x3 or 4x4 numbers")
    if not is_camera_matrix(rows):
        raise InputError(f"{path}: expected a camera matrix of 3x3 or 4x4 numbers, found {len(rows)} lines")
    return np.array(rows, dtype=np.float64)


def is_camera_matrix(rows: Sequence[Sequence[float]]) -> bool:
    """Whether the lines of a file have as many numbers as those of a camera matrix."""
    return len(rows) in (3, 4) and {len(row) for row in rows} in ({3}, {4})


def lens_from_matrix(
    matrix: Float[np.ndarray, "rows columns"], size: tuple[int, int], where: str, pixel_centre: float = 0.0
) -> Lens:
    """The pinhole of a camera matrix in pixels.

    Args:
        matrix: 3 × 3 or larger: fx, skew, cx and fy, cy in the first two rows.
        size: width and height of the image that it belongs to, pixels.
        where: the place that says so, for messages.
        pixel_centre: where the format has the centre of the first pixel, 0 or 0.5.
    Raises:
        InputError: no pinhole without skew, or that of an image of another size.
    """
    found = np.asarray(matrix, dtype=np.float64)[:3, :3]
    if found.shape != (3, 3) or not np.isfinite(found).all():
        raise InputError(f"{where}: expected a camera matrix of 3x3 finite numbers, found {found.tolist()}")
    (fx, skew, cx), (_, fy, cy) = found[:2].tolist()
    if not (fx > 0 and fy > 0) or np.abs(found[[1, 2, 2], [0, 0, 1]]).max() > 1e-6 * fx or found[2, 2] != 1:
        raise InputError(
            f"{where}: expected a camera matrix fx 0 cx, 0 fy cy, 0 0 1 with positive focal lengths, found "
            f"{', '.join(' '.join(f'{value:g}' for value in row) for row in found)}"
        )
    width, height = size
    if abs(skew) * height / (2 * fy) > _LARGEST_SKEW:
        raise InputError(f"{where}: expected pixels without skew, found a skew of {skew:g} pixels")
    lens = Lens("PINHOLE", width, height, fx, fy, cx - pixel_centre, cy - pixel_centre)
    off = np.abs(lens.off_centre) / size
    if off.max() > _FARTHEST_CENTRE:
        raise InputError(
            f"{where}: expected the camera matrix of an image of {width} x {height} pixels, found the "
            f"principal point {cx:g}, {cy:g}: it belongs to another size; scale the matrix or the images"
        )
    return lens
