"""Wall coverings painted by code: plain paint, plaster, wallpapers, panelling."""

import zlib

import numpy as np
from jaxtyping import UInt8

from generation.assets.floors import FloorFamily, Parameters
from generation.assets.tiling import Picture, Plane, as_image, colours, fractal, grains, tile_grid, toned
from objnerf.errors import InputError

WallFamily = FloorFamily


def plan_wall(family: str, variant: int) -> Parameters:
    """Parameters of the `variant`-th wall of a family; every one is different."""
    kind = WALL_FAMILIES[family]
    palette = kind.palettes[variant % len(kind.palettes)]
    count = kind.counts[(variant + variant // len(kind.palettes)) % len(kind.counts)]
    return {"palette": palette, "count": count, "seed": zlib.crc32(f"wall/{family}/{variant}".encode())}


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


WALL_FAMILIES: dict[str, WallFamily] = {
    "paint": WallFamily(
        _paint,
        ("e6dfd0", "ccd6db", "d6c2a8", "b3c7b3", "dbbdb8", "9fb3cc", "e0d19e", "8f999e", "b88575", "859e94"),
        (1,),
        8.0,
    ),
}
