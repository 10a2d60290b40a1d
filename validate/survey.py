"""Everything that the checks look at, gathered from the files once.

Checks are functions of a ``Survey`` and open no files themselves (but for the few that re-read a handful of
suspects), so that a dataset is read once however many checks there are.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset import names
from objnerf.dataset.card import UORF_CAMERA_DISTANCE, UORF_SCALE, DatasetCard
from objnerf.dataset.index import Dataset, View
from validate.diagnosis import Convention, Diagnosis, diagnose
from validate.findings import Finding, Severity
from validate.geometry import axis_misses, off_axis_angles, scene_focuses
from validate.lenses import Lenses
from validate.pictures import Pictures
from validate.reading import MatrixText, read_matrix_text
from validate.settings import Limits, Settings
from validate.workers import Workers

if TYPE_CHECKING:
    from validate.hypotheses import Explanation

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
class Poses:
    """The pose files as they are, and as they are once single-file faults are mended.

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
    fault: Int[np.ndarray, "views"]
    measure: Float[np.ndarray, "views"]
    text: dict[int, MatrixText]
    rigid: Float[np.ndarray, "views 4 4"]
    valid: Bool[np.ndarray, "views"]


@dataclass(frozen=True)
class Matrices:
    """The text files beside the views, as they are.

    Attributes:
        poses, azimuths: the numbers; nan where there are none of the right shape.
        pose_text, azimuth_text: what reading gave instead, by view.
    """

    poses: Float[np.ndarray, "views 4 4"]
    azimuths: Float[np.ndarray, "views 3 3"]
    pose_text: dict[int, MatrixText]
    azimuth_text: dict[int, MatrixText]


@dataclass(frozen=True)
class Centring:
    """Where the cameras look.

    Attributes:
        focus: least-squares focus of each scene (nan with fewer than two usable views).
        excess: the part of it that the estimate's condition cannot explain away.
        share: |excess| / obj_scale.
        together: the point that the dataset as a whole is off by; None when it is centred, or when only
            single scenes are off.
        subtract: what to subtract from the camera positions of each scene.
        unit: what offsets are a share of: obj_scale, or what it would be at the scale of this world.
        odd_views: views that alone pull their scene's focus away, with the angle in degrees between the
            optical axis and what the others of the scene look at.
    """

    focus: Float[np.ndarray, "scenes 3"]
    excess: Float[np.ndarray, "scenes 3"]
    share: Float[np.ndarray, "scenes"]
    together: Float[np.ndarray, "3"] | None
    subtract: Float[np.ndarray, "scenes 3"]
    unit: float
    odd_views: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """A dataset as the checks see it.

    Attributes:
        dataset: the index of its names.
        card: ``dataset.yaml``; None when there is none or it cannot be read (see ``card_problem``).
        views: all views, scene by scene.
        scene_of: scene id of each view.
        scene_index: the same as 0 … n_scenes - 1.
        poses: the pose files.
        diagnosis: the convention of the poses; ``diagnosis.poses`` are the ones to compute with.
        centring: where the cameras look, and what to subtract so that it is the origin.
        matrices: the text files as they are.
        lenses: what each view is seen through.
        extras: pictures that are no views though they are called like one (extra passes); not in ``views``.
        pictures: figures on images, masks and depth; None when only the cheap checks run.
        measured: what ``box_shares`` measured already, by half side of the box.
        photo_matches: feature matches that were found already, by scene and how many of its views to take.
        remarks: what checks have to say that is no finding.
    """

    dataset: Dataset
    settings: Settings
    limits: Limits
    card: DatasetCard | None
    card_problem: str | None
    views: Sequence[View]
    scene_of: Int[np.ndarray, "views"]
    scene_index: Int[np.ndarray, "views"]
    poses: Poses
    diagnosis: Diagnosis
    centring: Centring
    matrices: Matrices
    lenses: Lenses
    extras: Sequence[View] = ()
    pictures: Pictures | None = None
    measured: dict[float, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, compare=False, repr=False
    )
    photo_matches: dict[tuple[int, int], Any] = field(default_factory=dict, compare=False, repr=False)
    remarks: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def unfinished(self) -> bool:
        """Whether a generator has made some scenes of those that dataset.yaml says, and not all yet."""
        card = self.card
        return (
            card is not None
            and card.preset is not None
            and card.scenes is not None
            and self.n_scenes < card.scenes
        )

    @property
    def n_scenes(self) -> int:
        return len(self.dataset.scenes)

    @cached_property
    def world_poses(self) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` with every mistake mended that was found, off-centre worlds included; nan
        where there is no usable pose. What the checks after the diagnosis compute with."""
        poses = self.diagnosis.poses.copy()
        poses[:, :3, 3] -= self.centring.subtract[self.scene_index]
        return poses

    @cached_property
    def moved_poses(self) -> Float[np.ndarray, "views 4 4"]:
        """As ``world_poses``, and those of views astray moved with the rest; nan where there is no matrix."""
        poses = self.diagnosis.every_pose.copy()
        poses[:, :3, 3] -= self.centring.subtract[self.scene_index]
        return poses

    @property
    def world_is_moved(self) -> bool:
        """The corrected poses are in another world than the stored ones: turned, mirrored or shifted."""
        moved = not self.diagnosis.world.is_level or self.diagnosis.convention.mirrored
        return moved or bool(np.abs(self.centring.subtract).max() > 0)

    @cached_property
    def depth_explanation(self) -> "Explanation | None":
        """The mistake that explains why depths of different views contradict each other; None when they
        don't, or when no single mistake explains it."""
        from validate.checks.depths import depths_are_poor
        from validate.hypotheses import explain_contradictions

        return explain_contradictions(self) if depths_are_poor(self) else None

    @cached_property
    def scene_blocks(self) -> dict[int, slice]:
        """Where the views of each scene are, by scene id."""
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.scene_index)) + 1, [len(self.views)]])
        return {
            int(self.scene_of[start]): slice(int(start), int(stop))
            for start, stop in itertools.pairwise(starts)
            if stop > start
        }

    def on_views(
        self,
        id: str,
        severity: Severity,
        views: Sequence[int] | np.ndarray,
        message: str,
        fix: str,
        suffix: str = ".png",
        mendable: bool = False,
    ) -> Finding:
        """A finding on some views, folded; ``suffix`` names the file of theirs that it is about."""
        indices = [int(view) for view in views]
        scenes = {int(self.scene_of[view]) for view in indices}
        paths = [f"{self.views[view].stem}{suffix}" for view in indices[:3]]
        return Finding(
            id,
            severity,
            message,
            fix,
            path=paths[0],
            scene=scenes.pop() if len(scenes) == 1 else None,
            count=len(indices),
            total=len(self.views),
            examples=tuple(paths),
            views=tuple(indices),
            mendable=mendable,
        )

    def on_scenes(
        self,
        id: str,
        severity: Severity,
        scenes: Sequence[int],
        message: str,
        fix: str,
        mendable: bool = False,
    ) -> Finding:
        """A finding on some scenes (ids), folded."""
        ids = [int(scene) for scene in scenes]
        first = [
            self.dataset.scenes[scene].views[0].stem + ".png"
            for scene in ids[:3]
            if scene in self.dataset.scenes
        ]
        chosen = np.flatnonzero(np.isin(self.scene_of, ids[:50]))
        return Finding(
            id,
            severity,
            message,
            fix,
            path=first[0] if first else None,
            scene=ids[0] if len(ids) == 1 else None,
            count=len(ids),
            total=self.n_scenes,
            unit="scenes",
            examples=tuple(first),
            views=tuple(int(view) for view in chosen),
            mendable=mendable,
        )


#: Views whose text files are read in one piece of work.
_CHUNK = 500


def read_matrices(root: Path, views: Sequence[View], workers: Workers, azimuths: bool = True) -> Matrices:
    """Read every ``_RT.txt`` and, unless left out, every ``_azi_rot.txt``."""
    n = len(views)
    read = Matrices(np.full((n, 4, 4), np.nan), np.full((n, 3, 3), np.nan), {}, {})
    tasks = (
        (
            str(root),
            [view.stem for view in views[start : start + _CHUNK]],
            [names.POSE_SUFFIX in view.companions for view in views[start : start + _CHUNK]],
            [azimuths and names.AZIMUTH_SUFFIX in view.companions for view in views[start : start + _CHUNK]],
        )
        for start in range(0, n, _CHUNK)
    )
    for number, piece in enumerate(workers.map(_read_piece, tasks)):
        start = number * _CHUNK
        read.poses[start : start + _CHUNK] = piece.poses
        read.azimuths[start : start + _CHUNK] = piece.azimuths
        read.pose_text.update({start + view: text for view, text in piece.pose_text.items()})
        read.azimuth_text.update({start + view: text for view, text in piece.azimuth_text.items()})
    return read


def _read_piece(task: tuple[str, list[str], list[bool], list[bool]]) -> Matrices:
    root, stems, has_pose, has_azimuth = task
    n = len(stems)
    piece = Matrices(np.full((n, 4, 4), np.nan), np.full((n, 3, 3), np.nan), {}, {})
    for view, stem in enumerate(stems):
        if has_pose[view]:
            text = read_matrix_text(f"{root}/{stem}{names.POSE_SUFFIX}", 4, 4)
            if text.values is None:
                piece.pose_text[view] = text
            else:
                piece.poses[view] = text.values
        if has_azimuth[view]:
            text = read_matrix_text(f"{root}/{stem}{names.AZIMUTH_SUFFIX}", 3, 3)
            if text.values is None:
                piece.azimuth_text[view] = text
            else:
                piece.azimuths[view] = text.values
    return piece


def sort_poses(views: Sequence[View], matrices: Matrices, limits: Limits) -> Poses:
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
    fault: Int[np.ndarray, "views"],
    text: dict[int, MatrixText],
    limits: Limits,
) -> Poses:
    """Find the matrices that are no rigid poses, and mend those whose meaning is plain."""
    fault = fault.copy()
    measure = np.zeros(len(stored))
    rigid = stored.copy()
    read = fault == Fault.NONE
    finite = np.isfinite(stored).all(axis=(1, 2))
    # Numbers that overflow when squared are no poses either.
    with np.errstate(invalid="ignore"):
        sane = finite & (np.abs(stored) < 1e12).all(axis=(1, 2))
    fault[read & ~sane] = Fault.NOT_FINITE
    good = read & sane

    last_row = np.abs(stored[:, 3] - [0.0, 0.0, 0.0, 1.0]).max(axis=1)
    last_column = np.abs(stored[:, :, 3] - [0.0, 0.0, 0.0, 1.0]).max(axis=1)
    with np.errstate(invalid="ignore"):
        bottom = good & (last_row > limits.bottom_error)
        whole = bottom & (last_column <= limits.bottom_error)
    fault[bottom] = Fault.BOTTOM
    measure[bottom] = last_row[bottom]
    fault[whole] = Fault.WHOLE_TRANSPOSED
    rigid[whole] = np.swapaxes(stored[whole], 1, 2)
    rigid[bottom, 3] = [0.0, 0.0, 0.0, 1.0]
    valid = good & ~(bottom & ~whole & (last_row > 1e6))

    rotations = np.where(good[:, None, None], rigid[:, :3, :3], np.eye(3))
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
    free = fault == Fault.NONE
    fault[free & skewed] = Fault.NOT_ROTATION
    measure[free & skewed] = deviation[free & skewed]
    fault[free & scaled] = Fault.SCALED
    measure[free & scaled] = scale[free & scaled]
    fault[free & mirrored] = Fault.MIRRORED
    measure[free & mirrored] = determinant[free & mirrored]
    valid &= ~(skewed & ~(deviation < _HOPELESS_ORTHO))

    # Mirrored ones stay so: whether a camera axis or the world is mirrored is asked of the whole rig.
    work = np.flatnonzero(valid & (skewed | scaled))
    for view in work:
        rotation = rigid[view, :3, :3]
        if skewed[view]:
            left, _, right = np.linalg.svd(rotation)
            rotation = left @ right
        else:
            rotation = rotation / scale[view]
        rigid[view, :3, :3] = rotation
    rigid[~valid] = np.nan
    return Poses(stored, fault, measure, text, rigid, valid)


def find_centring(
    diagnosis: Diagnosis,
    scene_index: Int[np.ndarray, "views"],
    n_scenes: int,
    obj_scale: float,
    limits: Limits,
    distance: float = UORF_CAMERA_DISTANCE,
) -> Centring:
    """Where the cameras of each scene look, and how far from the origin beyond doubt.

    Along a direction in which the optical axes hardly differ (a narrow arc sees its own depth badly) the
    focus is uncertain by the look-at jitter over the square root of the normal matrix's eigenvalue; three
    times that, less what a wide rig has anyway, is taken off.

    Args:
        distance: how far before cameras that look in one direction the origin is to lie.
    """
    if diagnosis.known and diagnosis.forward_facing:
        return _centre_ahead(diagnosis, scene_index, n_scenes, obj_scale, limits, distance)
    usable = diagnosis.usable
    poses, index = diagnosis.poses[usable], scene_index[usable]
    focus, normal, residual = scene_focuses(poses, index, n_scenes)
    obj_scale = _centring_unit(poses, index, focus, obj_scale)
    count = np.bincount(index, minlength=n_scenes)
    values, vectors = np.linalg.eigh(normal)
    jitter = limits.centre_jitter * obj_scale
    sigma = np.maximum(np.nan_to_num(residual), jitter)
    wide = 1.0 / np.sqrt(0.3 * np.maximum(count, 1))
    uncertain = 1.0 / np.sqrt(np.maximum(values, 1e-12))
    allowed = 3.0 * sigma[:, None] * np.maximum(uncertain - wide[:, None], 0.0)
    # A rig with more jitter than usual has a less certain focus in every direction.
    allowed += 2.0 * (sigma - jitter)[:, None] * np.minimum(uncertain, wide[:, None])
    along = np.einsum("sij,si->sj", vectors, np.nan_to_num(focus))
    reduced = np.sign(along) * np.maximum(np.abs(along) - allowed, 0.0)
    excess = np.einsum("sij,sj->si", vectors, reduced)
    excess[np.isnan(focus).any(axis=1)] = np.nan
    share = np.linalg.norm(excess, axis=1) / obj_scale
    odd_views: dict[int, float] = {}
    for scene in np.flatnonzero((np.nan_to_num(share) > limits.centre_warn) & (count >= 4)):
        if _is_pulled_by_one(poses[index == scene], limits.centre_warn * obj_scale):
            angles = off_axis_angles(diagnosis.poses, np.zeros((1, 3)))
            own = np.flatnonzero(usable & (scene_index == scene))
            odd = int(own[np.argmax(angles[own])])
            odd_views[odd] = float(angles[odd])
            excess[scene], share[scene] = 0.0, 0.0
    off = np.nan_to_num(share) > limits.centre_warn

    subtract = np.zeros((n_scenes, 3))
    together = None
    if diagnosis.known and off.any():
        offset = np.median(excess[off], axis=0)
        measured = np.isfinite(share)
        if off.sum() > 0.5 * measured.sum() and np.linalg.norm(offset) > limits.centre_warn * obj_scale:
            together = _common_focus(poses, index, focus, off)
            subtract[:] = together
        else:
            subtract[off] = focus[off]
    return Centring(focus, excess, share, together, subtract, obj_scale, odd_views)


def _is_pulled_by_one(poses: Float[np.ndarray, "views 4 4"], allowed: float) -> bool:
    """All axes of a scene but one pass near the origin: then it is not the scene that is off its centre."""
    misses = np.sort(axis_misses(poses, np.zeros((1, 3))))
    return bool(misses[-2] < allowed and misses[-1] > 3.0 * misses[-2])


def _centre_ahead(
    diagnosis: Diagnosis,
    scene_index: Int[np.ndarray, "views"],
    n_scenes: int,
    obj_scale: float,
    limits: Limits,
    distance: float,
) -> Centring:
    """For cameras that look in one direction: an origin before them, where it is not there already."""
    nothing, subtract = np.zeros((n_scenes, 3)), np.zeros((n_scenes, 3))
    views = np.flatnonzero(diagnosis.usable)
    poses, index = diagnosis.poses[views], scene_index[views]
    if np.median(off_axis_angles(poses, np.zeros((1, 3)))) > limits.off_axis_degrees:
        for scene in np.unique(index):
            own = poses[index == scene]
            direction = own[:, :3, 2].mean(axis=0)
            middle = np.median(own[:, :3, 3], axis=0)
            subtract[scene] = middle + distance * direction / np.linalg.norm(direction)
    return Centring(subtract.copy(), nothing, np.zeros(n_scenes), None, subtract, obj_scale)


def _centring_unit(
    poses: Float[np.ndarray, "views 4 4"],
    index: Int[np.ndarray, "views"],
    focus: Float[np.ndarray, "scenes 3"],
    obj_scale: float,
) -> float:
    """``obj_scale``, unless the world has another scale altogether: then what suits its cameras' distance."""
    distances = np.linalg.norm(poses[:, :3, 3] - focus[index], axis=1)
    distances = distances[np.isfinite(distances)]
    if not len(distances):
        return obj_scale
    usual = UORF_SCALE.obj_scale * float(np.median(distances)) / UORF_CAMERA_DISTANCE
    return obj_scale if usual == 0.0 or 1 / 3 < obj_scale / usual < 3 else usual


def _common_focus(
    poses: Float[np.ndarray, "views 4 4"],
    index: Int[np.ndarray, "views"],
    focus: Float[np.ndarray, "scenes 3"],
    off: Bool[np.ndarray, "scenes"],
) -> Float[np.ndarray, "3"]:
    """Focus of all views at once, of the scenes near the median one: sharper than any scene's own."""
    median = np.median(focus[off], axis=0)
    spread = np.linalg.norm(focus - median, axis=1)
    typical = 3.0 * float(np.nanmedian(spread)) + 1e-6
    near = off & (spread <= typical)
    chosen = near[index]
    if chosen.sum() < 2:
        return median
    pooled, _, _ = scene_focuses(poses[chosen], np.zeros(int(chosen.sum()), dtype=np.int64), 1)
    return pooled[0] if np.isfinite(pooled).all() else median


def diagnose_poses(
    poses: Poses,
    scene_index: Int[np.ndarray, "views"],
    n_scenes: int,
    limits: Limits,
    convention: Convention | None = None,
) -> Diagnosis:
    """The convention of the poses that can be worked on, unless it is given."""
    return diagnose(
        poses.rigid,
        poses.valid,
        scene_index,
        n_scenes,
        limits.off_axis_degrees,
        limits.roll_degrees,
        convention,
    )
