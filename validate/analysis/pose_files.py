"""Single pose files: which of them hold no rigid pose, and what was meant where that is plain."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset import names
from objnerf.dataset.index import View
from validate.read import MatrixText
from validate.scan import Matrices
from validate.settings import Limits

#: Numbers from here on are no coordinates: they overflow when squared and summed in single precision.
_LARGEST = 1e12

#: A last row that is off by more is no slip beside a pose that was meant.
_HOPELESS_ROW = 1e6

#: Largest |RᵀR - 1| whose nearest rotation is still taken for the one that was meant.
_HOPELESS_ORTHO = 0.2


class Fault(IntEnum):
    """What is wrong with a pose file, before anything is known about the scene."""

    NONE = 0
    MISSING = 1
    UNREAD = 2
    SHAPE = 3
    NOT_FINITE = 4
    BOTTOM = 5
    WHOLE_TRANSPOSED = 6
    SCALED = 7
    MIRRORED = 8
    NOT_ROTATION = 9


@dataclass(frozen=True)
class PoseFiles:
    """The pose files as they are, and as they are once single-file faults are fixed.

    Attributes:
        stored: the matrices in the files; nan where there is none to be had.
        fault: a ``Fault`` for each view.
        measure: the figure behind the fault (scale, deviation).
        text: what reading the file gave, for the views whose text is no 4×4 matrix.
        rigid: orthonormal matrices in the stored convention: scale and last row corrected. A mirrored one
            keeps its determinant of -1.
        valid: where ``rigid`` can be worked on.
    """

    stored: Float[np.ndarray, "views 4 4"]
    fault: Int[np.ndarray, " views"]
    measure: Float[np.ndarray, " views"]
    text: dict[int, MatrixText]
    rigid: Float[np.ndarray, "views 4 4"]
    valid: Bool[np.ndarray, " views"]


def sort_poses(views: Sequence[View], matrices: Matrices, limits: Limits) -> PoseFiles:
    """Sort out what is wrong with single pose files."""
    fault = np.zeros(len(views), dtype=np.int64)
    for index, view in enumerate(views):
        if names.POSE_SUFFIX not in view.companions:
            fault[index] = Fault.MISSING
    for index, text in matrices.pose_text.items():
        fault[index] = Fault.SHAPE if text.shape else Fault.UNREAD
    return sort_faults(matrices.poses, fault, matrices.pose_text, limits)


def sort_faults(
    stored: Float[np.ndarray, "views 4 4"],
    fault: Int[np.ndarray, " views"],
    text: dict[int, MatrixText],
    limits: Limits,
) -> PoseFiles:
    """Find the matrices that are no rigid poses, and fix those whose meaning is plain."""
    with np.errstate(invalid="ignore"):
        sane = np.isfinite(stored).all(axis=(1, 2)) & (np.abs(stored) < _LARGEST).all(axis=(1, 2))
    read = fault == Fault.NONE
    good = read & sane
    files = PoseFiles(stored, fault.copy(), np.zeros(len(stored)), text, stored.copy(), good.copy())
    files.fault[read & ~sane] = Fault.NOT_FINITE
    _sort_last_rows(files, good, limits)
    _sort_rotations(files, good, limits)
    files.rigid[~files.valid] = np.nan
    return files


def _sort_last_rows(files: PoseFiles, good: Bool[np.ndarray, " views"], limits: Limits) -> None:
    """Find last rows that are not 0 0 0 1 among the good matrices, and fix them in ``files``."""
    stored = files.stored
    last_row = np.abs(stored[:, 3] - [0.0, 0.0, 0.0, 1.0]).max(axis=1)
    last_column = np.abs(stored[:, :, 3] - [0.0, 0.0, 0.0, 1.0]).max(axis=1)
    with np.errstate(invalid="ignore"):
        bottom = good & (last_row > limits.bottom_error)
        whole = bottom & (last_column <= limits.bottom_error)
        hopeless = bottom & ~whole & (last_row > _HOPELESS_ROW)
    files.fault[bottom] = Fault.BOTTOM
    files.measure[bottom] = last_row[bottom]
    files.fault[whole] = Fault.WHOLE_TRANSPOSED
    files.rigid[whole] = np.swapaxes(stored[whole], 1, 2)
    files.rigid[bottom, 3] = [0.0, 0.0, 0.0, 1.0]
    files.valid[hopeless] = False


def _sort_rotations(files: PoseFiles, good: Bool[np.ndarray, " views"], limits: Limits) -> None:
    """Find rotation blocks that are scaled, skewed or mirrored, and fix the first two in ``files``.

    Mirrored ones stay so: whether a camera axis or the world is mirrored is asked of all cameras together.
    """
    rotations = np.where(good[:, None, None], files.rigid[:, :3, :3], np.eye(3))
    gram = np.swapaxes(rotations, 1, 2) @ rotations
    deviation = np.abs(gram - np.eye(3)).max(axis=(1, 2))
    determinant = np.linalg.det(rotations)
    scale = np.cbrt(np.abs(determinant))
    with np.errstate(divide="ignore", invalid="ignore"):
        shape_deviation = np.abs(gram / scale[:, None, None] ** 2 - np.eye(3)).max(axis=(1, 2))
    shape_deviation = np.where(np.isfinite(shape_deviation), shape_deviation, np.inf)
    skewed = good & (shape_deviation > limits.ortho_error)
    scaled = good & ~skewed & (np.abs(scale - 1.0) > limits.det_error)
    # Between the two limits a matrix is a little of both; the entries decide.
    skewed |= (
        good & ~skewed & ~scaled & (deviation > limits.ortho_error) & (shape_deviation > 0.5 * deviation)
    )
    mirrored = good & ~skewed & (determinant < 0)
    free = files.fault == Fault.NONE
    for found, fault, measure in (
        (skewed, Fault.NOT_ROTATION, deviation),
        (scaled, Fault.SCALED, scale),
        (mirrored, Fault.MIRRORED, determinant),
    ):
        files.fault[free & found] = fault
        files.measure[free & found] = measure[free & found]
    files.valid[skewed & ~(deviation < _HOPELESS_ORTHO)] = False
    for view in np.flatnonzero(files.valid & (skewed | scaled)):
        rotation = files.rigid[view, :3, :3]
        if skewed[view]:
            left, _, right = np.linalg.svd(rotation)
            files.rigid[view, :3, :3] = left @ right
        else:
            files.rigid[view, :3, :3] = rotation / scale[view]
