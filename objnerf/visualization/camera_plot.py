"""What a plot of cameras shows, whatever the file format: cameras, locality box, ground, axes.

All coordinates are the dataset's world (right-handed, z up, ground at z = 0, origin at the centre of the
scene); poses are ``world_from_camera`` with OpenCV axes (x right, y down, z forward).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from objnerf.dataset.cameras import Intrinsics, box_corners, frustum_corners
from objnerf.dataset.card import UORF_SCALE
from objnerf.dataset.files import image_size
from objnerf.dataset.index import Dataset, Scene, View
from objnerf.errors import InputError
from objnerf.visualization.contact_sheets import Colour

#: Colours that tell scenes (or, in one scene, views) apart; readable on white, distinct to the colour-blind.
CAMERA_COLOURS: tuple[Colour, ...] = (
    (31, 111, 180),
    (214, 96, 22),
    (24, 140, 92),
    (178, 60, 130),
    (120, 94, 200),
    (186, 140, 10),
    (20, 146, 166),
    (190, 50, 54),
    (104, 112, 124),
    (112, 146, 40),
)
AXIS_COLOURS: tuple[Colour, Colour, Colour] = ((204, 42, 54), (38, 148, 66), (36, 88, 214))
# More entries make a legend that nobody reads, and as many draw calls a frame.
_MAX_GROUPS = 20
BOX_COLOUR: Colour = (96, 104, 118)
GROUND_COLOUR: Colour = (206, 211, 218)


@dataclass(frozen=True)
class PlottedCamera:
    """One camera of the picture.

    Attributes:
        stem: the view's name without suffix.
        scene: scene id.
        order: position in its scene; 0 is the input view.
        world_from_camera: camera-to-world pose, OpenCV axes, world units.
        group: what it is listed and coloured with: its scene, a run of scenes, or itself.
        colour: RGB, one a group.
        thumbnail: what the camera saw, scaled down, or None.
        intrinsics: its own, where the plot's are not its.
    """

    stem: str
    scene: int
    order: int
    world_from_camera: Float[np.ndarray, "4 4"]
    group: str
    colour: Colour
    thumbnail: UInt8[np.ndarray, "height width 3"] | None = None
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True)
class CameraPlot:
    """The cameras of a dataset and what stands around them.

    Attributes:
        name: for the title.
        cameras: those that are drawn, in the order of the dataset.
        intrinsics: of the cameras that have none of their own; only the shape of the frusta depends on them.
        obj_scale: half side of the locality box, world units.
        skipped: views whose pose could not be read, with the reason.
        left_out: how many views ``max_views`` kept out.
    """

    name: str
    cameras: tuple[PlottedCamera, ...]
    intrinsics: Intrinsics
    obj_scale: float
    skipped: tuple[tuple[str, str], ...] = ()
    left_out: int = 0

    def intrinsics_of(self, camera: PlottedCamera) -> Intrinsics:
        """A camera's own intrinsics, else those of all."""
        return camera.intrinsics or self.intrinsics

    @property
    def scenes(self) -> list[int]:
        """Ids of the scenes that are drawn, rising."""
        return sorted({camera.scene for camera in self.cameras})

    @property
    def summary(self) -> str:
        """How much is drawn, in words: `12 cameras of 3 scenes`."""
        cameras, scenes = len(self.cameras), len(self.scenes)
        return f"{cameras} camera{'s' * (cameras != 1)} of {scenes} scene{'s' * (scenes != 1)}"

    @property
    def frustum_depth(self) -> float:
        """Depth in world units at which frusta end: an eighth of the usual camera's distance."""
        return 0.125 * self._typical_distance()

    @property
    def ground_half(self) -> float:
        """Half side in world units of the piece of ground that is drawn: below box and cameras."""
        # The median, so that one camera far away does not make the rest a dot.
        positions = np.abs([camera.world_from_camera[:2, 3] for camera in self.cameras]).max(axis=1)
        return float(max(1.2 * self.obj_scale, 1.2 * np.median(positions)))

    def _typical_distance(self) -> float:
        positions = np.array([camera.world_from_camera[:3, 3] for camera in self.cameras])
        distance = float(np.median(np.linalg.norm(positions, axis=1)))
        return distance if distance > 1e-6 else max(self.obj_scale, 1.0)


@dataclass(frozen=True)
class LineSet:
    """Line segments of one kind and colour; segments are in world units."""

    part: str
    colour: Colour
    segments: Float[np.ndarray, "segments 2 3"]


def read_camera_plot(
    dataset: Dataset,
    *,
    scene: int | None = None,
    max_views: int | None = None,
    obj_scale: float | None = None,
    thumbnails: int = 0,
    skip_broken: bool = False,
) -> CameraPlot:
    """Gather what an image of a dataset's cameras shows.

    Args:
        scene: only this scene's cameras.
        max_views: at most so many cameras: whole scenes, spread evenly over the dataset; if that leaves
            less than one scene, the first views of one.
        obj_scale: half side of the locality box, world units; default: what ``dataset.yaml`` says, or 4.5.
        thumbnails: width in pixels of the images at the cameras; 0 leaves them out. Over 64 cameras they
            are half as wide, over 256 they are left out: a browser could no longer turn them.
        skip_broken: draw the other cameras when a pose cannot be used, and say so in ``CameraPlot.skipped``.
    Raises:
        InputError: no such scene, no view with a usable pose, or a pose or image that cannot be used.
    """
    if max_views is not None and max_views < 1:
        raise InputError(f"max_views: expected at least 1, got {max_views}")
    if obj_scale is not None and not (np.isfinite(obj_scale) and obj_scale > 0):
        raise InputError(
            f"obj_scale (half the side of the locality box): expected a positive number, got {obj_scale}"
        )
    scenes = _chosen_scenes(dataset, scene)
    shown = _spread(scenes, max_views)
    posed, skipped = _posed_views(shown, skip_broken)
    if not posed:
        raise InputError(
            f"{dataset.root}: none of the {len(shown)} views has a usable camera; "
            f"the first says: {skipped[0][1]}"
        )
    if len(posed) > 64:
        thumbnails = thumbnails // 2 if len(posed) <= 256 else 0
    if obj_scale is None:
        card = dataset.card()
        stated = None if card is None else card.obj_scale
        obj_scale = UORF_SCALE.obj_scale if stated is None else stated
    size = _image_size(dataset, posed[0].view)
    return CameraPlot(
        name=dataset.root.resolve().name,
        cameras=_plotted_cameras(posed, size, thumbnails, skip_broken),
        intrinsics=dataset.default_pinhole().at(*size),
        obj_scale=float(obj_scale),
        skipped=tuple(skipped),
        left_out=sum(len(s.views) for s in scenes) - len(shown),
    )


class _PosedView(NamedTuple):
    """A view whose pose can be used, and its position in its scene."""

    view: View
    order: int
    world_from_camera: Float[np.ndarray, "4 4"]


def _posed_views(
    shown: Sequence[tuple[View, int]], skip_broken: bool
) -> tuple[list[_PosedView], list[tuple[str, str]]]:
    """Views with their poses, and those left out: stem and reason."""
    posed: list[_PosedView] = []
    skipped: list[tuple[str, str]] = []
    for view, order in shown:
        try:
            posed.append(_PosedView(view, order, _finite_pose(view)))
        except InputError as error:
            if not skip_broken:
                raise
            skipped.append((view.stem, str(error)))
    return posed, skipped


def _plotted_cameras(
    posed: Sequence[_PosedView], size: tuple[int, int], thumbnails: int, skip_broken: bool
) -> tuple[PlottedCamera, ...]:
    """Cameras in the colours of their groups.

    Args:
        size: width and height of the images, for cameras with intrinsics of their own.
        thumbnails: their width in pixels; 0 for none.
    """
    groups = _groups([view for view, _, _ in posed])
    number_of_group = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return tuple(
        PlottedCamera(
            stem=view.stem,
            scene=view.scene,
            order=order,
            world_from_camera=pose,
            group=group,
            colour=CAMERA_COLOURS[number_of_group[group] % len(CAMERA_COLOURS)],
            thumbnail=_thumbnail(view, thumbnails, skip_broken) if thumbnails else None,
            intrinsics=_own_intrinsics(view, size, skip_broken),
        )
        for (view, order, pose), group in zip(posed, groups, strict=True)
    )


def camera_lines(
    intrinsics: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"], depth: float, colour: Colour
) -> list[LineSet]:
    """Outline of one camera: pyramid, a roof over the image's upper edge, and short axes (x, y, z: RGB).

    Args:
        world_from_camera: camera-to-world pose, OpenCV axes; the identity gives the camera's own frame.
        depth: where the pyramid ends, world units.
    """
    apex = world_from_camera[:3, 3]
    corners = frustum_corners(intrinsics, world_from_camera, depth)
    following = np.roll(corners, -1, axis=0)
    edges = [(apex, corner) for corner in corners] + list(zip(corners, following, strict=True))
    top_left, top_right = corners[0], corners[1]
    upwards = (corners[0] - corners[3]) * 0.28
    ridge = (top_left + top_right) / 2 + upwards
    edges += [(top_left, ridge), (ridge, top_right)]
    lines = [LineSet("camera", colour, np.array(edges))]
    for axis, axis_colour in enumerate(AXIS_COLOURS):
        tip = apex + 0.55 * depth * world_from_camera[:3, axis]
        lines.append(LineSet("camera axis " + "xyz"[axis], axis_colour, np.array([(apex, tip)])))
    return lines


def box_lines(half: float) -> LineSet:
    """The twelve edges of the locality box of half side ``half`` (world units)."""
    corners = box_corners(half)
    # Bit i of a corner's index is the sign on axis i: an edge joins two corners that differ in one bit.
    pairs = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]
    return LineSet("locality box", BOX_COLOUR, corners[np.array(pairs)])


def ground_lines(half: float) -> LineSet:
    """A grid on the ground (z = 0) of half side ``half`` (world units)."""
    ticks = np.linspace(-half, half, 11)
    low, high, zero = np.full(11, -half), np.full(11, half), np.zeros(11)
    along_y = np.stack([np.stack([ticks, low, zero], -1), np.stack([ticks, high, zero], -1)], axis=1)
    along_x = along_y[:, :, [1, 0, 2]]
    return LineSet("ground", GROUND_COLOUR, np.concatenate([along_x, along_y]))


def world_axes_lines(length: float) -> list[LineSet]:
    """The world's axes from the origin, x, y, z in red, green, blue; ``length`` in world units."""
    return [
        LineSet(
            f"world {'xyz'[axis]}", AXIS_COLOURS[axis], np.array([[np.zeros(3), length * np.eye(3)[axis]]])
        )
        for axis in range(3)
    ]


def plumb_lines(plot: CameraPlot) -> LineSet:
    """A line from each camera straight down (or up) to the ground, which tells where it stands."""
    positions = np.array([camera.world_from_camera[:3, 3] for camera in plot.cameras])
    return LineSet("plumb line", GROUND_COLOUR, np.stack([positions, positions * [1.0, 1.0, 0.0]], axis=1))


def plot_lines(plot: CameraPlot) -> list[LineSet]:
    """Everything of a plot as line segments: ground, plumb lines, box, world axes, then camera by camera."""
    lines = [ground_lines(plot.ground_half), plumb_lines(plot), box_lines(plot.obj_scale)]
    lines += world_axes_lines(plot.obj_scale / 2)
    for camera in plot.cameras:
        lines += camera_lines(
            plot.intrinsics_of(camera), camera.world_from_camera, plot.frustum_depth, camera.colour
        )
    return lines


def _chosen_scenes(dataset: Dataset, scene: int | None) -> list[Scene]:
    if scene is None:
        return list(dataset.scenes.values())
    if scene not in dataset.scenes:
        ids = sorted(dataset.scenes)
        there = f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else f"only {ids[0]}"
        raise InputError(
            f"{dataset.root}: there is no scene {scene}; its {len(ids)} scenes have the IDs {there}"
        )
    return [dataset.scenes[scene]]


def _spread(scenes: Sequence[Scene], max_views: int | None) -> list[tuple[View, int]]:
    """Views with their order in the scene, at most ``max_views``: whole scenes, evenly spread."""
    total = sum(len(scene.views) for scene in scenes)
    if max_views is None or total <= max_views:
        chosen = list(scenes)
    else:
        per_scene = max(len(scene.views) for scene in scenes)
        count = max(1, max_views // per_scene)
        chosen = [scenes[index] for index in np.linspace(0, len(scenes) - 1, count).round().astype(int)]
    views = [(view, order) for scene in chosen for order, view in enumerate(scene.views)]
    return views if max_views is None else views[:max_views]


def _groups(views: Sequence[View]) -> list[str]:
    """The name of each view's group: few enough groups for a legend."""
    scenes = sorted({view.scene for view in views})
    if len(scenes) == 1 and len(views) <= _MAX_GROUPS:
        return [view.stem for view in views]
    run = -(-len(scenes) // _MAX_GROUPS)
    group_of = {}
    for start in range(0, len(scenes), run):
        members = scenes[start : start + run]
        name = f"scene {members[0]}" if len(members) == 1 else f"scenes {members[0]} to {members[-1]}"
        group_of.update(dict.fromkeys(members, name))
    return [group_of[view.scene] for view in views]


def _finite_pose(view: View) -> Float[np.ndarray, "4 4"]:
    pose = view.pose()
    if not np.isfinite(pose).all():
        raise InputError(f"{view.pose_path}: expected finite numbers, found nan or inf")
    return pose


def _image_size(dataset: Dataset, view: View) -> tuple[int, int]:
    """Width and height of the images, from the header of one; 4:3 where that cannot be read."""
    try:
        return image_size(view.image_path)
    except InputError:
        card = dataset.card()
        return card.image_size if card is not None and card.image_size is not None else (4, 3)


def _own_intrinsics(view: View, size: tuple[int, int], skip_broken: bool) -> Intrinsics | None:
    try:
        pinhole = view.pinhole()
    except InputError:
        if skip_broken:
            return None
        raise
    return None if pinhole is None else pinhole.at(*size)


def _thumbnail(view: View, width: int, skip_broken: bool) -> UInt8[np.ndarray, "height width 3"] | None:
    try:
        image = Image.fromarray(view.image())
    except InputError:
        if skip_broken:
            return None
        raise
    height = max(1, round(width * image.height / image.width))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))
