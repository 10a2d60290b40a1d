"""Floors painted by code: a family is a painter and the palettes it comes in.

A floor is its family, a palette, a few numbers and a seed. Palettes are chosen so that the variants of one family
differ at a glance even in a picture of 128 pixels.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from generation.assets.tiling import (
    Picture,
    Plane,
    as_image,
    colours,
    fractal,
    grains,
    joint,
    mix,
    noise,
    per_cell,
    tile_grid,
    to_edge,
    toned,
)
from objnerf.errors import InputError

Parameters = dict[str, bool | int | float | str]
Painter = Callable[[Plane, Plane, str, int, np.random.Generator], Picture]


@dataclass(frozen=True)
class FloorFamily:
    """How a kind of floor is painted and what it comes in.

    Attributes:
        paint: from u, v, a palette ('c8a06b-5d3a22'), a count (how fine) and a generator.
        palettes: the looks, in the order in which they are taken.
        counts: how many units lie across a tile, taken in turn.
        tile_size: world units that a tile covers.
    """

    paint: Painter
    palettes: tuple[str, ...]
    counts: tuple[int, ...]
    tile_size: float


def plan_floor(family: str, variant: int) -> Parameters:
    """Parameters of the `variant`-th floor of a family; every one is different."""
    kind = FLOOR_FAMILIES[family]
    palette = kind.palettes[variant % len(kind.palettes)]
    # counts advance once more after each round of palettes, so that the rounds don't repeat
    count = kind.counts[(variant + variant // len(kind.palettes)) % len(kind.counts)]
    return {"palette": palette, "count": count, "seed": zlib.crc32(f"{family}/{variant}".encode())}


def paint_floor(family: str, params: Parameters, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Tileable sRGB image.

    Raises:
        InputError: unknown family or parameters.
    """
    if family not in FLOOR_FAMILIES:
        raise InputError(f"unknown floor family {family!r}; there are: {', '.join(FLOOR_FAMILIES)}.")
    if set(params) != {"palette", "count", "seed"}:
        raise InputError(
            f"floor family {family!r}: expected palette, count and seed, found {sorted(params)}."
        )
    u, v = tile_grid(size)
    rng = np.random.default_rng(int(params["seed"]))
    return as_image(FLOOR_FAMILIES[family].paint(u, v, str(params["palette"]), int(params["count"]), rng))


def _wood(
    along: Plane,
    across: Plane,
    board: Int[np.ndarray, "h w"],
    boards: int,
    base: Picture,
    rng: np.random.Generator,
) -> Picture:
    """Grain that runs along boards; each board has its own tone and its own stretch of grain."""
    shift = per_cell(board, rng, boards) * 7.3
    rings = fractal(along + shift, across + shift * 1.7, (3, 48), rng, octaves=3)
    flame = noise(along + shift, across + shift * 2.3, (2, 9), rng)
    streaks = np.sin(2 * np.pi * (across * 30 + 1.6 * flame))
    tone = 0.11 * per_cell(board, rng, boards) + 0.07 * rings + 0.05 * streaks * np.abs(flame)
    warm = 0.02 * per_cell(board, rng, boards)
    wood = toned(base, tone)
    wood[..., 0] += warm
    wood[..., 2] -= warm
    return wood


def _planks(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    wood, gap = colours(palette)
    row = np.floor(v * count).astype(np.int64)
    start = rng.random(count)
    boards_in_row = 2
    place = u * boards_in_row + start[row]
    board = row * boards_in_row + np.floor(place).astype(np.int64) % boards_in_row
    picture = _wood(u, v, board, count * boards_in_row, np.broadcast_to(wood, (*u.shape, 3)).copy(), rng)
    seams = np.maximum(
        joint(to_edge(v * count) / count, 0.005, 0.003), joint(to_edge(place) / boards_in_row, 0.005, 0.003)
    )
    return mix(picture, gap, 0.85 * seams)


def _checker(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    light, dark = colours(palette)
    column, row = np.floor(u * count).astype(np.int64), np.floor(v * count).astype(np.int64)
    picture = mix(light, dark, ((column + row) % 2).astype(np.float64))
    tone = 0.05 * per_cell(row * count + column, rng, count * count) + 0.06 * fractal(
        u, v, (6, 6), rng, octaves=5
    )
    return toned(picture, tone)


def _concrete(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    base, stain = colours(palette)
    blotches = fractal(u, v, (3, 3), rng, octaves=6, gain=0.6)
    picture = mix(base, stain, 0.5 + 0.9 * blotches)
    pores = grains(len(u), 256, rng) > 0.97
    picture = toned(picture, 0.05 * grains(len(u), 512, rng) - 0.25 * pores)
    edge = np.minimum(to_edge(u * count), to_edge(v * count)) / count
    return mix(picture, 0.45 * base, 0.8 * joint(edge, 0.008, 0.004))


FLOOR_FAMILIES: dict[str, FloorFamily] = {
    "planks": FloorFamily(_planks, ("b98a56-3c2614", "6e4528-1f120a", "d9c3a0-8a7455"), (8, 12, 6), 6.0),
    "checker": FloorFamily(_checker, ("efece4-26262a", "e7ddc4-8c2f2a", "dfe7e4-2f6b62"), (4, 6, 8), 6.0),
    "concrete": FloorFamily(_concrete, ("a7a6a2-85857f", "cfc9be-b0a795", "6b6f74-50545a"), (1, 2), 7.0),
}
