"""Which convention were the poses written in? One answer for the dataset, and the views that differ from it.

A pose that is right in this format looks at the scene's centre, stands upright, and belongs to a camera
above the ground. Poses in another convention do so only after that convention is undone. So every likely
mistake is undone on trial, and the one after which (nearly) all cameras look right is the diagnosis. All
later checks work on the mended poses, so that one mistake is reported once and not by its consequences.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from validate.geometry import (
    AXIS_CONVENTIONS,
    UP_CONVENTIONS,
    off_axis_angles,
    rolls,
    scene_focuses,
)

Layout = Literal["stored", "inverted", "transposed"]

#: Views on which the dataset's convention is decided; more would not change the answer.
_TRIAL_VIEWS = 400

#: A pose is proper when its roll is smaller than this; generous, since roll has a check of its own.
_PROPER_ROLL = 10.0

_OPENGL = int(np.flatnonzero((np.diag([1.0, -1.0, -1.0]) == AXIS_CONVENTIONS).all(axis=(1, 2)))[0])

_AXIS_WORDS = {(0, 1.0): "x", (1, 1.0): "y", (2, 1.0): "z", (0, -1.0): "-x", (1, -1.0): "-y", (2, -1.0): "-z"}


@dataclass(frozen=True)
class Convention:
    """How a stored matrix differs from camera-to-world in OpenCV axes with z up.

    Attributes:
        layout: ``inverted`` for world-to-camera, ``transposed`` for a transposed rotation block.
        axes: index into ``AXIS_CONVENTIONS``; 0 is OpenCV.
        up: the stored world's up direction.
    """

    layout: Layout = "stored"
    axes: int = 0
    up: str = "z"

    @property
    def cost(self) -> float:
        """How unlikely the mistake is; ties go to the likelier one."""
        axes = 0.0 if self.axes == 0 else 0.5 if self.axes == _OPENGL else 1.5
        return (
            axes
            + {"stored": 0.0, "inverted": 1.0, "transposed": 1.2}[self.layout]
            + (0.0 if self.up == "z" else 0.6 if self.up == "y" else 1.1)
        )

    @property
    def is_right(self) -> bool:
        return self == Convention()

    @property
    def axis_words(self) -> str:
        """The stored camera axes in words: ``x right, y up, z backward``."""
        names = ("right", "left"), ("down", "up"), ("forward", "backward")
        matrix = AXIS_CONVENTIONS[self.axes]
        words = []
        for stored in range(3):
            true = int(np.flatnonzero(matrix[stored])[0])
            words.append(f"{'xyz'[stored]} {names[true][0 if matrix[stored, true] > 0 else 1]}")
        return ", ".join(words)

    @property
    def is_opengl(self) -> bool:
        return self.axes == _OPENGL

    @property
    def is_roll(self) -> bool:
        """Only turned about the optical axis: a matter of how cameras were held, not of conventions."""
        return (
            self.layout == "stored"
            and self.up == "z"
            and self.axes != 0
            and bool(AXIS_CONVENTIONS[self.axes][2, 2] > 0)
        )

    def undo(self, stored: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` in OpenCV axes, z up, from matrices in this convention."""
        poses = stored.copy()
        if self.layout == "inverted":
            # The full inverse, not the transpose: files with few digits hold rotations that are not quite
            # orthonormal, and this one gives back the very position that was inverted.
            poses = np.linalg.inv(poses)
        elif self.layout == "transposed":
            poses[:, :3, :3] = np.swapaxes(poses[:, :3, :3], 1, 2)
        if self.axes:
            poses[:, :3, :3] = poses[:, :3, :3] @ AXIS_CONVENTIONS[self.axes]
        if self.up != "z":
            poses[:, :3, :] = UP_CONVENTIONS[self.up] @ poses[:, :3, :]
        return poses


RIGHT = Convention()

#: What a single view among good ones is tried for. Few and likely ones: of all 432 conventions some would
#: fit a random pose by chance.
_SINGLE_TRIALS = (
    Convention(axes=_OPENGL),
    Convention("inverted"),
    Convention("inverted", axes=_OPENGL),
    Convention("transposed"),
)

_ALL_TRIALS = sorted(
    (
        Convention(layout, axes, up)
        for layout in ("stored", "inverted", "transposed")
        for axes in range(len(AXIS_CONVENTIONS))
        for up in UP_CONVENTIONS
    ),
    key=lambda convention: convention.cost,
)


@dataclass(frozen=True)
class Diagnosis:
    """The dataset's convention, the views that differ from it, and poses to work on.

    Attributes:
        convention: of the dataset as a whole.
        known: False when no convention makes the cameras look at a common centre.
        share: share of the views that are right in it.
        single: views (index) in a convention of their own.
        astray: views whose camera does not look at the centre in any likely convention, with the angle in
            degrees between its optical axis and the centre.
        poses: mended ``world_from_camera``; nan for views with no usable pose and for those astray.
        usable: where ``poses`` can be worked on.
    """

    convention: Convention
    known: bool
    share: float
    single: dict[int, Convention]
    astray: dict[int, float]
    poses: Float[np.ndarray, "views 4 4"]
    usable: Bool[np.ndarray, "views"]
    mirrored_fix: dict[int, int] = field(default_factory=dict)


def proper(
    poses: Float[np.ndarray, "views 4 4"],
    centre: Float[np.ndarray, "*#views 3"],
    off_axis_degrees: float = 20.0,
    above_ground: bool = False,
) -> Bool[np.ndarray, "views"]:
    """Which cameras look at ``centre`` and stand upright (OpenCV axes, z up)."""
    good = (off_axis_angles(poses, centre) < off_axis_degrees) & (np.abs(rolls(poses)) < _PROPER_ROLL)
    if above_ground:
        offset = poses[:, :3, 3] - centre
        good &= offset[:, 2] > -0.1 * np.linalg.norm(offset, axis=1)
    return good


def diagnose(
    stored: Float[np.ndarray, "views 4 4"],
    valid: Bool[np.ndarray, "views"],
    scene_index: Int[np.ndarray, "views"],
    n_scenes: int,
    off_axis_degrees: float = 20.0,
) -> Diagnosis:
    """Find the convention of a dataset's poses.

    Args:
        stored: the matrices as they are in the files; rows with ``valid`` False are ignored.
        valid: finite rigid matrices (rotation blocks orthonormal with determinant 1).
        scene_index: scene of each view, 0 … n_scenes - 1.
        off_axis_degrees: how far from the centre an optical axis may point.
    """
    poses = np.full_like(stored, np.nan)
    indices = np.flatnonzero(valid)
    if not len(indices):
        return Diagnosis(RIGHT, False, 0.0, {}, {}, poses, np.zeros(len(stored), dtype=bool))
    matrices, scenes = stored[indices], scene_index[indices]
    trial = np.unique(np.linspace(0, len(indices) - 1, min(len(indices), _TRIAL_VIEWS)).astype(int))
    convention, share = _dataset_convention(matrices[trial], scenes[trial], n_scenes, off_axis_degrees)
    mended = convention.undo(matrices)
    if share < 0.5:
        # Nothing fits: work on the poses as they are, and let the checks say how they miss the centre.
        poses[indices] = mended
        return Diagnosis(convention, False, share, {}, {}, poses, valid.copy())

    centre, good = _centred(mended, scenes, n_scenes, off_axis_degrees)
    single: dict[int, Convention] = {}
    astray: dict[int, float] = {}
    usable = valid.copy()
    median_distance = (
        float(np.median(np.linalg.norm(mended[good, :3, 3] - centre, axis=1))) if good.any() else 0.0
    )
    for position in np.flatnonzero(~good):
        view = int(indices[position])
        own = _single_convention(matrices[position], convention, centre, median_distance, off_axis_degrees)
        if own is not None:
            single[view] = own
            mended[position] = own.undo(matrices[position][None])[0]
            continue
        angle = float(off_axis_angles(mended[position][None], centre)[0])
        if angle >= off_axis_degrees:
            astray[view] = angle
            usable[view] = False
    poses[indices] = mended
    poses[~usable] = np.nan
    return Diagnosis(convention, True, share, single, astray, poses, usable)


def mirror_axis(rotation: Float[np.ndarray, "3 3"], position: Float[np.ndarray, "3"]) -> int:
    """Which camera axis of a mirrored rotation (determinant -1) to turn round: 0, 1 or 2.

    The forward axis when the camera looks away from the origin, the down axis when it then stands on its
    head, else the right axis.
    """
    if float(rotation[:, 2] @ -position) < 0:
        return 2
    return 1 if rotation[2, 1] > 0 else 0


def _dataset_convention(
    matrices: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    n_scenes: int,
    off_axis_degrees: float,
) -> tuple[Convention, float]:
    """The convention in which most views are proper, and their share."""
    origin = np.zeros((1, 3))
    as_stored = float(proper(matrices, origin, off_axis_degrees).mean())
    if as_stored >= 0.5:
        return RIGHT, as_stored
    best = _best_trial(matrices, origin, off_axis_degrees, least=0.6)
    if best is not None:
        return best
    # The world may be far off its centre: try again about the common focus of all axes, which is the same
    # line bundle for every choice of camera axes with the same forward line.
    found: list[tuple[Convention, float]] = []
    layouts: tuple[Layout, ...] = ("stored", "inverted", "transposed")
    for layout in layouts:
        for forward in range(3):
            turned = Convention(layout, _axes_with_forward(forward)).undo(matrices)
            focus, _, residual = scene_focuses(turned, scenes, n_scenes)
            per_view = focus[scenes]
            here = np.isfinite(per_view).all(axis=1)
            if here.sum() < 2:
                continue
            distance = float(np.median(np.linalg.norm(turned[here, :3, 3] - per_view[here], axis=1)))
            spread = turned[here, :3, 3] - turned[here, :3, 3].mean(axis=0)
            apart = float(np.median(np.linalg.norm(spread, axis=1)))
            # World-to-camera matrices all sit at one point: a focus "at the cameras" says nothing. And lines
            # that pass each other far off have no focus.
            if apart < 0.05 * distance or float(np.nanmedian(residual)) > 0.3 * distance:
                continue
            found += _about_focus(matrices[here], per_view[here], layout, forward, off_axis_degrees)
    if found:
        top = max(share for _, share in found)
        likely = [item for item in found if item[1] >= 0.9 * top]
        return min(likely, key=lambda item: item[0].cost)
    return RIGHT, as_stored


def _best_trial(
    matrices: Float[np.ndarray, "views 4 4"],
    centre: Float[np.ndarray, "*#views 3"],
    off_axis_degrees: float,
    least: float,
) -> tuple[Convention, float] | None:
    # _ALL_TRIALS is sorted by cost, so the first that (nearly) all views fit is the likeliest.
    shares: list[float] = []
    for convention in _ALL_TRIALS:
        shares.append(float(proper(convention.undo(matrices), centre, off_axis_degrees, True).mean()))
        if shares[-1] >= 0.95:
            return convention, shares[-1]
    top = max(shares)
    if top < least:
        return None
    for convention, share in zip(_ALL_TRIALS, shares, strict=True):
        if share >= 0.9 * top:
            return convention, share
    return None


def _about_focus(
    matrices: Float[np.ndarray, "views 4 4"],
    focus: Float[np.ndarray, "views 3"],
    layout: Layout,
    forward: int,
    off_axis_degrees: float,
) -> list[tuple[Convention, float]]:
    """Conventions with a given forward line in which at least 80 % of the views look at ``focus``."""
    found = []
    for convention in _ALL_TRIALS:
        if convention.layout == layout and AXIS_CONVENTIONS[convention.axes][forward, 2] != 0:
            turned_focus = focus @ UP_CONVENTIONS[convention.up].T
            share = float(proper(convention.undo(matrices), turned_focus, off_axis_degrees).mean())
            if share >= 0.8:
                found.append((convention, share))
    return found


def _axes_with_forward(stored_axis: int) -> int:
    """An axis convention whose forward is the given stored axis."""
    for index, matrix in enumerate(AXIS_CONVENTIONS):
        if matrix[stored_axis, 2] == 1.0:
            return index
    raise AssertionError("every stored axis is the forward one of some convention")


def _centred(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    n_scenes: int,
    off_axis_degrees: float,
) -> tuple[Float[np.ndarray, "3"], Bool[np.ndarray, "views"]]:
    """The dataset's centre (the origin, unless cameras agree on another point) and the views that look at it.

    Views of a scene that all look at a centre of the scene's own are good as well: that scene is shifted.
    """
    origin = np.zeros(3)
    good = proper(poses, origin[None], off_axis_degrees)
    centre = origin
    if good.all():
        return centre, good
    focus, normal, _ = scene_focuses(poses, scenes, n_scenes)
    counts = np.bincount(scenes, minlength=n_scenes)
    with np.errstate(invalid="ignore", divide="ignore"):
        firm = np.linalg.eigvalsh(normal)[:, 0] > 0.02 * counts
    firm &= np.isfinite(focus).all(axis=1)
    if firm.any():
        common = np.median(focus[firm], axis=0)
        about_common = proper(poses, common[None], off_axis_degrees)
        if about_common.sum() > good.sum() + 0.1 * len(good):
            centre, good = common, about_common
        own = np.zeros(len(poses), dtype=bool)
        with_focus = firm[scenes]
        own[with_focus] = proper(poses[with_focus], focus[scenes[with_focus]], off_axis_degrees)
        all_own = np.ones(n_scenes, dtype=bool)
        np.logical_and.at(all_own, scenes, own)
        good = good | all_own[scenes]
    return centre, good


def _single_convention(
    matrix: Float[np.ndarray, "4 4"],
    convention: Convention,
    centre: Float[np.ndarray, "3"],
    median_distance: float,
    off_axis_degrees: float,
) -> Convention | None:
    """The convention that makes one view look right where the dataset's does not."""
    for trial in (RIGHT, *_SINGLE_TRIALS):
        candidate = replace(trial, up=convention.up)
        if candidate == convention:
            continue
        pose = candidate.undo(matrix[None])
        distance = float(np.linalg.norm(pose[0, :3, 3] - centre))
        if 0.5 * median_distance < distance < 2.0 * median_distance and bool(
            proper(pose, centre[None], 0.75 * off_axis_degrees, above_ground=True)[0]
        ):
            return candidate
    return None


def common_layouts(conventions: dict[int, Convention]) -> list[tuple[Convention, list[int]]]:
    """Views grouped by their convention, most frequent first."""
    counts = Counter(conventions.values())
    return [
        (convention, sorted(view for view, own in conventions.items() if own == convention))
        for convention, _ in counts.most_common()
    ]
