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

from pathlib import Path

import numpy as np

from objnerf.dataset.cameras import invert
from objnerf.dataset.convert.captures import (
    lens_from_matrix,
    paired_frames,
    pictures_in,
    read_captures,
    read_pose,
)
from objnerf.dataset.convert.extras import Extras
from objnerf.dataset.convert.lenses import Lens
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


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    poses = sorted((folder / "pose").glob("*.txt"))
    frames = paired_frames(pictures_in(folder / "rgb"), poses, folder, notes)
    camera = _Camera(folder / _FILE)
    masks = {path.stem: path for path in pictures_in(folder / "mask")}
    extras = Extras()
    views = []
    for frame in frames:
        pose = read_pose(frame.pose)
        image = Blob(frame.image)
        lens = camera.lens(image_size(image))
        if camera.inverted:
            pose = invert(pose)
        views.append(PosedView(frame.image.stem, image, pose, lens=lens, where=str(frame.pose)))
        if frame.image.stem in masks:
            extras.masks[str(frame.pose)] = masks[frame.image.stem]
    notes += [
        f"{folder / name} left out: {why}" for name, why in _LEFT_OUT.items() if (folder / name).exists()
    ]
    return PosedScene(folder.name, tuple(extras.settled(views, notes, str(folder))))


class _Camera:
    """What ``intrinsics.txt`` says, in any of its forms.

    Attributes:
        inverted: the poses are world-to-camera.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: it is in none.
        """
        self.path = path
        self.inverted = False
        self._size: tuple[int, int] | None = None
        rows = read_rows(path, "a camera matrix, or f cx cy")
        if len(rows) in (3, 4) and {len(row) for row in rows} in ({3}, {4}):
            self._matrix = np.array(rows)
            return
        if not rows or len(rows[0]) not in (3, 4):
            raise InputError(
                f"{path}: expected a camera matrix of 3x3 or 4x4 numbers in pixels, or a first line f cx cy; "
                f"found {len(rows)} lines" + (f", the first of {len(rows[0])} numbers" if rows else "")
            )
        f, cx, cy = rows[0][:3]
        self._matrix = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]])
        for number, row in enumerate(rows):
            if len(row) == 2:
                height, width = row
                if not (min(row) >= 1 and width.is_integer() and height.is_integer()):
                    raise InputError(
                        f"{path}: expected height and width in pixels, found {height:g} {width:g}"
                    )
                self._size = int(width), int(height)
                self.inverted = any(rows[number + 1 :]) and rows[number + 1][0] == 1

    def lens(self, size: tuple[int, int]) -> Lens:
        """The lens of a picture of a size (width, height), pixels."""
        return lens_from_matrix(self._matrix, self._size or size, str(self.path), pixel_centre=0.5)
