"""LLFF's folders: ``poses_bounds.npy`` beside ``images/``, or ``images_4/`` and so on for smaller pictures.

A row of the array is an image, in the order of the names: 15 numbers are a 3 × 5 matrix, row by row, two are
the nearest and the farthest planar depth of what it shows. The matrix is camera-to-world for the camera axes
(down, right, backwards), and its fifth column is (height, width, focal length) in pixels of ``images/``; the
principal point is the middle (Fyusion/LLFF, README, "Using your own poses without running COLMAP").
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset.convert.captures import pictures_in, read_captures
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import Blob, PosedScene, PosedScenes, PosedView, checked_pose
from objnerf.dataset.files import read_array
from objnerf.errors import InputError

_FILE = "poses_bounds.npy"
_FACTOR = re.compile(r"images(?:_(\d+))?")
#: The columns right, down and forward of OpenCV's axes out of (down, right, backwards).
_OPENCV_FROM_LLFF = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def recognise(folder: Path) -> bool:
    """Whether the folder holds a scene."""
    return (folder / _FILE).is_file()


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes.

    Raises:
        InputError: what is there is no such scene.
    """
    return read_captures(folder, recognise, _read_scene, f"{_FILE} beside images/")


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    path = folder / _FILE
    rows = _rows(path)
    place, images = _images(folder, len(rows))
    if place.name != "images":
        notes.append(f"{folder}: the images of {place.name} were read")
    views = []
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        where = f"{path}, row {number}"
        matrix = row[:15].reshape(3, 5)
        height, width, focal = matrix[:, 4].tolist()
        if not (focal > 0 and min(height, width) >= 1 and height.is_integer() and width.is_integer()):
            raise InputError(
                f"{where}: expected the image's height, width and focal length in pixels in the fifth "
                f"column, found {height:g}, {width:g}, {focal:g}"
            )
        lens = Lens("PINHOLE", int(width), int(height), focal, focal, (width - 1) / 2, (height - 1) / 2)
        pose = np.concatenate([matrix[:, :3] @ _OPENCV_FROM_LLFF, matrix[:, 3:4]], axis=1)
        views.append(PosedView(image.stem, Blob(image), checked_pose(pose, where), lens=lens, where=where))
    return PosedScene(folder.name, tuple(views), depth_range=_depth_range(rows[:, 15:], path, notes))


def _rows(path: Path) -> Float[np.ndarray, "views 17"]:
    rows = read_array(path, "an array of poses in NumPy's .npy format")
    if rows.ndim != 2 or rows.shape[1] != 17 or not len(rows):
        raise InputError(
            f"{path}: expected one row of 17 numbers per image, found the shape {rows.shape}; the 3x5 matrix "
            "of a pose, row by row, then the nearest and the farthest depth"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{path}: expected finite numbers, found nan or inf")
    return rows.astype(np.float64)


def _images(folder: Path, count: int) -> tuple[Path, list[Path]]:
    """The folder of the largest images of which there is one a row, and these."""
    places = [
        (int(found[1] or 1), path) for path in folder.iterdir() if (found := _FACTOR.fullmatch(path.name))
    ]
    candidates = [(path, pictures_in(path)) for _, path in sorted(places)]
    for path, images in candidates:
        if len(images) == count:
            return path, images
    held = ", ".join(f"{len(images)} in {path.name}" for path, images in candidates) or "no such folder"
    advice = "remove the images that have no pose"
    if (folder / "sparse").is_dir():
        advice += ", or convert the COLMAP model beside them (--from colmap), which names its images"
    raise InputError(
        f"{folder}: expected an image for each of the {count} rows of {_FILE} in images/ (or images_2/, "
        f"images_4/, images_8/), found {held}; {advice}"
    )


def _depth_range(
    bounds: Float[np.ndarray, "views 2"], path: Path, notes: list[str]
) -> tuple[float, float] | None:
    """The nearest and the farthest depth of all views."""
    near, far = float(bounds[:, 0].min()), float(bounds[:, 1].max())
    if 0 < near < far:
        return near, far
    notes.append(
        f"{path}: its depths, from {near:g} to {far:g}, are no range before the cameras and were left out"
    )
    return None
