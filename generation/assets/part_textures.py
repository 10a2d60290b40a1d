"""Surface textures of furniture made by code: wood with grain, woven and patterned fabric, brushed paint.

A texture varies about a colour and keeps it on average, so that an object's colour stays what was drawn. It
is laid on by `box_uv`, with its grain along the length of each part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from generation.assets.mesh import ShapeMesh
from generation.assets.tiling import (
    Colour,
    Plane,
    as_image,
    fractal,
    grains,
    noise,
    tile_grid,
    to_edge,
    toned,
)

TextureKind = Literal["wood", "weave", "stripes", "check", "brushed"]

#: Successive multiples of the golden ratio and of its square, modulo 1, spread evenly.
_OFFSETS = np.array([0.6180339887, 0.3819660113])


@dataclass(frozen=True)
class _Texture:
    """How a texture is painted.

    Attributes:
        tone: relative lightness at u, v; its grain or its threads run along u.
        tile_size: side of a tile in world units.
    """

    tone: Callable[[Plane, Plane, np.random.Generator], Plane]
    tile_size: float


def paint_texture(
    texture: TextureKind, colour: tuple[float, float, float], seed: int, size: int = 256
) -> UInt8[np.ndarray, "size size 3"]:
    """Tileable sRGB image, `size` pixels a side, whose mean is `colour` (sRGB).

    Near white and near black there is less room for contrast, and a texture has less of it.

    Args:
        texture: its kind.
        colour: sRGB in [0, 1].
        seed: of the pattern.
        size: pixels a side.
    """
    rng = np.random.default_rng(seed)
    tone = _TEXTURES[texture].tone(*tile_grid(size), rng)
    tone = tone - tone.mean()
    base: Colour = np.array(colour, dtype=np.float64)
    headroom = 1 / max(float(base.max()), 1e-6) - 1
    return as_image(toned(base, tone * min(1.0, headroom / float(tone.max()), 1 / float(-tone.min()))))


def tile_size(texture: TextureKind) -> float:
    """Side of a texture's tile in world units."""
    return _TEXTURES[texture].tile_size


def box_uv(mesh: ShapeMesh) -> Float[np.ndarray, "faces 3 2"]:
    """Texture coordinates by box projection, u along the longest side of each part.

    Each face is projected along the axis nearest to its normal. Units are the mesh's; a triangle keeps its
    size up to the tilt against its axis (a factor of at least 1/sqrt(3) of its area).
    """
    corners = mesh.vertices[mesh.faces]
    normals = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    facing = normals.argmax(axis=1)
    parts = len(mesh.materials)
    low, high = np.full((parts, 3), np.inf), np.full((parts, 3), -np.inf)
    np.minimum.at(low, mesh.part_of_face, corners.min(axis=1))
    np.maximum.at(high, mesh.part_of_face, corners.max(axis=1))
    # A part without faces has no longest side, and nobody asks for it.
    grain = np.where(np.isfinite(high), high - low, 0.0).argmax(axis=1)[mesh.part_of_face]
    along = np.where(grain == facing, (facing + 1) % 3, grain)
    across = 3 - facing - along
    axes = np.stack([along, across], axis=-1)[:, None]
    uv: np.ndarray = np.take_along_axis(corners, axes, axis=2)
    return uv


def part_offset(part: int) -> Float[np.ndarray, "2"]:
    """Where in a tile a part begins: no two parts show the same piece of wood."""
    offset: np.ndarray = (part * _OFFSETS) % 1.0
    return offset


def _wood(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Long streaks of growth rings that wander, and fine dark pores."""
    wander = 0.03 * noise(u, v, (2, 3), rng)
    rings = fractal(u, v + wander, (1, 10), rng, octaves=3, gain=0.7)
    pores = np.maximum(noise(u, v, (6, 64), rng), 0)
    return 0.45 * rings - 0.2 * pores + 0.1 * noise(u, v, (1, 2), rng)


def _weave(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Threads of slightly different tones, over and under each other."""
    threads = noise(u, v, (3, 24), rng) + noise(u, v, (24, 3), rng)
    return 0.16 * threads + 0.12 * grains(len(u), 32, rng)


def _stripes(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Stripes along u, wide and narrow in turn."""
    count = int(rng.integers(3, 6))
    contrast = float(rng.uniform(0.35, 0.6))
    width = float(rng.uniform(0.15, 0.3))
    band = np.clip((width - to_edge(v * count)) / 0.04 + 0.5, 0, 1)
    return contrast * band + 0.08 * grains(len(u), 48, rng)


def _check(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Light bands both ways, lightest where they cross."""
    count = int(rng.integers(2, 5))
    contrast = float(rng.uniform(0.2, 0.35))
    bands = sum(np.clip((0.25 - to_edge(x * count)) / 0.04 + 0.5, 0, 1) for x in (u, v))
    return contrast * bands + 0.08 * grains(len(u), 48, rng)


def _brushed(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """Traces of the brush, and paint that is thicker here than there."""
    return 0.1 * fractal(u, v, (2, 24), rng, octaves=3) + 0.12 * fractal(u, v, (2, 2), rng)


_TEXTURES: dict[TextureKind, _Texture] = {
    "wood": _Texture(_wood, 2.5),
    "weave": _Texture(_weave, 1.5),
    "stripes": _Texture(_stripes, 1.6),
    "check": _Texture(_check, 1.6),
    "brushed": _Texture(_brushed, 2.5),
}
