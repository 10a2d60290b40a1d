"""Is every object seen well enough in every view? Decided before any colour is paid for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int, Integer

from objnerf.dataset.cameras import Intrinsics, project

#: Planar depth at which cameras begin to see, world units.
NEAR_CLIP = 0.05

#: Candidate pixels that are tested at once; bounds memory at large image sizes.
_CHUNK = 2_000_000

Solid = Callable[[Int[np.ndarray, " points"], Float[np.ndarray, "points 3"]], Bool[np.ndarray, " points"]]


@dataclass(frozen=True)
class Sightings:
    """What the views show of the objects, in order of views and labels.

    Attributes:
        pixels: visible pixels.
        shares: visible pixels over those of the whole silhouette inside the image; 0 where it is empty.
    """

    pixels: Int[np.ndarray, "views objects"]
    shares: Float[np.ndarray, "views objects"]


def silhouette(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    intrinsics: Intrinsics,
    world_from_camera: Float[np.ndarray, "4 4"],
    solid: Solid | None = None,
) -> Bool[np.ndarray, "height width"]:
    """Pixels whose centre a mesh covers, seen alone.

    Args:
        vertices: in world units; what is behind the camera is not seen.
        faces: triangles.
        intrinsics: of the view.
        world_from_camera: camera-to-world, OpenCV axes.
        solid: tells which points, given by their faces and barycentric weights, aren't cut out; None: all.
    """
    covered = np.zeros((intrinsics.height, intrinsics.width), dtype=bool)
    cut, left = _in_front(np.asarray(vertices, dtype=np.float64), faces, world_from_camera)
    if left is not faces:
        # What is cut has other faces; so near before a camera, holes count as solid.
        solid = None
    vertices, faces = cut, left
    xy, depth = project(vertices, intrinsics, world_from_camera)
    corners = xy[faces]
    low = np.maximum(np.ceil(corners.min(axis=1)), 0).astype(np.int64)
    high = np.floor(corners.max(axis=1)).astype(np.int64)
    high = np.minimum(high, [intrinsics.width - 1, intrinsics.height - 1])
    spans = high - low + 1
    wanted = (spans > 0).all(axis=1)
    corners, low, spans = corners[wanted], low[wanted], spans[wanted]
    face_of, depths = np.flatnonzero(wanted), depth[faces[wanted]]
    counts = spans.prod(axis=1)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
        part = slice(start, stop)
        triangle = np.repeat(np.arange(start, stop), counts[part])
        offset = np.arange(len(triangle)) - np.repeat(ends[part] - counts[part] - before, counts[part])
        x = low[triangle, 0] + offset % spans[triangle, 0]
        y = low[triangle, 1] + offset // spans[triangle, 0]
        points = np.stack([x, y], axis=-1).astype(np.float64)
        inside = _inside(corners[triangle], points)
        if solid is not None:
            hit = triangle[inside]
            weights = _perspective_weights(corners[hit], depths[hit], points[inside])
            inside[inside] = solid(face_of[hit], weights)
        covered[y[inside], x[inside]] = True
        start = stop
    return covered


def _in_front(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, "_ 3"], Integer[np.ndarray, "_ 3"]]:
    """The mesh cut at `NEAR_CLIP` before the camera, where any of it is nearer."""
    position, forward = world_from_camera[:3, 3], world_from_camera[:3, 2]
    if ((vertices - position) @ forward >= NEAR_CLIP).all():
        return vertices, faces
    cut, left, _ = trimesh.intersections.slice_faces_plane(
        vertices, faces, forward, position + NEAR_CLIP * forward
    )
    return cut, left


def judge(
    labels: Integer[np.ndarray, "views height width"],
    silhouettes: Bool[np.ndarray, "views objects height width"],
) -> Sightings:
    """Count what is seen of each object.

    Args:
        labels: 0 for the background, i for object i.
        silhouettes: of object i at index i - 1.
    """
    objects = silhouettes.shape[1]
    pixels = count_pixels(labels, objects)
    # The union keeps the share at most 1 where the two rasterisers differ by a pixel on an edge.
    visible = labels[:, None] == np.arange(1, objects + 1)[:, None, None]
    whole = (silhouettes | visible).sum(axis=(2, 3))
    return Sightings(pixels, np.where(whole > 0, pixels / np.maximum(whole, 1), 0.0))


def count_pixels(
    labels: Integer[np.ndarray, "views height width"], objects: int
) -> Int[np.ndarray, "views objects"]:
    """Visible pixels of every object in every view."""
    return np.stack([np.bincount(view.ravel(), minlength=objects + 1)[1 : objects + 1] for view in labels])


def _perspective_weights(
    corners: Float[np.ndarray, "n 3 2"], depths: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 3"]:
    """Barycentric weights on triangles in space, of points on their images: bᵢ/zᵢ, made to add up to 1."""
    areas = np.stack(
        [_cross(corners[:, (i + 1) % 3] - points, corners[:, (i + 2) % 3] - points) for i in range(3)],
        axis=1,
    )
    weights = areas / depths
    total = weights.sum(axis=1, keepdims=True)
    # a triangle seen edge-on has no area; any of its points will do
    shares: np.ndarray = np.where(total != 0, weights / np.where(total != 0, total, 1.0), 1 / 3)
    return shares


def _cross(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    product: np.ndarray = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return product


def _inside(corners: Float[np.ndarray, "n 3 2"], points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Does each triangle, of either winding, hold its point?"""
    sides = [_cross(corners[:, (i + 1) % 3] - corners[:, i], points - corners[:, i]) for i in range(3)]
    positive = np.all([side >= 0 for side in sides], axis=0)
    negative = np.all([side <= 0 for side in sides], axis=0)
    within: np.ndarray = positive | negative
    return within
