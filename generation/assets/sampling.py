"""What a point on a shape's surface looks like, without a renderer."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from generation.assets.mesh import ShapeMesh, Wrap
from generation.srgb import linear_from_srgb, srgb_from_linear


def is_solid(
    mesh: ShapeMesh, face: Int[np.ndarray, " points"], weights: Float[np.ndarray, "points 3"]
) -> Bool[np.ndarray, " points"]:
    """Whether points lie on the surface, and not where its texture is cut out.

    Args:
        mesh: the shape.
        face: of each point.
        weights: of the face's corners, barycentric.
    """
    solid = np.ones(len(face), dtype=bool)
    if mesh.uv is None:
        return solid
    for part, material in enumerate(mesh.materials):
        if material.cutout is not None:
            mine = mesh.part_of_face[face] == part
            uv = np.einsum("pc,pcd->pd", weights[mine], mesh.uv[face[mine]])
            solid[mine] = texels(material.cutout, uv, material.wrap)
    return solid


def surface_colours(
    mesh: ShapeMesh,
    face: Int[np.ndarray, " points"],
    weights: Float[np.ndarray, "points 3"],
    colours: list[tuple[float, float, float]],
) -> Float[np.ndarray, "points 3"]:
    """sRGB of points, without light: texture or colour of the part, times colours of the mesh.

    Args:
        mesh: the shape.
        face: of each point.
        weights: of the face's corners, barycentric.
        colours: sRGB in [0, 1], one a part, for parts without a look of their own.
    """
    plain = np.array(
        [material.colour or colour for material, colour in zip(mesh.materials, colours, strict=True)]
    )
    shades: np.ndarray = plain[mesh.part_of_face[face]]
    for part, material in enumerate(mesh.materials):
        if material.image is not None and mesh.uv is not None:
            mine = mesh.part_of_face[face] == part
            uv = np.einsum("pc,pcd->pd", weights[mine], mesh.uv[face[mine]])
            shades[mine] = texels(material.image, uv, material.wrap) / 255
    if mesh.colours is None:
        return shades
    corner = np.einsum("pc,pcd->pd", weights, mesh.colours[face])
    return srgb_from_linear(linear_from_srgb(shades) * corner)


def texels(
    image: UInt8[np.ndarray, "height width channels"] | Bool[np.ndarray, "height width"],
    uv: Float[np.ndarray, "points 2"],
    wrap: tuple[Wrap, Wrap],
) -> np.ndarray:
    """Nearest pixels at texture coordinates (v upwards)."""
    height, width = image.shape[:2]
    column = np.floor(_wrapped(uv[:, 0], wrap[0]) * width).astype(np.int64)
    row = np.floor((1 - _wrapped(uv[:, 1], wrap[1])) * height).astype(np.int64)
    picked: np.ndarray = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return picked


def _wrapped(coordinate: Float[np.ndarray, " points"], how: Wrap) -> Float[np.ndarray, " points"]:
    """A coordinate inside [0, 1] that shows the same."""
    if how == "clamp":
        return np.clip(coordinate, 0.0, 1.0)
    if how == "mirror":
        return 1.0 - np.abs(coordinate % 2.0 - 1.0)
    wrapped: np.ndarray = coordinate % 1.0
    return wrapped
