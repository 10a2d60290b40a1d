"""The conventions that poses are written in, and how each is undone."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from validate.measure.geometry import AXIS_CONVENTIONS

Layout = Literal["stored", "inverted", "transposed", "unrotated", "uninverted"]

LAYOUT_COSTS: dict[Layout, float] = {
    "stored": 0.0,
    "inverted": 1.0,
    "transposed": 1.2,
    "unrotated": 1.2,
    "uninverted": 1.3,
}


def _axes_index(*rows: tuple[int, int, int]) -> int:
    return int(np.flatnonzero((np.array(rows) == AXIS_CONVENTIONS).all(axis=(1, 2)))[0])


OPENGL = _axes_index((1, 0, 0), (0, -1, 0), (0, 0, -1))
_PYTORCH3D = _axes_index((-1, 0, 0), (0, -1, 0), (0, 0, 1))
_ROS = _axes_index((0, 0, 1), (-1, 0, 0), (0, -1, 0))

#: The frames of these programs' cameras, as they are called in findings.
_FRAME_NAMES = {OPENGL: "OpenGL's or Blender's", _PYTORCH3D: "PyTorch3D's", _ROS: "ROS's (FLU)"}

#: Frames that are a left-handed program's camera when the world is left-handed too.
LEFT_HANDED_TWINS = {_PYTORCH3D: "Unity's", _ROS: "Unreal's"}

#: Turns one camera axis round; what makes a mirrored matrix a rotation.
FLIP = np.diag([-1.0, 1.0, 1.0])

#: Mirrors the world and leaves its up as it is.
_MIRROR = np.diag([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Convention:
    """How a stored matrix differs from camera-to-world in OpenCV axes in a right-handed world.

    Attributes:
        layout: ``inverted`` for world-to-camera, ``transposed`` for a transposed rotation block beside a
            right position, ``unrotated`` for [Rᵀ | -t] and ``uninverted`` for [Rᵀ | t] of a world-to-camera
            [R | t]: the position is left in the camera's frame.
        axes: index into ``AXIS_CONVENTIONS``; 0 is OpenCV. For matrices with determinant -1 what is left
            once the camera's x axis is turned round.
        mirrored: the world is left-handed.
        held: index of the turn about the optical axis by which the cameras were held; poses and pictures are
            right as they are, only up has to be measured with it.
    """

    layout: Layout = "stored"
    axes: int = 0
    mirrored: bool = False
    held: int = 0

    def cost(self, flipped: bool) -> float:
        """How unlikely the mistake is; ties go to the likelier one.

        Args:
            flipped: the matrices have the determinant -1.
        """
        matrix = AXIS_CONVENTIONS[self.axes]
        if flipped:
            single = np.count_nonzero(np.diag(FLIP @ matrix) == 1.0) == 2
            axes = 0.5 if single else 1.5
        elif self.axes == 0:
            axes = 0.0
        elif self.axes == OPENGL:
            axes = 0.5
        elif self.axes in _FRAME_NAMES:
            axes = 1.0
        else:
            axes = 1.2 if matrix[2, 2] > 0 else 1.5
        return axes + LAYOUT_COSTS[self.layout]

    @property
    def is_right(self) -> bool:
        return replace(self, held=0) == RIGHT

    @property
    def is_opengl(self) -> bool:
        return self.axes == OPENGL and not self.mirrored

    @property
    def turns_about_axis(self) -> bool:
        """The axes differ by a turn about the optical axis: a matter, perhaps, of how cameras were held."""
        return self.axes != 0 and bool(AXIS_CONVENTIONS[self.axes][2, 2] > 0)

    def frame(self, flipped: bool) -> Float[np.ndarray, "3 3"]:
        """The true right, down and forward axes (columns) in terms of the stored ones."""
        matrix = AXIS_CONVENTIONS[self.axes]
        if flipped:
            matrix = FLIP @ matrix
        return matrix @ FLIP if self.mirrored else matrix

    def axis_words(self, flipped: bool = False) -> str:
        """The stored camera axes in words: ``x right, y up, z backward``."""
        names = ("right", "left"), ("down", "up"), ("forward", "backward")
        matrix = self.frame(flipped)
        words = []
        for stored in range(3):
            true = int(np.flatnonzero(matrix[stored])[0])
            words.append(f"{'xyz'[stored]} {names[true][0 if matrix[stored, true] > 0 else 1]}")
        return ", ".join(words)

    def program(self) -> str | None:
        """Whose camera axes these are, when they are a well-known program's."""
        if self.mirrored:
            return LEFT_HANDED_TWINS.get(self.axes)
        return _FRAME_NAMES.get(self.axes)

    def upright(self, poses: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """Poses of cameras that were held upright, from those of cameras as they were held."""
        if not self.held:
            return poses
        turned = poses.copy()
        turned[:, :3, :3] = poses[:, :3, :3] @ AXIS_CONVENTIONS[self.held]
        return turned

    @property
    def held_degrees(self) -> float:
        """By how much all cameras are rolled: 90, 180 or -90."""
        matrix = AXIS_CONVENTIONS[self.held]
        return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))

    def undo_layout(self, stored: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """Camera-to-world matrices in the stored camera axes; determinants stay as they are."""
        poses = stored.copy()
        if self.layout == "inverted":
            # The full inverse, not the transpose: files with few digits hold rotations that are not quite
            # orthonormal, and this one gives back the very position that was inverted.
            return np.linalg.inv(poses)
        if self.layout == "transposed":
            poses[:, :3, :3] = np.swapaxes(poses[:, :3, :3], 1, 2)
        elif self.layout in ("unrotated", "uninverted"):
            sign = 1.0 if self.layout == "unrotated" else -1.0
            poses[:, :3, 3] = sign * np.einsum("nij,nj->ni", stored[:, :3, :3], stored[:, :3, 3])
        return poses

    def undo(self, stored: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` in OpenCV axes in a right-handed world, not turned yet.

        Matrices with determinant -1 have a camera axis turned round, so that all results are rotations.
        """
        poses = self.undo_layout(stored)
        flipped = np.linalg.det(poses[:, :3, :3]) < 0
        if flipped.any():
            poses[flipped, :3, :3] = poses[flipped, :3, :3] @ FLIP
        if self.axes:
            poses[:, :3, :3] = poses[:, :3, :3] @ AXIS_CONVENTIONS[self.axes]
        if self.mirrored:
            poses[:, :3, :] = _MIRROR @ poses[:, :3, :]
            poses[:, :3, :3] = poses[:, :3, :3] @ FLIP
        return poses


RIGHT = Convention()

LAYOUTS: tuple[Layout, ...] = ("stored", "inverted", "transposed", "unrotated", "uninverted")


def common_layouts(conventions: dict[int, Convention]) -> list[tuple[Convention, list[int]]]:
    """Views grouped by their convention, most frequent first."""
    counts = Counter(conventions.values())
    return [
        (convention, sorted(view for view, own in conventions.items() if own == convention))
        for convention, _ in counts.most_common()
    ]
