"""Meshes of files in another colour: their own pattern of light and dark parts, in a hue that is given."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from generation.assets.mesh import PartMaterial, ShapeMesh
from generation.srgb import linear_from_srgb, srgb_from_linear

#: Luminance of linear sRGB (IEC 61966-2-1).
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

#: A part is at most so much lighter than the mean, or a few light spots would be all that is not black.
_LIGHTEST = 2.5


def recoloured(mesh: ShapeMesh, colour: tuple[float, float, float]) -> ShapeMesh:
    """The mesh with the parts that bring their own look in shades of one colour.

    A spot of linear luminance Y gets the linear colour c min(Y / mean Y, 2.5), where c is the given one and
    the mean is taken over the surface: parts that were darker stay darker, textures stay visible, and the
    whole has the given colour on average. A mesh of one colour gets just that colour.

    Args:
        mesh: with colours and images in sRGB.
        colour: sRGB in [0, 1].
    """
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    shares = np.bincount(mesh.part_of_face, weights=areas, minlength=len(mesh.materials))
    own = np.array([part.role == "own" for part in mesh.materials])
    if not own.any():
        return mesh
    luminances = [_luminance(part) if part.role == "own" else None for part in mesh.materials]
    means = np.array([0.0 if values is None else float(values.mean()) for values in luminances])
    weights = np.where(own, shares, 0.0)
    mean = float(weights @ means / weights.sum())
    if mean <= 0:
        # All black: nothing to go by.
        luminances, mean = [values if values is None else np.ones_like(values) for values in luminances], 1.0
    target = linear_from_srgb(np.array(colour))
    materials = tuple(
        part if values is None else _tinted(part, np.asarray(values / mean), target)
        for part, values in zip(mesh.materials, luminances, strict=True)
    )
    return replace(mesh, materials=materials, colours=_greyed(mesh, areas))


def _greyed(mesh: ShapeMesh, areas: Float[np.ndarray, " faces"]) -> Float[np.ndarray, "faces 3 3"] | None:
    """Colours of the mesh's corners as light and dark, 1 on average over the surface."""
    if mesh.colours is None:
        return None
    lightness = mesh.colours @ _LUMINANCE
    mean = float(areas @ lightness.mean(axis=1) / areas.sum())
    shares = np.minimum(lightness / mean, _LIGHTEST) if mean > 0 else np.ones_like(lightness)
    return np.repeat(shares[..., None], 3, axis=2)


def _luminance(part: PartMaterial) -> Float[np.ndarray, "*pixels"]:
    """Linear luminance of a part: of every pixel of its image, or one number."""
    if part.image is not None:
        values: np.ndarray = linear_from_srgb(part.image / 255.0) @ _LUMINANCE
        return values
    return np.asarray(linear_from_srgb(np.array(part.colour or (0.8, 0.8, 0.8))) @ _LUMINANCE)


def _tinted(
    part: PartMaterial, lightness: Float[np.ndarray, "*pixels"], target: Float[np.ndarray, "3"]
) -> PartMaterial:
    srgb = srgb_from_linear(np.minimum(lightness, _LIGHTEST)[..., None] * target)
    if part.image is not None:
        return replace(part, image=np.rint(srgb * 255).astype(np.uint8))
    red, green, blue = srgb.tolist()
    return replace(part, colour=(red, green, blue))
