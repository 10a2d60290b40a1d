"""NSVF's and SRN's folders: ``rgb/``, ``pose/`` and one ``intrinsics.txt`` a scene.

Poses are camera-to-world with OpenCV's axes, in all data sets that are out there in this layout: NSVF's
Synthetic-NSVF and its BlendedMVS, Tanks and Temples and ScanNet (facebookresearch/NSVF, fairnr/data), and
SRN's ShapeNet cars and chairs, a folder an object (vsitzmann/scene-representation-networks, dataio.py). The
views of a scene in NSVF begin with 0_, 1_ or 2_ for training, validation and test, and make up one scene
here.

``intrinsics.txt`` is a camera matrix in pixels, or begins with a line "f cx cy", which SRN continues with
lines for a centre, a near plane (not always), a scale, the "height width" that the numbers are for, and a 1
where the poses are world-to-camera. Pixels are counted from the corner of the first, as most readers have it:
the middle of 800 pixels is written as 400.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset.cameras import invert
from objnerf.dataset.convert.captures import (
    by_stem,
    is_camera_matrix,
    lens_from_matrix,
    paired_frames,
    pictures_in,
    read_captures,
    read_pose,
)
from objnerf.dataset.convert.extras import Extras
from objnerf.dataset.convert.posed import Blob, PosedScene, PosedScenes, PosedView, image_size
from objnerf.dataset.files import read_rows
from objnerf.errors import InputError

_FILE = "intrinsics.txt"
#: What such folders hold beside it and has no place here.
_LEFT_OUT = {
    "bbox.txt": "the locality box is measured on the cameras",
    "depth": "nothing says its kind or unit",
}


def recognise(folder: Path) -> bool:
    """Whether the folder holds a scene."""
    return (folder / "pose").is_dir() and (folder / "rgb").is_dir() and (folder / _FILE).is_file()


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes.

    Raises:
        InputError: what is there is no such scene.
    """
    return read_captures(folder, recognise, _read_scene, f"rgb/, pose/ and {_FILE}")


@dataclass(frozen=True)
class _Camera:
    """What ``intrinsics.txt`` says.

    Attributes:
        matrix: in pixels, counted from the corner of the first.
        size: width and height of the images that it is for; None: of those that are there.
        is_inverted: the poses are world-to-camera.
    """

    matrix: Float[np.ndarray, "rows columns"]
    size: tuple[int, int] | None = None
    is_inverted: bool = False


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    images, poses = by_stem(pictures_in(folder / "rgb")), by_stem((folder / "pose").glob("*.txt"))
    masks = by_stem(pictures_in(folder / "mask"))
    camera = _read_camera(folder / _FILE)
    extras = Extras()
    views = []
    for frame in paired_frames(images, poses, folder, notes):
        pose, image, where = read_pose(frame.pose), Blob(frame.image), str(frame.pose)
        lens = lens_from_matrix(camera.matrix, camera.size or image_size(image), str(folder / _FILE), 0.5)
        pose = invert(pose) if camera.is_inverted else pose
        views.append(PosedView(frame.name, image, pose, lens=lens, where=where))
        if frame.name in masks:
            extras.masks[where] = masks[frame.name]
    notes += [
        f"{folder / name} left out: {why}" for name, why in _LEFT_OUT.items() if (folder / name).exists()
    ]
    return PosedScene(folder.name, tuple(extras.settled(views, notes, str(folder))))


def _read_camera(path: Path) -> _Camera:
    rows = read_rows(path, "a camera matrix, or f cx cy")
    if is_camera_matrix(rows):
        return _Camera(np.array(rows))
    if not rows or len(rows[0]) not in (3, 4):
        raise InputError(
            f"{path}: expected a camera matrix of 3x3 or 4x4 numbers in pixels, or a first line f cx cy; "
            f"found {len(rows)} lines" + (f", the first of {len(rows[0])} numbers" if rows else "")
        )
    focal, cx, cy = rows[0][:3]
    matrix = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
    place = next((number for number, row in enumerate(rows) if len(row) == 2), None)
    if place is None:
        return _Camera(matrix)
    height, width = rows[place]
    if not (min(height, width) >= 1 and height.is_integer() and width.is_integer()):
        raise InputError(f"{path}: expected height and width in pixels, found {height:g} {width:g}")
    return _Camera(matrix, (int(width), int(height)), is_inverted=[1.0] in rows[place + 1 :])
