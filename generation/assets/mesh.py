"""The mesh that every shape source delivers and the renderer consumes.

Frame of a shape: right-handed, z up, standing on z = 0, the centre of its bounding box on the z axis,
the front of furniture towards -y. Its bounding-box diagonal is 1, so that a placement's scale is the
diagonal in world units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import ConvexHull, QhullError

SMOOTH_ANGLE_DEG = 40.0
"""Edges whose faces meet at less than this angle are meant to look round: shade smooth below, sharp above."""


ROLES = ("wood", "metal", "fabric", "accent", "linen", "plastic", "paint", "shade")
"""What parts of procedural shapes are made of: the renderer chooses a material for each. 'accent'
is a fabric that contrasts with 'fabric'; 'linen' is bedding, light; 'paint' is a painted surface, also of
ceramics; 'shade' is a lampshade, light. Parts of one role in one shape look the same."""


Wrap = Literal["repeat", "mirror", "clamp"]
"""What lies beyond the edge of an image: the image again, its mirror image, or its last row or column."""


@dataclass(frozen=True, eq=False)
class PartMaterial:
    """What a part of a shape is made of. All but the role is for 'own'; images only where the mesh has `uv`.

    Attributes:
        role: one of ROLES, or 'own': the asset brings its own look.
        colour: sRGB in [0, 1].
        image: sRGB texture; it takes the place of `colour`.
        cutout: where the texture is solid, pixel by pixel of `image`; None: everywhere.
        wrap: how all images go on along u and along v.
        roughness: 0 is a mirror.
        metallic: 0 or 1, or a mixture.
        metallic_roughness: roughness and metalness in 255ths, pixel by pixel, in place of both numbers.
        emission: light of its own, linear RGB; 1 looks like white paper in full light.
        emission_image: sRGB texture that multiplies `emission`.
    """

    role: str
    colour: tuple[float, float, float] | None = None
    image: UInt8[np.ndarray, "height width 3"] | None = None
    cutout: Bool[np.ndarray, "height width"] | None = None
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    roughness: float = 0.5
    metallic: float = 0.0
    metallic_roughness: UInt8[np.ndarray, "rough_height rough_width 2"] | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emission_image: UInt8[np.ndarray, "emission_height emission_width 3"] | None = None

    @property
    def textured(self) -> bool:
        """Whether it has any image."""
        return any(image is not None for image in (self.image, self.metallic_roughness, self.emission_image))


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
        normals: shading normals a face corner; zero, or None for all: by the angle, see SMOOTH_ANGLE_DEG.
        colours: linear RGB a face corner that multiplies what `materials` say, or None.
        notes: what its file says and the mesh doesn't show, a short phrase each.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    part_of_face: Int[np.ndarray, " faces"]
    materials: tuple[PartMaterial, ...]
    uv: Float[np.ndarray, "faces 3 2"] | None = None
    diagonal: float = 1.0
    normals: Float[np.ndarray, "faces 3 3"] | None = None
    colours: Float[np.ndarray, "faces 3 3"] | None = None
    notes: tuple[str, ...] = ()

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
