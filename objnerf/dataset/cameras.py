"""Poses, intrinsics, axes, rays and the geometry of the locality box, as pure functions on numpy arrays.

Conventions, once and for all (see docs/format.md):

- World: right-handed, z up, ground at z = 0, origin at the centre of the scene.
- Camera: OpenCV axes, x right, y down, z forward.
- A pose is a 4×4 matrix named for its frames: ``world_from_camera`` maps camera coordinates to world ones.
- Pixel (column u, row v) has its centre at integer coordinates; the principal point is
  ((W-1)/2, (H-1)/2), unless a view's own intrinsics say otherwise.
- Depth is planar: the z coordinate in the camera frame, in world units, not the length of the ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: (fx / width, fy / height) of uORF: a 35 mm lens on a 32 mm wide sensor, images of 4:3.
REFERENCE_FOCAL_RATIO = (350 / 320, 350 / 240)

#: Flips y and z of a camera frame: OpenGL and Blender (y up, looking along -z) ↔ OpenCV.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


#: Relative to the focal length and to the image's size: intrinsics that differ by less are the same. A text
#: file's six decimals round by less.
SAME_PINHOLE = 1e-5


@dataclass(frozen=True)
class Pinhole:
    """Intrinsics as shares of the image's size: the same at every resolution.

    Attributes:
        focal_ratio: (fx / width, fy / height).
        principal_offset: how far the principal point lies right of and below the image's middle, as shares
            of width and height: ((cx - (width - 1) / 2) / width, (cy - (height - 1) / 2) / height).
    """

    focal_ratio: tuple[float, float] = REFERENCE_FOCAL_RATIO
    principal_offset: tuple[float, float] = (0.0, 0.0)

    @property
    def centred(self) -> bool:
        """Whether the principal point is the image's middle."""
        return max(map(abs, self.principal_offset)) <= SAME_PINHOLE

    def same_as(self, other: "Pinhole") -> bool:
        """Whether the two differ by no more than rounding (``SAME_PINHOLE``)."""
        focal = np.isclose(self.focal_ratio, other.focal_ratio, rtol=SAME_PINHOLE, atol=0)
        offset = np.isclose(self.principal_offset, other.principal_offset, rtol=0, atol=SAME_PINHOLE)
        return bool(focal.all() and offset.all())

    def at(self, width: int, height: int) -> "Intrinsics":
        """In pixels, for an image of ``width`` × ``height``."""
        return Intrinsics.from_focal_ratio(self.focal_ratio, width, height, self.principal_offset)


def common_pinhole(pinholes: Sequence[Pinhole]) -> Pinhole | None:
    """The one that all are, up to rounding; None where two differ.

    Raises:
        ValueError: there is none at all.
    """
    if not pinholes:
        raise ValueError("expected at least one pinhole, got none")
    first = pinholes[0]
    # Most views share one object, which is compared once.
    return first if all(first.same_as(other) for other in set(pinholes)) else None


def typical_pinhole(pinholes: Sequence[Pinhole]) -> Pinhole:
    """A centred pinhole in the middle of all: the median of each focal ratio."""
    x, y = np.median([pinhole.focal_ratio for pinhole in pinholes], axis=0).tolist()
    return Pinhole((x, y))


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera in pixels.

    Attributes:
        width, height: of the picture.
        fx, fy: focal lengths.
        offset_x, offset_y: how far the principal point lies right of and below the image's middle,
            ((width - 1) / 2, (height - 1) / 2).
    """

    width: int
    height: int
    fx: float
    fy: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    @property
    def cx(self) -> float:
        """Column of the principal point; pixel centres are integers."""
        return (self.width - 1) / 2 + self.offset_x

    @property
    def cy(self) -> float:
        """Row of the principal point; pixel centres are integers."""
        return (self.height - 1) / 2 + self.offset_y

    @property
    def focal_ratio(self) -> tuple[float, float]:
        return self.fx / self.width, self.fy / self.height

    @property
    def pinhole(self) -> Pinhole:
        """The same as shares of the image's size."""
        return Pinhole(self.focal_ratio, (self.offset_x / self.width, self.offset_y / self.height))

    @classmethod
    def from_focal_ratio(
        cls,
        focal_ratio: tuple[float, float],
        width: int,
        height: int,
        principal_offset: tuple[float, float] = (0.0, 0.0),
    ) -> "Intrinsics":
        """Intrinsics of a ``width`` × ``height`` image from (fx / width, fy / height)."""
        return cls(
            width,
            height,
            focal_ratio[0] * width,
            focal_ratio[1] * height,
            principal_offset[0] * width,
            principal_offset[1] * height,
        )


def invert(pose: Float[np.ndarray, "*batch 4 4"]) -> Float[np.ndarray, "*batch 4 4"]:
    """Inverse of rigid poses, by transposition (``camera_from_world`` from ``world_from_camera``)."""
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse = np.zeros_like(pose, dtype=np.float64)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ pose[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def opencv_from_blender(matrix_world: Float[np.ndarray, "*batch 4 4"]) -> Float[np.ndarray, "*batch 4 4"]:
    """``world_from_camera`` in OpenCV axes from Blender's (or OpenGL's) camera-to-world matrix.

    Flips the camera's axes, never the world's. The function is its own inverse.
    """
    return matrix_world @ OPENCV_FROM_OPENGL


def look_at(
    position: Float[np.ndarray, "3"],
    target: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"] | None = None,
) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` (OpenCV axes) of a camera at ``position`` that looks at ``target``.

    Args:
        position: camera centre, world units.
        target: a point on the optical axis, world units.
        up: world direction that appears upwards in the image; z when left out.
    Raises:
        ValueError: position equals target, or the view direction is parallel to ``up``.
    """
    up = np.array([0.0, 0.0, 1.0]) if up is None else np.asarray(up, np.float64)
    forward = np.asarray(target, np.float64) - np.asarray(position, np.float64)
    length = np.linalg.norm(forward)
    if length < 1e-12:
        raise ValueError(f"position and target coincide at {np.asarray(position).tolist()}")
    forward = forward / length
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9 * max(1.0, float(np.linalg.norm(up))):
        raise ValueError("the view direction is parallel to up; pass another up")
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0] = right
    pose[:3, 1] = np.cross(forward, right)  # down, since z × x = y in a right-handed frame
    pose[:3, 2] = forward
    pose[:3, 3] = position
    return pose


def distance_elevation(
    world_from_camera: Float[np.ndarray, "4 4"], target: Float[np.ndarray, "3"] | None = None
) -> tuple[float, float]:
    """Distance (world units) and elevation above the horizon (degrees) of a camera, seen from ``target``.

    ``target`` is the world's origin when left out.
    """
    offset = world_from_camera[:3, 3] - (np.zeros(3) if target is None else target)
    distance = float(np.linalg.norm(offset))
    if distance == 0.0:
        return 0.0, 0.0
    return distance, float(np.degrees(np.arcsin(np.clip(offset[2] / distance, -1.0, 1.0))))


def world_from_azimuth(world_from_camera: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 3"]:
    """Rotation about world z from a view's azimuth frame to the world: the content of ``_azi_rot.txt``.

    The azimuth frame has x to the camera's right, y along its horizontal forward, z up.

    Raises:
        ValueError: the camera looks straight up or down, so that it has no azimuth.
    """
    forward = world_from_camera[:2, 2]
    norm = np.linalg.norm(forward)
    if norm < 1e-9:
        raise ValueError("the camera looks along z and has no azimuth")
    x, y = forward / norm
    return np.array([[y, x, 0.0], [-x, y, 0.0], [0.0, 0.0, 1.0]])


def camera_rays(intrinsics: Intrinsics) -> Float[np.ndarray, "height width 3"]:
    """Ray directions through the pixel centres in the camera frame (OpenCV axes), scaled to z = 1.

    A direction times a planar depth is the point at that depth.
    """
    u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    return np.stack(
        [(u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy, np.ones(u.shape)], axis=-1
    )


def ray_lengths(intrinsics: Intrinsics) -> Float[np.ndarray, "height width"]:
    """Length of each pixel's ray for a planar depth of one: what a distance along the ray is divided by."""
    return np.asarray(np.linalg.norm(camera_rays(intrinsics), axis=-1))


def world_rays(
    intrinsics: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "height width 3"]]:
    """Origin and directions of all pixels' rays in the world; ``origin + depth * direction`` is planar.

    Args:
        world_from_camera: camera-to-world pose, OpenCV axes.
    """
    return world_from_camera[:3, 3], camera_rays(intrinsics) @ world_from_camera[:3, :3].T


def unproject(
    depth: Float[np.ndarray, "height width"],
    intrinsics: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
) -> Float[np.ndarray, "height width 3"]:
    """World points of the pixels of a planar depth map (world units; pose in OpenCV axes)."""
    origin, directions = world_rays(intrinsics, world_from_camera)
    return origin + depth[..., None] * directions


def project(
    points: Float[np.ndarray, "*batch 3"],
    intrinsics: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, "*batch 2"], Float[np.ndarray, "*batch"]]:
    """Pixel coordinates (column, row) and planar depths of world points (pose in OpenCV axes).

    Points in the camera's plane give inf or nan; points behind it have a negative depth.
    """
    in_camera = (points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    depth = in_camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = in_camera[..., 0] / depth * intrinsics.fx + intrinsics.cx
        v = in_camera[..., 1] / depth * intrinsics.fy + intrinsics.cy
    return np.stack([u, v], axis=-1), depth


def lookat_focus(world_from_camera: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "3"]:
    """Point nearest, in least squares, to all optical axes.

    Args:
        world_from_camera: camera-to-world poses, OpenCV axes (z forward).
    Returns:
        The point in world units. For parallel axes, the one nearest the cameras' centroid.
    Raises:
        ValueError: fewer than two views.
    """
    if len(world_from_camera) < 2:
        raise ValueError(f"at least two views are needed to find a focus, got {len(world_from_camera)}")
    axes = world_from_camera[:, :3, 2]
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    centres = world_from_camera[:, :3, 3]
    centroid = centres.mean(axis=0)
    # Each axis leaves only the offset orthogonal to it: P = I - d dᵀ; the normal equations are Σ P x = Σ P c.
    # Solved about the centroid by pseudo-inverse, so that an undetermined direction stays at the centroid.
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = projectors.sum(axis=0)
    right_hand = np.einsum("nij,nj->i", projectors, centres - centroid)
    return centroid + np.linalg.pinv(normal, rcond=1e-9, hermitian=True) @ right_hand


def ray_box(
    origins: Float[np.ndarray, "*#batch 3"],
    directions: Float[np.ndarray, "*#batch 3"],
    half: float,
    bottom: float | None = None,
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """Where rays enter and leave the cube of half side ``half`` about the origin.

    Args:
        origins: world units.
        directions: need not be unit vectors; the results are in multiples of them, so directions with
            camera z = 1 give planar depths.
        half: half side of the cube, world units.
        bottom: raises the cube's floor from ``-half`` to this height (world units).
    Returns:
        ``(enter, leave)``; a ray misses when ``enter > leave``. A box behind the origin has ``leave < 0``.
    """
    low = np.array([-half, -half, -half if bottom is None else bottom], dtype=np.float64)
    high = np.full(3, float(half))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (low - origins) / directions
        second = (high - origins) / directions
    # 0 / 0 arises for a ray inside a face's plane, parallel to it: that pair of faces does not limit it.
    nearer = np.minimum(first, second)
    farther = np.maximum(first, second)
    undefined = np.isnan(nearer)
    nearer = np.where(undefined, -np.inf, nearer)
    farther = np.where(undefined, np.inf, farther)
    return nearer.max(axis=-1), farther.min(axis=-1)


def box_pixel_share(
    intrinsics: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"], obj_scale: float
) -> float:
    """Share of a view's pixels whose ray meets the locality box of half side ``obj_scale`` (world units)."""
    origin, directions = world_rays(intrinsics, world_from_camera)
    enter, leave = ray_box(origin, directions, obj_scale)
    return float(((enter <= leave) & (leave > 0)).mean())


def box_depth_range(world_from_camera: Float[np.ndarray, "4 4"], obj_scale: float) -> tuple[float, float]:
    """Planar depths of the locality box's nearest and farthest corner (world units; may be negative)."""
    depths = (box_corners(obj_scale) - world_from_camera[:3, 3]) @ world_from_camera[:3, 2]
    return float(depths.min()), float(depths.max())


def box_corners(half: float) -> Float[np.ndarray, "8 3"]:
    """The corners of the cube of half side ``half`` about the origin; bit i of the index is axis i's sign."""
    signs = (np.arange(8)[:, None] >> np.arange(3)) & 1
    return (2.0 * signs - 1.0) * half


def frustum_corners(
    intrinsics: Intrinsics, world_from_camera: Float[np.ndarray, "4 4"], depth: float
) -> Float[np.ndarray, "4 3"]:
    """World points of the image's outer corners at a planar depth: top left, then clockwise."""
    w, h = intrinsics.width - 0.5, intrinsics.height - 0.5
    pixels = np.array([[-0.5, -0.5], [w, -0.5], [w, h], [-0.5, h]])
    directions = np.concatenate(
        [(pixels - [intrinsics.cx, intrinsics.cy]) / [intrinsics.fx, intrinsics.fy], np.ones((4, 1))], axis=1
    )
    return world_from_camera[:3, 3] + depth * directions @ world_from_camera[:3, :3].T
