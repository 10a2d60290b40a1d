"""Wall coverings painted by code: plain paint, plaster, wallpapers, panelling."""

import numpy as np
from jaxtyping import UInt8

from generation.assets.floors import FloorFamily, Parameters
from generation.assets.tiling import (
    Picture,
    Plane,
    as_image,
    colours,
    fractal,
    grains,
    joint,
    mix,
    per_cell,
    tile_grid,
    to_edge,
    toned,
)
from objnerf.errors import InputError

WallFamily = FloorFamily


def paint_wall(family: str, params: Parameters, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Tileable sRGB image.

    Raises:
        InputError: unknown family or parameters.
    """
    if family not in WALL_FAMILIES:
        raise InputError(f"unknown wall family {family!r}; there are: {', '.join(WALL_FAMILIES)}.")
    u, v = tile_grid(size)
    rng = np.random.default_rng(int(params["seed"]))
    return as_image(WALL_FAMILIES[family].paint(u, v, str(params["palette"]), int(params["count"]), rng))


def _paint(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    (base,) = colours(palette)
    return toned(base, 0.012 * grains(len(u), 256, rng) + 0.015 * fractal(u, v, (2, 2), rng))


def _plaster(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    base, patch = colours(palette)
    clouds = fractal(u, v, (3, 3), rng, octaves=5, gain=0.6)
    return toned(mix(base, patch, 0.5 + 1.1 * clouds), 0.03 * grains(len(u), 256, rng))


def _stripes(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Upright stripes: broad, with a fine line in each."""
    light, dark, line = colours(palette)
    band = (np.floor(u * 2 * count) % 2).astype(np.float64)
    picture = mix(light, dark, band)
    picture = mix(picture, line, joint(to_edge(u * 2 * count), 0.1, 0.03))
    return toned(picture, 0.02 * grains(len(u), 256, rng))


def _dots(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    ground, dot = colours(palette)
    x, y = u * count, v * count
    x = x + 0.5 * (np.floor(y) % 2)
    radius = np.hypot(x - np.floor(x) - 0.5, y - np.floor(y) - 0.5)
    return toned(mix(ground, dot, np.clip((0.2 - radius) / 0.04, 0, 1)), 0.02 * grains(len(u), 256, rng))


def _leaves(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Damask: mirrored leaves in staggered rows."""
    ground, leaf = colours(palette)
    x, y = u * count, v * count
    row = np.floor(y)
    x = x + 0.5 * (row % 2)
    across, up = np.abs(x - np.floor(x) - 0.5), y - row - 0.5
    angle, radius = np.arctan2(across, up), np.hypot(across, up)
    bloom = radius * (1 + 0.35 * np.cos(5 * angle) + 0.15 * np.cos(11 * angle))
    stem = across * (1 + 2 * np.abs(up))
    shape = np.minimum(np.abs(bloom - 0.3) - 0.05, np.minimum(bloom - 0.14, stem - 0.03))
    return toned(mix(ground, leaf, np.clip(-shape / 0.03, 0, 1)), 0.02 * grains(len(u), 256, rng))


def _panelling(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Painted panels: a raised frame lit from above on each."""
    (base,) = colours(palette)
    x, y = u * count - np.floor(u * count), v * count - np.floor(v * count)
    tone = np.zeros_like(u)
    for coordinate, sign in ((x, 1.0), (y, 1.0)):
        inside = (np.abs(x - 0.5) < 0.42) & (np.abs(y - 0.5) < 0.42)
        tone += inside * sign * 0.16 * joint(coordinate - 0.1, 0.035, 0.02)
        tone -= inside * sign * 0.22 * joint(coordinate - 0.9, 0.035, 0.02)
    return toned(base, tone + 0.01 * grains(len(u), 256, rng))


def _boards(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Upright boards with grooves."""
    wood, groove = colours(palette)
    board = np.floor(u * count).astype(np.int64)
    shift = per_cell(board, rng, count)
    grain = fractal(u + shift, v + shift, (48, 3), rng, octaves=3)
    picture = toned(wood, 0.08 * shift + 0.06 * grain)
    return mix(picture, groove, 0.8 * joint(to_edge(u * count), 0.07, 0.03))


def _subway(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    tile, grout = colours(palette)
    row = np.floor(v * 2 * count).astype(np.int64)
    x = u * count + 0.5 * (row % 2)
    cell = row * count + np.floor(x).astype(np.int64) % count
    picture = toned(tile, 0.05 * per_cell(cell, rng, 2 * count * count))
    return mix(picture, grout, joint(np.minimum(to_edge(x), 0.5 * to_edge(v * 2 * count)), 0.05, 0.02))


WALL_FAMILIES: dict[str, WallFamily] = {
    "paint": WallFamily(
        _paint,
        ("e6dfd0", "ccd6db", "d6c2a8", "b3c7b3", "dbbdb8", "9fb3cc", "e0d19e", "8f999e", "b88575", "859e94"),
        (1,),
        8.0,
    ),
    "plaster": WallFamily(
        _plaster, ("e0d6c4-cdbfa6", "b9c2c0-a3aeac", "d8a88a-c08a6a", "c4c0d0-aaa6b8"), (1,), 7.0
    ),
    "stripes": WallFamily(
        _stripes, ("ece6da-d2c8b4-b0a080", "dfe6ea-a9bccb-6f88a0", "eedfdc-d6a8a4-a86a6a"), (8, 6), 6.0
    ),
    "panelling": WallFamily(_panelling, ("e4e0d6", "8a9a92", "4f5d6e", "c8b4a0"), (4, 3), 7.0),
    "dots": WallFamily(_dots, ("e9e3d3-c9a56a", "3f5568-d9d2c0", "d9e2d6-7f9c86"), (10, 8), 6.0),
    "leaves": WallFamily(_leaves, ("d8cfb8-b5a684", "34504a-5f7f70", "c9a8a4-a87a78"), (6, 4), 6.0),
    "boards": WallFamily(_boards, ("c9a878-6a4a2c", "e6e4dc-a8a69c", "6a7f88-3c4a50"), (12, 9), 6.0),
    "subway": WallFamily(_subway, ("f0efea-b8b6ae", "3f6a60-c9cfc6", "2f3f5c-b4bcc8"), (8, 6), 5.0),
}
