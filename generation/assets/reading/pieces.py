"""What every reader of mesh files delivers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from generation.assets.mesh import PartMaterial


class UnusableMesh(Exception):
    """A mesh file that can't be used; the message says why, without the file's name."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Triangles of one material, in the file's frame.

    Attributes:
        vertices: positions.
        faces: vertex indices, counter-clockwise from outside.
        material: what they look like.
        uv: texture coordinates a face corner, v upwards; None where the material has no image.
        normals: shading normals a face corner, zero where the file leaves them open; None: all open.
        colours: a face corner, linear RGB in [0, 1]; they multiply the material's colour. None: white.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    material: PartMaterial
    uv: Float[np.ndarray, "faces 3 2"] | None = None
    normals: Float[np.ndarray, "faces 3 3"] | None = None
    colours: Float[np.ndarray, "faces 3 3"] | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """A file, read.

    Attributes:
        pieces: its triangles.
        notes: what the file says and the pieces don't show, a short phrase each.
    """

    pieces: list[Piece]
    notes: tuple[str, ...] = ()


def face_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 3"]:
    """Unit normals; zero for faces without area."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit: np.ndarray = normals / np.where(length > 0, length, 1.0)
    return unit
