"""The mesh that every shape source delivers and the renderer consumes.

Frame of a shape: right-handed, z up, standing on z = 0, the centre of its bounding box on the z axis,
the front of furniture towards -y. Its bounding-box diagonal is 1, so that a placement's scale is the
diagonal in world units.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial import ConvexHull, QhullError

SMOOTH_ANGLE_DEG = 40.0
"""Edges whose faces meet at less than this angle are meant to look round: shade smooth below, sharp above."""


ROLES = ("wood", "metal", "fabric", "accent", "linen", "plastic", "paint", "shade")
"""What parts of procedural shapes are made of: the renderer chooses a colour and a finish for each. 'accent'
is a fabric that contrasts with 'fabric'; 'linen' is bedding, light; 'paint' is a painted surface, also of
ceramics; 'shade' is a lampshade, light. Parts of one role in one shape look the same."""


@dataclass(frozen=True, eq=False)
class PartMaterial:
    """What a part of a shape is made of.

    Attributes:
        role: one of ROLES, or 'own': the asset brings its own look in `colour` and `image`.
        colour: sRGB in [0, 1], only for 'own'.
        image: sRGB texture, height × width × 3, only for 'own' and only where the mesh has `uv`.
    """

    role: str
    colour: tuple[float, float, float] | None = None
    image: UInt8[np.ndarray, "height width 3"] | None = None


@dataclass(frozen=True, eq=False)
class ShapeMesh:
    """Triangles in the frame of a shape (see the module's text).

    Attributes:
        vertices: positions, diagonal-1 units.
        faces: vertex indices, counter-clockwise from outside.
        part_of_face: index into `materials`, a face.
        materials: one a part; several parts may have the same role.
        uv: texture coordinates a face corner (v upwards), or None.
        diagonal: the bounding box's before it became 1, in the unit of the source (procedural: centimetres).
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    part_of_face: Int[np.ndarray, " faces"]
    materials: tuple[PartMaterial, ...]
    uv: Float[np.ndarray, "faces 3 2"] | None = None
    diagonal: float = 1.0

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of each part."""
        return tuple(material.role for material in self.materials)

    @property
    def size(self) -> Float[np.ndarray, "3"]:
        """Extent of the bounding box along x, y, z."""
        size: np.ndarray = np.ptp(self.vertices, axis=0)
        return size

    def footprint(self) -> Float[np.ndarray, "corners 2"]:
        """Convex hull of the shape seen from above, counter-clockwise."""
        return convex_footprint(self.vertices)


@dataclass(frozen=True, eq=False)
class Extent:
    """What placement needs of a shape, without its triangles (diagonal-1 units).

    Attributes:
        size: bounding box along x, y, z.
        footprint: convex hull in x, y, counter-clockwise.
        diagonal: the bounding box's before it became 1, in the unit of the source.
    """

    size: Float[np.ndarray, "3"]
    footprint: Float[np.ndarray, "corners 2"]
    diagonal: float = 1.0


def convex_footprint(vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "corners 2"]:
    """Convex hull of points projected on the ground, counter-clockwise.

    Raises:
        ValueError: the points have no area seen from above.
    """
    ground = vertices[:, :2]
    try:
        hull = ConvexHull(ground)
    except (QhullError, ValueError) as error:
        raise ValueError("the shape has no area seen from above") from error
    corners: np.ndarray = ground[hull.vertices]
    return corners


def bounding_diagonal(vertices: Float[np.ndarray, "vertices 3"]) -> float:
    """Diagonal of the bounding box."""
    return float(np.linalg.norm(np.ptp(vertices, axis=0)))


def normalised(vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Move and scale points into the frame of a shape: on z = 0, centred in x and y, diagonal 1.

    Rounded to 1e-7, so that the last bits of a machine's sine don't travel into plans.

    Raises:
        ValueError: the points are not finite, or all the same.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    diagonal = float(np.linalg.norm(high - low))
    if not np.isfinite(diagonal) or diagonal <= 0:
        raise ValueError(f"the bounding box has diagonal {diagonal}, expected a positive, finite number")
    anchor = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    placed: np.ndarray = np.round((vertices - anchor) / diagonal, 7)
    placed[:, 2] -= placed[:, 2].min()
    return placed
