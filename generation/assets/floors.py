"""Floors painted by code: a family is a painter and the palettes it comes in.

A floor is its family, a palette, a few numbers and a seed. Palettes are chosen so that the variants of one
family differ at a glance even in a picture of 128 pixels.
"""

import colorsys
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from generation.assets.tiling import (
    Colour,
    Picture,
    Plane,
    as_image,
    cells,
    colours,
    fractal,
    grains,
    joint,
    mix,
    noise,
    per_cell,
    scattered,
    tile_grid,
    to_edge,
    toned,
)
from objnerf.errors import InputError

Parameters = dict[str, bool | int | float | str]
Cells = Int[np.ndarray, "height width"]
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

    @property
    def looks(self) -> int:
        """How many surfaces there are before hues are turned."""
        return len(self.palettes) * len(self.counts)


def plan_surface(kind: FloorFamily, name: str, variant: int) -> Parameters:
    """Parameters of the `variant`-th surface of a family; every one is different.

    First every palette comes in every count; after that the palettes come again with their hues turned.
    """
    turns, within = divmod(variant, kind.looks)
    rounds, place = divmod(within, len(kind.palettes))
    palette = kind.palettes[place]
    return {
        "palette": turned_hues(palette, turns) if turns else palette,
        "count": kind.counts[(place + rounds) % len(kind.counts)],
        "seed": zlib.crc32(f"{name}/{variant}".encode()),
    }


def turned_hues(palette: str, turns: int) -> str:
    """A palette with all hues turned by as many golden angles; greys get a tint."""
    codes = []
    for shade in colours(palette):
        hue, lightness, saturation = colorsys.rgb_to_hls(*shade)
        turned = colorsys.hls_to_rgb((hue + 0.381966 * turns) % 1.0, lightness, max(saturation, 0.12))
        codes.append("".join(f"{round(255 * value):02x}" for value in turned))
    return "-".join(codes)


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


def _flat(colour_: Colour, like: Plane) -> Picture:
    picture: Picture = np.broadcast_to(colour_, (*like.shape, 3)).copy()
    return picture


def _wood(
    along: Plane, across: Plane, board: Cells, boards: int, base: Picture, rng: np.random.Generator
) -> Picture:
    """Grain that runs along boards; each board has its own tone and its own stretch of grain."""
    shift = per_cell(board, rng, boards) * 7.3
    rings = fractal(along + shift, across + shift * 1.7, (3, 48), rng, octaves=3)
    flame = noise(along + shift, across + shift * 2.3, (2, 9), rng)
    streaks = np.sin(2 * np.pi * (across * 30 + 1.6 * flame))
    tone = 0.13 * per_cell(board, rng, boards) + 0.08 * rings + 0.05 * streaks * np.abs(flame)
    warm = 0.02 * per_cell(board, rng, boards)
    wood = toned(base, tone)
    wood[..., 0] += warm
    wood[..., 2] -= warm
    return wood


def _whole(values: Plane) -> Cells:
    cell: Cells = np.floor(values).astype(np.int64)
    return cell


def _planks(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    wood, gap = colours(palette)
    row = _whole(v * count)
    boards_in_row = 2
    place = u * boards_in_row + rng.random(count)[row]
    board = row * boards_in_row + _whole(place) % boards_in_row
    picture = _wood(u, v, board, count * boards_in_row, _flat(wood, u), rng)
    ends = joint(to_edge(place) / boards_in_row, 0.005, 0.003)
    return mix(picture, gap, 0.85 * np.maximum(joint(to_edge(v * count) / count, 0.005, 0.003), ends))


def _deck(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Boards of several colours, as reclaimed wood."""
    *woods, gap = colours(palette)
    row = _whole(v * count)
    choice = rng.integers(len(woods), size=count)
    choice[1:] = np.where(choice[1:] == choice[:-1], (choice[1:] + 1) % len(woods), choice[1:])
    base = np.stack(woods)[choice][row]
    picture = _wood(u, v, row, count, base, rng)
    return mix(picture, gap, 0.9 * joint(to_edge(v * count) / count, 0.012, 0.004))


def _herringbone(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    wood, gap = colours(palette)
    # blocks of 1 × 4; the pattern repeats every 8 cells along each axis
    cells_across = 8 * count
    x, y = u * cells_across, v * cells_across
    i, j = _whole(x), _whole(y)
    phase = (i - j) % 8
    level = phase < 4
    step = (j - i) % 8 - 1
    start_i, start_j = np.where(level, i - phase, i), np.where(level, j, j - step)
    block = (start_i % cells_across) * cells_across + start_j % cells_across
    along = np.where(level, x, y) / cells_across
    across = np.where(level, y, x) / cells_across
    base = _flat(wood, u) * (1 + 0.16 * (level[..., None] - 0.5))
    picture = _wood(along, across, block, cells_across**2, base, rng)
    length = np.where(level, x - start_i, y - start_j)
    side = np.where(level, y - j, x - i)
    edge = np.minimum(np.minimum(length, 4 - length), np.minimum(side, 1 - side))
    return mix(picture, gap, 0.8 * joint(edge, 0.09, 0.05))


def _basket(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    wood, gap = colours(palette)
    strips = 4
    column, row = _whole(u * count), _whole(v * count)
    level = (column + row) % 2 == 0
    x, y = u * count - column, v * count - row
    strip = _whole(np.where(level, y, x) * strips)
    block = (row * count + column) * strips + strip
    base = _flat(wood, u) * (1 + 0.14 * (level[..., None] - 0.5))
    along, across = np.where(level, u, v), np.where(level, v, u)
    picture = _wood(along, across, block, count * count * strips, base, rng)
    seam = to_edge(np.where(level, y, x) * strips) / strips
    frame = np.minimum(to_edge(x), to_edge(y))
    return mix(picture, gap, 0.85 * joint(np.minimum(seam, frame), 0.03, 0.015))


def _chevron(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    light, dark, gap = colours(palette)
    x = u * 2 * count
    column = _whole(x)
    across = x - column
    slanted = v * 3 * count + np.where(column % 2 == 0, across, 1 - across)
    row = _whole(slanted) % (3 * count)
    board = column * 3 * count + row
    base = mix(light, dark, 0.5 + 0.5 * per_cell(board, rng, 6 * count * count))
    picture = _wood(slanted / 9, u, board, 6 * count * count, base, rng)
    edge = np.minimum(to_edge(slanted) * 0.6, to_edge(x))
    return mix(picture, gap, 0.8 * joint(edge, 0.05, 0.03))


def _tiles(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    tile, grout = colours(palette)
    cell = _whole(v * count) * count + _whole(u * count)
    cloud = fractal(u + 3 * per_cell(cell, rng, count * count), v, (5, 5), rng, octaves=4)
    picture = toned(tile, 0.08 * per_cell(cell, rng, count * count) + 0.05 * cloud)
    edge = np.minimum(to_edge(u * count), to_edge(v * count))
    return mix(picture, grout, joint(edge, 0.05, 0.02))


def _checker(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    light, dark = colours(palette)
    column, row = _whole(u * count), _whole(v * count)
    picture = mix(light, dark, ((column + row) % 2).astype(np.float64))
    tone = 0.05 * per_cell(row * count + column, rng, count * count) + 0.06 * fractal(u, v, (6, 6), rng, 5)
    return toned(picture, tone)


def _diamonds(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Octagonal tiles with small squares at their corners."""
    tile, inlay, grout = colours(palette)
    x, y = to_edge(u * count), to_edge(v * count)
    cell = _whole(v * count) * count + _whole(u * count)
    picture = toned(tile, 0.06 * per_cell(cell, rng, count * count) + 0.06 * fractal(u, v, (6, 6), rng))
    corner = x + y
    picture = mix(picture, grout, joint(np.minimum(x, y), 0.03, 0.012))
    picture = mix(
        picture, toned(inlay, 0.08 * fractal(u, v, (8, 8), rng)), 1 - np.clip((corner - 0.24) / 0.01, 0, 1)
    )
    return mix(picture, grout, joint(corner - 0.25, 0.03, 0.012))


def _hexagons(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    *tiles, grout = colours(palette)
    rows = 2 * round(count / np.sqrt(3))
    x, y = u * count, v * rows
    candidates = []
    for shift in (0, 1):
        # two interleaved lattices of centres: even rows, and odd rows half a tile along
        row = np.round((y - shift) / 2) * 2 + shift
        column = np.round(x - 0.5 * shift) + 0.5 * shift
        dx, dy = x - column, (y - row) * (count / rows)
        candidates.append((dx, dy, _whole(row) % rows * count + _whole(column) % count))
    first, second = ((dx**2 + dy**2) for dx, dy, _ in candidates)
    near = first <= second
    cell = np.where(near, candidates[0][2], candidates[1][2])
    dx = np.abs(np.where(near, candidates[0][0], candidates[1][0]))
    dy = np.abs(np.where(near, candidates[0][1], candidates[1][1]))
    edge = 0.5 - np.maximum(dx, 0.5 * dx + np.sqrt(3) / 2 * dy)
    shares = np.concatenate([[0.55], np.full(len(tiles) - 1, 0.45 / max(len(tiles) - 1, 1))])
    kind = rng.choice(len(tiles), size=rows * count, p=shares / shares.sum())
    base = np.stack(tiles)[kind][cell]
    picture = toned(base, 0.06 * per_cell(cell, rng, rows * count) + 0.03 * fractal(u, v, (8, 8), rng))
    return mix(picture, grout, joint(edge, 0.08, 0.03))


def _pennies(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    tile, other, grout = colours(palette)
    x, y = u * count, v * count
    x = x + 0.5 * (_whole(y) % 2)
    column, row = _whole(x) % count, _whole(y)
    radius = np.hypot(x - np.floor(x) - 0.5, y - row - 0.5)
    dots = (rng.random(count * count) < 0.22).astype(np.float64)[row * count + column]
    base = mix(tile, other, dots)
    picture = toned(base, 0.06 * per_cell(row * count + column, rng, count * count) - 0.12 * radius)
    return mix(grout, picture, np.clip((0.45 - radius) / 0.04, 0, 1))


def _marble(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    base, vein, cloud_colour = colours(palette)
    cell = _whole(v * count) * count + _whole(u * count)
    shift = per_cell(cell, rng, count * count) * 3.1
    x, y = u + shift, v - 1.7 * shift
    warp = fractal(x, y, (3, 3), rng, octaves=5, gain=0.55)
    ridge = np.abs(fractal(x + 0.22 * warp, y - 0.18 * warp, (2, 3), rng, octaves=4))
    fine = np.abs(fractal(x - 0.15 * warp, y + 0.2 * warp, (5, 5), rng, octaves=4))
    cloud = fractal(x, y, (2, 2), rng, octaves=4)
    picture = mix(base, cloud_colour, 0.35 + 0.8 * cloud)
    picture = mix(
        picture, vein, 0.85 * np.exp(-((ridge / 0.035) ** 2)) + 0.35 * np.exp(-((fine / 0.03) ** 2))
    )
    edge = np.minimum(to_edge(u * count), to_edge(v * count)) / count
    return mix(picture, 0.6 * vein + 0.2 * base, 0.7 * joint(edge, 0.004, 0.003))


def _terrazzo(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    ground, *chips = colours(palette)
    amount = count * count
    seeds = scattered(amount, rng, candidates=6)
    wobble = 0.25 / count
    x = u + wobble * noise(u, v, (4 * count, 4 * count), rng)
    y = v + wobble * noise(u, v, (4 * count, 4 * count), rng)
    index, distance, _ = cells(x, y, seeds)
    radius = rng.uniform(0.12, 0.52, size=amount)[index] / count
    kind = rng.integers(len(chips), size=amount)
    picture = toned(ground, 0.04 * grains(len(u), 256, rng))
    stone = toned(np.stack(chips)[kind][index], 0.1 * per_cell(index, rng, amount))
    return mix(picture, stone, np.clip((radius - distance) * 3 * len(u) / 2 + 0.5, 0, 1))


def _bricks(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    brick, other, grout = colours(palette)
    row = _whole(v * 2 * count)
    x = u * count + 0.5 * (row % 2)
    column = _whole(x) % count
    cell = row * count + column
    base = mix(brick, other, 0.5 + 0.55 * per_cell(cell, rng, 2 * count * count))
    rough = fractal(u, v, (24, 24), rng, octaves=4, gain=0.7)
    picture = toned(base, 0.12 * rough + 0.06 * per_cell(cell, rng, 2 * count * count))
    edge = np.minimum(to_edge(x), 0.5 * to_edge(v * 2 * count)) + 0.012 * rough
    return mix(picture, toned(grout, 0.1 * rough), joint(edge, 0.07, 0.02))


def _flagstones(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    stone, other, grout = colours(palette)
    amount = count * count
    x = u + 0.02 * fractal(u, v, (6, 6), rng)
    y = v + 0.02 * fractal(u, v, (6, 6), rng)
    index, _, gap = cells(x, y, scattered(amount, rng))
    base = mix(stone, other, 0.5 + 0.6 * per_cell(index, rng, amount))
    rough = fractal(u + 2.3 * per_cell(index, rng, amount), v, (8, 8), rng, octaves=6, gain=0.65)
    picture = toned(base, 0.16 * rough)
    return mix(picture, toned(grout, 0.1 * rough), joint(gap, 0.1 / count, 0.04 / count))


def _pebbles(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    *stones, grout = colours(palette)
    amount = count * count
    index, distance, gap = cells(u, v, scattered(amount, rng, candidates=4))
    kind = rng.integers(len(stones), size=amount)
    base = np.stack(stones)[kind][index]
    dome = 0.25 - 0.5 * distance * count
    picture = toned(base, 0.12 * per_cell(index, rng, amount) + dome + 0.05 * fractal(u, v, (16, 16), rng))
    return mix(picture, grout, joint(gap, 0.14 / count, 0.12 / count))


def _concrete(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    base, stain = colours(palette)
    blotches = fractal(u, v, (3, 3), rng, octaves=6, gain=0.6)
    picture = mix(base, stain, 0.5 + 0.9 * blotches)
    pores = grains(len(u), 256, rng) > 0.97
    picture = toned(picture, 0.05 * grains(len(u), 512, rng) - 0.25 * pores)
    edge = np.minimum(to_edge(u * count), to_edge(v * count)) / count
    return mix(picture, 0.45 * base, 0.8 * joint(edge, 0.008, 0.004))


def _carpet(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    pile, fleck = colours(palette)
    fibres = 0.6 * grains(len(u), 256, rng) + 0.4 * grains(len(u), 512, rng)
    brushed = fractal(u, v, (3, 3), rng, octaves=4)
    picture = mix(pile, fleck, 0.25 + 0.45 * grains(len(u), 128 // count * count, rng) * (count % 2))
    return toned(picture, 0.16 * fibres + 0.12 * brushed)


def _stripes(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    shades = colours(palette)
    widths = rng.uniform(0.5, 1.5, size=count)
    edges = np.concatenate([[0], np.cumsum(widths) / widths.sum()])
    band = np.clip(np.searchsorted(edges, v, side="right") - 1, 0, count - 1)
    picture = shades[band % len(shades)]
    weave = 0.5 * np.sin(2 * np.pi * 96 * u) * np.sin(2 * np.pi * 96 * v)
    return toned(picture, 0.08 * weave + 0.1 * grains(len(u), 256, rng))


def _kilim(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Nested lozenges between zigzag bands, stepped as woven ones are."""
    shades = colours(palette)
    steps = 16 * count
    x, y = (np.floor(u * steps) + 0.5) / steps, (np.floor(v * steps) + 0.5) / steps
    lozenge = to_edge(x * count) + to_edge(y * count)
    layer = _whole(lozenge * 8)
    zigzag = np.abs(to_edge(y * 2) - 0.5 + 0.12 * to_edge(x * 2 * count)) < 0.09
    picture = shades[(layer + _whole(2 * y)) % len(shades)]
    picture = np.where(zigzag[..., None], shades[_whole(x * 4 * count) % 2 + len(shades) - 2], picture)
    return toned(picture, 0.14 * grains(len(u), 256, rng) + 0.05 * np.sin(2 * np.pi * 128 * v))


def _medallion(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """A rug with borders and a medallion; the tile is one rug and a strip of floor around it."""
    field, border, motif, ground = colours(palette)
    x, y = 2 * u - 1, 2 * v - 1
    rim = np.maximum(np.abs(x), np.abs(y))
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    petals = radius * (1 + 0.18 * np.cos(count * angle))
    picture = mix(field, border, (np.abs(petals - 0.42) < 0.05).astype(np.float64))
    picture = mix(picture, motif, (petals < 0.37).astype(np.float64))
    picture = mix(picture, field, (petals < 0.24).astype(np.float64))
    picture = mix(picture, border, (petals < 0.12).astype(np.float64))
    spray = (np.cos(2 * np.pi * 2 * count * x) * np.cos(2 * np.pi * 2 * count * y) > 0.72) & (petals > 0.5)
    picture = mix(picture, motif, spray.astype(np.float64))
    frame = (rim > 0.72) & (rim < 0.9)
    beads = np.cos(2 * np.pi * 3 * count * x) * np.cos(2 * np.pi * 3 * count * y) > 0.25
    picture = np.where(frame[..., None], np.where(beads[..., None], motif, border), picture)
    picture = mix(picture, field, ((rim > 0.9) & (rim < 0.94)).astype(np.float64))
    picture = toned(picture, 0.15 * grains(len(u), 256, rng))
    floor = toned(ground, 0.03 * grains(len(u), 128, rng))
    return mix(picture, floor, (rim > 0.94).astype(np.float64))


def _tartan(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    shades = colours(palette)
    # the same threads run along both axes; a woven square shows the mean of both
    widths = rng.integers(1, 6, size=2 * len(shades))
    pattern = np.repeat(np.arange(2 * len(shades)) % len(shades), widths)
    sett = np.concatenate([pattern, pattern[::-1]])
    threads = len(sett)
    warp = shades[sett[_whole(u * count * threads) % threads]]
    weft = shades[sett[_whole(v * count * threads) % threads]]
    twill = 0.5 + 0.3 * np.sin(2 * np.pi * 64 * (u + v))
    picture = mix(warp, weft, twill)
    return toned(picture, 0.1 * grains(len(u), 256, rng))


def _mosaic(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    *tesserae, grout = colours(palette)
    cell = _whole(v * count) * count + _whole(u * count)
    drift = fractal(
        (_whole(u * count) + 0.5) / count, (_whole(v * count) + 0.5) / count, (3, 3), rng, octaves=2
    )
    place = (drift * 0.9 + 0.35 * per_cell(cell, rng, count * count) + 0.5) * len(tesserae)
    base = np.stack(tesserae)[np.clip(_whole(place), 0, len(tesserae) - 1)]
    picture = toned(base, 0.1 * per_cell(cell, rng, count * count))
    edge = np.minimum(to_edge(u * count), to_edge(v * count))
    return mix(picture, grout, joint(edge, 0.14, 0.06))


def _encaustic(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Cement tiles whose quarter rings and stars join over the corners."""
    ground, ring, star = colours(palette)
    x, y = u * count - _whole(u * count) - 0.5, v * count - _whole(v * count) - 0.5
    corner = np.hypot(0.5 - np.abs(x), 0.5 - np.abs(y))
    angle = np.arctan2(y, x)
    petal = np.hypot(x, y) * (1 + 0.35 * np.cos(4 * angle))
    soft = 0.012
    picture = mix(_flat(ground, u), ring, np.clip((0.07 - np.abs(corner - 0.36)) / soft, 0, 1))
    picture = mix(picture, star, np.clip((0.16 - petal) / soft, 0, 1))
    picture = mix(picture, star, np.clip((0.15 - corner) / soft, 0, 1))
    picture = toned(picture, 0.07 * fractal(u, v, (8, 8), rng, octaves=5) + 0.03 * grains(len(u), 256, rng))
    edge = np.minimum(to_edge(u * count), to_edge(v * count))
    return mix(picture, 0.5 * ground, 0.7 * joint(edge, 0.014, 0.008))


def _cork(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Granules of many sizes and tones: cork, rubber, linoleum."""
    base, dark, light = colours(palette)
    amount = 9 * count * count
    index, _, gap = cells(u, v, rng.random((amount, 2)))
    value = per_cell(index, rng, amount)
    picture = mix(mix(base, dark, np.clip(value, 0, 1) * 0.8), light, np.clip(-value, 0, 1) * 0.7)
    return toned(picture, 0.05 * grains(len(u), 256, rng) - 0.1 * joint(gap, 0.1 / count, 0.1 / count))


def _tatami(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Mats of 1 × 2 in turn, with dark borders along their long sides."""
    straw, border = colours(palette)
    x, y = u * 2 * count, v * 2 * count
    column, row = _whole(x / 2), _whole(y / 2)
    level = (column + row) % 2 == 0
    across = np.where(level, y, x) - 2 * np.where(level, row, column)
    mat = (row * count + column) * 2 + _whole(across)
    side = np.minimum(across - np.floor(across), np.ceil(across) - across)
    ribs = np.sin(2 * np.pi * 48 * np.where(level, u, v) * 2)
    picture = toned(
        straw, 0.08 * per_cell(mat, rng, 2 * count * count) + 0.05 * ribs + 0.05 * grains(len(u), 256, rng)
    )
    return mix(picture, border, np.clip((0.07 - side) / 0.012, 0, 1))


def _trellis(u: Plane, v: Plane, palette: str, count: int, rng: np.random.Generator) -> Picture:
    """Carpet with an ogee trellis."""
    ground, line = colours(palette)
    wave = 0.25 * np.sin(2 * np.pi * count * v)
    first, second = to_edge(u * count + wave), to_edge(u * count - wave + 0.5)
    pattern = np.minimum(first, second)
    picture = mix(_flat(ground, u), line, np.clip((0.075 - pattern) / 0.02, 0, 1))
    return toned(picture, 0.15 * grains(len(u), 256, rng) + 0.06 * fractal(u, v, (3, 3), rng))


FLOOR_FAMILIES: dict[str, FloorFamily] = {
    "planks": FloorFamily(_planks, ("b98a56-3c2614", "5e3a24-1f120a", "d9c8a8-8a7455"), (8, 10, 6), 6.0),
    "checker": FloorFamily(_checker, ("efece4-26262a", "e7ddc4-8c2f2a", "dfe7e4-2f6b62"), (6, 8, 4), 6.0),
    "carpet": FloorFamily(_carpet, ("7a2f35-561f27", "3d5a7a-8fa6c0", "8a8f5f-6a7045"), (4, 3), 5.0),
    "marble": FloorFamily(
        _marble, ("f0eeea-7b7a7c-dcd8d2", "2b2d31-c9c2b4-1d1e21", "c9a98c-7a4a36-dcc4ac"), (3, 4), 7.0
    ),
    "herringbone": FloorFamily(
        _herringbone, ("c99a62-5a3a1e", "7b4b2c-2a170c", "a89a88-5c5146"), (2, 3), 6.0
    ),
    "tiles": FloorFamily(_tiles, ("e4e2dc-9a9892", "b8623c-d8c8b4", "7fa3a8-f0f0ec"), (6, 8, 5), 6.0),
    "concrete": FloorFamily(_concrete, ("a7a6a2-85857f", "d4cbb8-b8a98c", "5c6167-42464c"), (2, 1), 7.0),
    "terrazzo": FloorFamily(
        _terrazzo,
        ("e9e4da-b0563c-3e5c58-d9a441-5a5a5a", "3a3d42-d8d2c6-8aa39a-c98a6a", "d7b8a8-f2ece2-7a3e36-2f3338"),
        (16, 12),
        5.0,
    ),
    "bricks": FloorFamily(
        _bricks, ("9c4a34-b5694c-c9bfb0", "8b8378-6e675e-4a463f", "c9a57a-b88a5c-efe6d6"), (6, 8), 5.0
    ),
    "hexagons": FloorFamily(
        _hexagons,
        ("f0eee8-1f2226-b8b6b0", "2f5f74-8fb8c0-e6e0d2-f2efe6", "d8b48c-a8623c-6e3a26-efe4d2"),
        (10, 7),
        6.0,
    ),
    "flagstones": FloorFamily(
        _flagstones, ("8f8d86-6f726f-4c4b46", "c8b089-a98a60-7d6a4c", "5a6470-434b57-a7a9a8"), (5, 6), 6.0
    ),
    "kilim": FloorFamily(
        _kilim, ("9e2f2a-e3c58a-1f3a4d-e9dcc3-2b2320", "2d5a5a-d9b36a-b5533a-efe5d0-3a2a22"), (3, 4), 6.0
    ),
    "basket": FloorFamily(_basket, ("ad7a48-4a2f18", "e0c79c-97794e"), (8, 6), 6.0),
    "stripes": FloorFamily(_stripes, ("e8e2d4-27415f-b8483c", "3c4a3c-c9b458-7a8a5c-e4dfc8"), (18, 12), 6.0),
    "diamonds": FloorFamily(_diamonds, ("efeae0-2a2a2e-b9b2a4", "d6c2a0-7c2f2c-8e7b5e"), (6, 5), 6.0),
    "encaustic": FloorFamily(_encaustic, ("ece6d6-2f5573-b5532f", "3f4a4e-d9d2c0-c9983c"), (5, 4), 6.0),
    "medallion": FloorFamily(
        _medallion, ("7d1f24-1d2a44-d9b77a-8a6844", "2a4a6a-8a2f2c-e6d8b8-b59a72"), (8, 6), 9.0
    ),
    "pebbles": FloorFamily(
        _pebbles, ("8c8a84-b5ada0-6a6660-d6d0c4-4a4843", "a87a5a-c9a27c-7a5640-e0c8a8-4a3628"), (15, 12), 6.0
    ),
    "mosaic": FloorFamily(
        _mosaic, ("0f4c5c-2f8f9d-8fd0c8-e8f0e4-f4f4ee", "7a1f3d-c04a5a-e8a07a-f2d8a8-3a2a2e"), (22, 18), 6.0
    ),
    "chevron": FloorFamily(_chevron, ("c8a070-a87c4c-4a3018", "8a8078-6a6058-2e2a26"), (4, 3), 6.0),
    "tartan": FloorFamily(
        _tartan, ("8a1f24-1f3a2a-e8d8a0-1a1a22", "2a3f6a-d8d8dc-4a6a4a-14181f"), (3, 4), 5.0
    ),
    "deck": FloorFamily(
        _deck, ("7a8a8c-a89a84-5a4636-c8b89c-2a2420", "d8d0c0-7aa0a0-b89060-8a5a3a-3a3028"), (12, 9), 6.0
    ),
    "cork": FloorFamily(_cork, ("b88a5a-7a5430-d8b080", "3f4f4a-26322e-6f8278"), (20, 16), 4.0),
    "pennies": FloorFamily(_pennies, ("f2f0ea-2a3a4a-c4c0b8", "d9a0a0-8a3a44-f2e6e0"), (20, 16), 5.0),
    "tatami": FloorFamily(_tatami, ("c9be84-2c3a2a", "a8b08a-4a2a24"), (2, 4), 7.0),
    "trellis": FloorFamily(_trellis, ("44546a-d8d4c4", "c8b89c-7a3a3a"), (6, 5), 5.0),
}
