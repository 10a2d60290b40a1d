"""Closed solids that furniture is put together from.

Every function returns a `Part`: a closed surface with outward normals. Lengths are whatever the family works
in (centimetres, mostly); `assemble` brings the whole into the frame of a shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import mapbox_earcut
import numpy as np
from jaxtyping import Float, Int
from shapely.geometry import Polygon
from shapely.geometry.polygon import orient

from generation.assets.mesh import PartMaterial, ShapeMesh, bounding_diagonal, normalised

Number = float | int
Vector = Sequence[Number] | Float[np.ndarray, "3"]


@dataclass(frozen=True, eq=False)
class Part:
    """A closed surface with outward normals and what it is made of."""

    role: str
    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]

    def moved(self, x: Number = 0.0, y: Number = 0.0, z: Number = 0.0) -> "Part":
        """Translated."""
        return Part(self.role, self.vertices + np.array([x, y, z]), self.faces)

    def turned(self, axis: str, degrees: Number, about: Vector = (0.0, 0.0, 0.0)) -> "Part":
        """Rotated about a world axis ('x', 'y' or 'z') through the point `about`, counter-clockwise."""
        angle = np.deg2rad(degrees)
        cosine, sine = np.cos(angle), np.sin(angle)
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        rotation = np.eye(3)
        rotation[first, first] = rotation[second, second] = cosine
        rotation[first, second], rotation[second, first] = -sine, sine
        centre = np.asarray(about, dtype=np.float64)
        return Part(self.role, (self.vertices - centre) @ rotation.T + centre, self.faces)

    def mirrored(self, axis: str) -> "Part":
        """Reflected in the plane through the origin across 'x' or 'y'; the normals stay outward."""
        vertices = self.vertices.copy()
        vertices[:, "xyz".index(axis)] *= -1
        return Part(self.role, vertices, self.faces[:, ::-1])


def assemble(parts: Sequence[Part]) -> ShapeMesh:
    """Put parts together and bring the whole into the frame of a shape. Parts may run into each other."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    return ShapeMesh(
        vertices=normalised(vertices),
        faces=np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        part_of_face=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        materials=tuple(PartMaterial(part.role) for part in parts),
        diagonal=bounding_diagonal(vertices),
    )


def box(role: str, centre: Vector, size: Vector, bevel: Number = 0.0) -> Part:
    """Axis-aligned box; its edges are broken by `bevel`."""
    return cushion(role, centre, size, bevel, crown=0.0, segments=1, cells=1)


def cushion(
    role: str,
    centre: Vector,
    size: Vector,
    radius: Number,
    crown: Number = 0.0,
    segments: int = 2,
    cells: int = 5,
) -> Part:
    """Box with round edges, whose top and bottom swell by `crown` in the middle.

    Args:
        role: what it is made of.
        centre: of the box.
        size: of the box, without the crown.
        radius: of the edges; limited to just under half of the smallest side.
        crown: how far the middle of the top stands above its edges; the bottom swells by a third of it.
        segments: steps of the round edge over 45°.
        cells: subdivisions of the flat part, for the crown.
    """
    half = np.asarray(size, dtype=np.float64) / 2
    radius = min(radius, 0.49 * 2 * float(half.min()))
    if radius <= 0:
        segments, radius = 1, 1e-3 * float(half.min())
    directions, flat, faces = _rounded_cube(segments, cells)
    vertices = flat * (half - radius) + directions * radius
    if crown:
        unit = np.clip(vertices / half, -1, 1)
        swell = (1 - unit[:, 0] ** 2) * (1 - unit[:, 1] ** 2)
        vertices[:, 2] += np.where(vertices[:, 2] > 0, crown, -crown / 3) * swell * np.abs(unit[:, 2])
    return Part(role, vertices + np.asarray(centre, dtype=np.float64), faces)


@lru_cache(maxsize=32)
def _rounded_cube(
    segments: int, cells: int
) -> tuple[
    Float[np.ndarray, "vertices 3"],
    Float[np.ndarray, "vertices 3"],
    Int[np.ndarray, "faces 3"],
]:
    """Surface of a cube of m³ cells, m = 2 segments + cells: round direction, flat position and faces."""
    m = 2 * segments + cells
    u, v = (axis.ravel() for axis in np.meshgrid(np.arange(m + 1), np.arange(m + 1), indexing="ij"))
    corners: list[np.ndarray] = []
    quads: list[np.ndarray] = []
    grid = np.arange((m + 1) ** 2).reshape(m + 1, m + 1)
    cell = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=-1).reshape(-1, 4)
    for axis in range(3):
        for side in (0, m):
            face = np.empty(((m + 1) ** 2, 3), dtype=np.int64)
            face[:, axis] = side
            face[:, (axis + 1) % 3], face[:, (axis + 2) % 3] = u, v
            quads.append((cell if side else cell[:, ::-1]) + len(corners) * (m + 1) ** 2)
            corners.append(face)
    index, inverse = np.unique(np.concatenate(corners), axis=0, return_inverse=True)
    quad = inverse.reshape(-1)[np.concatenate(quads)]
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    # before `segments` the index walks along the edge's arc, after it along the flat part
    arc = np.where(
        index < segments, index - segments, np.where(index > m - segments, index - (m - segments), 0)
    )
    slope = np.tan(arc / segments * np.pi / 4)
    directions = slope / np.linalg.norm(slope, axis=1, keepdims=True)
    flat = np.clip((index - segments) / cells * 2.0 - 1.0, -1, 1)
    for array in (directions, flat, faces):
        array.setflags(write=False)
    return directions, flat, faces


def loft(role: str, rings: Float[np.ndarray, "rings points 3"]) -> Part:
    """Skin over rings of equally many points, closed by a fan at both ends.

    Args:
        role: what it is made of.
        rings: from bottom to top, each counter-clockwise seen from the top. End rings must be star-shaped
            about their mean. An end ring that is a single point makes a tip.
    """
    count, points = rings.shape[:2]
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    here = np.arange(points)
    following = np.roll(here, -1)
    row = np.arange(count - 1)[:, None] * points
    lower, upper = row + here, row + points + here
    lower_next, upper_next = row + following, row + points + following
    bottom, top = count * points, count * points + 1
    last = (count - 1) * points
    faces = [
        np.stack([lower, lower_next, upper_next], axis=-1).reshape(-1, 3),
        np.stack([lower, upper_next, upper], axis=-1).reshape(-1, 3),
        np.stack([following, here, np.full(points, bottom)], axis=-1),
        np.stack([last + here, last + following, np.full(points, top)], axis=-1),
    ]
    tips = np.ptp(rings, axis=1).max(axis=1) <= 0
    repeated = (rings[1:] == rings[:-1]).all(axis=(1, 2))
    if tips.any() or repeated.any():
        return _welded(role, vertices, np.concatenate(faces))
    return Part(role, vertices, np.concatenate(faces))


def _welded(role: str, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> Part:
    """Join vertices at the same place and leave out the triangles that this flattens."""
    scale = max(float(np.ptp(vertices, axis=0).max()), 1e-12)
    _, first, inverse = np.unique(
        np.round(vertices / scale, 9), axis=0, return_index=True, return_inverse=True
    )
    faces = inverse.reshape(-1)[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Part(role, vertices[first], faces[whole])


def frustum(
    role: str,
    start: Vector,
    end: Vector,
    start_radius: Number,
    end_radius: Number | None = None,
    sides: int = 16,
) -> Part:
    """Round bar from `start` to `end`, tapering from one radius to the other."""
    radii = [start_radius, start_radius if end_radius is None else end_radius]
    return tube(role, np.array([start, end], dtype=np.float64), radii, sides)


def beam(
    role: str,
    start: Vector,
    end: Vector,
    start_size: tuple[Number, Number],
    end_size: tuple[Number, Number] | None = None,
) -> Part:
    """Rectangular bar from `start` to `end`.

    Args:
        role: what it is made of.
        start: middle of one end.
        end: middle of the other end.
        start_size: for a bar that mostly stands, its width along x and depth along y; for one that mostly
            lies, its horizontal width and its height.
        end_size: the same at `end`; None for no taper.
    """
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    along = last - first
    if abs(along[2]) > 0.6 * np.linalg.norm(along):
        # ends stay level, as those of a leg that stands on the floor
        across, other = np.array([1.0, 0.0, 0.0]), np.array([0.0, np.sign(along[2]), 0.0])
    else:
        across = np.cross([0.0, 0.0, 1.0], along)
        across /= np.linalg.norm(across)
        other = np.cross(along, across)
        other /= np.linalg.norm(other)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    rings = []
    for point, (width, depth) in ((first, start_size), (last, end_size or start_size)):
        rings.append(point + corners[:, :1] * width * across + corners[:, 1:] * depth * other)
    return loft(role, np.stack(rings))


def tube(
    role: str,
    path: Float[np.ndarray, "points 3"],
    radius: Number | Sequence[Number] | Float[np.ndarray, " points"],
    sides: int = 10,
    closed: bool = False,
) -> Part:
    """Round bar along a path.

    Args:
        role: what it is made of.
        path: points of the centre line.
        radius: one, or one a point.
        sides: of the cross-section.
        closed: the path is a loop (its first point not repeated): the bar has no ends.
    """
    tangents = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        tangents[0], tangents[-1] = path[1] - path[0], path[-1] - path[-2]
    tangents = tangents / np.linalg.norm(tangents, axis=1, keepdims=True)
    # a frame carried along the path by the smallest turn, so that the bar does not twist
    helper = np.eye(3)[np.argmin(np.abs(tangents[0]))]
    normal = np.cross(tangents[0], helper)
    normals = []
    for tangent in tangents:
        normal = normal - tangent * (normal @ tangent)
        normal = normal / np.linalg.norm(normal)
        normals.append(normal)
    frame = np.stack(normals)
    binormals = np.cross(tangents, frame)
    angles = np.arange(sides) * (2 * np.pi / sides)
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))[:, None, None]
    spokes = np.cos(angles)[:, None] * frame[:, None] + np.sin(angles)[:, None] * binormals[:, None]
    rings = path[:, None] + radii * spokes
    if not closed:
        return loft(role, rings)
    count = len(path)
    # the carried frame comes back turned; the last ring is joined to the first at the nearest of its points
    shift = int(np.argmin(np.linalg.norm(rings[-1] - rings[0][:1], axis=1)))
    here = np.arange(count * sides).reshape(count, sides)
    above = np.roll(here, -1, axis=0)
    above[-1] = np.roll(here[0], shift)
    here_next, above_next = np.roll(here, -1, axis=1), np.roll(above, -1, axis=1)
    faces = np.concatenate(
        [
            np.stack([here, here_next, above_next], axis=-1).reshape(-1, 3),
            np.stack([here, above_next, above], axis=-1).reshape(-1, 3),
        ]
    )
    return Part(role, rings.reshape(-1, 3), faces)


def lathe(
    role: str, profile: Sequence[tuple[Number, Number]], centre: Vector = (0, 0, 0), sides: int = 28
) -> Part:
    """Body turned about a vertical axis.

    Args:
        role: what it is made of.
        profile: (radius, height) from the bottom to the top.
        centre: of the axis at height 0.
        sides: around the axis.
    """
    radius, height = np.array(profile, dtype=np.float64).T
    angles = np.arange(sides) * (2 * np.pi / sides)
    rings = np.empty((len(radius), sides, 3))
    rings[..., 0] = radius[:, None] * np.cos(angles)
    rings[..., 1] = radius[:, None] * np.sin(angles)
    rings[..., 2] = height[:, None]
    return loft(role, rings + np.asarray(centre, dtype=np.float64))


def slab(
    role: str,
    outline: Float[np.ndarray, "points 2"],
    bottom: Number,
    top: Number,
    bevel: Number = 0.0,
    under: Number = 0.0,
) -> Part:
    """Upright prism over an outline, with broken edges.

    Args:
        role: what it is made of.
        outline: counter-clockwise, star-shaped about its mean.
        bottom: height of the lower side.
        top: height of the upper side.
        bevel: width and height of the broken upper edge; the lower is broken half as much.
        under: how much further the lower side is drawn in, as at a table top with a slanted edge.
    """
    edges = np.roll(outline, -1, axis=0) - outline
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    normals = outward + np.roll(outward, 1, axis=0)
    normals /= np.maximum((normals**2).sum(axis=1, keepdims=True) / 2, 0.5)
    if bevel <= 0 and under <= 0:
        levels = [(0.0, bottom), (0.0, top)]
    else:
        levels = [(bevel / 2 + under, bottom), (0.0, bottom + bevel / 2 + under * 0.6)]
        levels += [(0.0, top - bevel), (0.3 * bevel, top - 0.3 * bevel), (bevel, top)]
    rings = [
        np.column_stack([outline - inset * normals, np.full(len(outline), height)])
        for inset, height in levels
    ]
    return loft(role, np.stack(rings))


def panel(role: str, middle: Float[np.ndarray, "rows columns 3"], thickness: Number) -> Part:
    """Curved sheet of a thickness about a grid of points; its front is where rows × columns points."""
    along_rows, along_columns = np.gradient(middle, axis=0), np.gradient(middle, axis=1)
    normals = np.cross(along_rows, along_columns)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    front, back = middle + normals * thickness / 2, middle - normals * thickness / 2
    rows, columns = middle.shape[:2]
    grid = np.arange(rows * columns).reshape(rows, columns)
    first, second, third, fourth = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    sheet = np.concatenate(
        [
            np.stack([first, second, third], axis=-1).reshape(-1, 3),
            np.stack([first, third, fourth], axis=-1).reshape(-1, 3),
        ]
    )
    rim = np.concatenate([grid[:-1, 0], grid[-1, :-1], grid[:0:-1, -1], grid[0, :0:-1]])
    following = np.roll(rim, -1)
    back_of = rows * columns
    walls = np.concatenate(
        [
            np.stack([rim, rim + back_of, following + back_of], axis=-1),
            np.stack([rim, following + back_of, following], axis=-1),
        ]
    )
    faces = np.concatenate([sheet, sheet[:, ::-1] + back_of, walls])
    return Part(role, np.concatenate([front.reshape(-1, 3), back.reshape(-1, 3)]), faces)


def plate(role: str, area: Polygon, bottom: Number, top: Number) -> Part:
    """Upright prism over any polygon, holes included."""
    area = orient(area)
    rings = [np.array(ring.coords)[:-1] for ring in (area.exterior, *area.interiors)]
    points = np.concatenate(rings)
    ends = np.cumsum([len(ring) for ring in rings])
    caps = mapbox_earcut.triangulate_float64(points, ends.astype(np.uint32)).reshape(-1, 3).astype(np.int64)
    a, b, c = (points[caps[:, corner]] for corner in range(3))
    clockwise = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) < (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    caps[clockwise] = caps[clockwise][:, ::-1]
    count = len(points)
    walls = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        here = np.arange(start, end)
        following = np.roll(here, -1)
        walls += [
            np.stack([here, following, following + count], axis=-1),
            np.stack([here, following + count, here + count], axis=-1),
        ]
    vertices = np.concatenate(
        [np.column_stack([points, np.full(count, bottom)]), np.column_stack([points, np.full(count, top)])]
    )
    return Part(role, vertices, np.concatenate([caps[:, ::-1], caps + count, *walls]))


def standing(part: Part) -> Part:
    """Turn a plate made lying (x, y) to stand: its y becomes z, its thickness faces -y."""
    return part.turned("x", 90)


def superellipse(
    width: Number, depth: Number, exponent: Number, points: int = 40
) -> Float[np.ndarray, "points 2"]:
    """Outline between an ellipse (exponent 2) and a rectangle (large), counter-clockwise."""
    angles = np.arange(points) * (2 * np.pi / points) + np.pi / points
    cosine, sine = np.cos(angles), np.sin(angles)
    radius = (np.abs(cosine) ** exponent + np.abs(sine) ** exponent) ** (-1 / exponent)
    return np.column_stack([width / 2 * radius * cosine, depth / 2 * radius * sine])


def rounded_rectangle(
    width: Number, depth: Number, radius: Number, steps: int = 4
) -> Float[np.ndarray, "points 2"]:
    """Outline of a rectangle with round corners, counter-clockwise; radius 0 gives the four corners."""
    if radius <= 0:
        return np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * np.array([width, depth]) / 2
    radius = min(radius, 0.499 * min(width, depth))
    arc = np.linspace(0, np.pi / 2, steps + 1)
    corners = []
    for turn, (x, y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = arc + turn * np.pi / 2
        centre = np.array([x * (width / 2 - radius), y * (depth / 2 - radius)])
        corners.append(centre + radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    return np.concatenate(corners)


def smooth_path(points: Sequence[Vector], steps: int = 6) -> Float[np.ndarray, "fine 3"]:
    """Catmull-Rom curve through points, for bent bars."""
    knots = np.array(points, dtype=np.float64)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            start
            + 0.5 * t * (end - before)
            + t**2 * (before - 2.5 * start + 2 * end - 0.5 * after)
            + t**3 * (1.5 * (start - end) + 0.5 * (after - before))
        )
    return np.concatenate([*pieces, knots[-1:]])
