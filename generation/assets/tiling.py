"""Tileable noise, cells and colours that floors and walls are painted with.

Coordinates u, v run over [0, 1) across a tile, v downwards; everything here repeats with period 1, and
doesn't depend on the number of pixels, so a texture looks the same at every size.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial import cKDTree

Plane = Float[np.ndarray, "height width"]
Picture = Float[np.ndarray, "height width 3"]
Colour = Float[np.ndarray, "3"]


def tile_grid(size: int) -> tuple[Plane, Plane]:
    """u and v of the pixel centres of a tile."""
    centres = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(centres, centres)
    return u, v


def noise(u: Plane, v: Plane, frequency: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Smooth random values in [-1, 1], `frequency` bumps across the tile in u and v."""
    lattice = rng.uniform(-1, 1, size=(frequency[1], frequency[0]))
    x, y = u * frequency[0], v * frequency[1]
    column, row = np.floor(x), np.floor(y)
    s, t = x - column, y - row
    s, t = s * s * s * (s * (6 * s - 15) + 10), t * t * t * (t * (6 * t - 15) + 10)
    left, top = column.astype(np.int64) % frequency[0], row.astype(np.int64) % frequency[1]
    right, bottom = (left + 1) % frequency[0], (top + 1) % frequency[1]
    upper = lattice[top, left] * (1 - s) + lattice[top, right] * s
    lower = lattice[bottom, left] * (1 - s) + lattice[bottom, right] * s
    values: Plane = upper * (1 - t) + lower * t
    return values


def fractal(
    u: Plane,
    v: Plane,
    frequency: tuple[int, int],
    rng: np.random.Generator,
    octaves: int = 4,
    gain: float = 0.5,
) -> Plane:
    """Sum of `octaves` noises of doubling frequency; about [-1, 1]."""
    total, weight, scale = np.zeros_like(u), 1.0, 0.0
    for octave in range(octaves):
        total += weight * noise(u, v, (frequency[0] << octave, frequency[1] << octave), rng)
        scale += weight
        weight *= gain
    return total / scale


def grains(size: int, frequency: int, rng: np.random.Generator) -> Plane:
    """Unsmoothed random values in [-1, 1], `frequency` squares across the tile: fibres, sand, pores."""
    lattice = rng.uniform(-1, 1, size=(frequency, frequency))
    index = np.minimum((np.arange(size) + 0.5) * frequency / size, frequency - 1).astype(np.int64)
    values: Plane = lattice[np.ix_(index, index)]
    return values


def per_cell(cell: Int[np.ndarray, "height width"], rng: np.random.Generator, count: int) -> Plane:
    """One random number in [-1, 1] a cell, looked up by pixel. `cell` holds 0 … count-1."""
    values: Plane = rng.uniform(-1, 1, size=count)[cell]
    return values


def cells(
    u: Plane, v: Plane, seeds: Float[np.ndarray, "seeds 2"]
) -> tuple[Int[np.ndarray, "height width"], Plane, Plane]:
    """Voronoi cells on the torus: index of the nearest seed, its distance, how much farther the next is."""
    tree = cKDTree(seeds % 1.0, boxsize=1.0)
    distance, index = tree.query(np.stack([u % 1.0, v % 1.0], axis=-1).reshape(-1, 2), k=2)
    nearest = distance[:, 0].reshape(u.shape)
    return index[:, 0].reshape(u.shape), nearest, distance[:, 1].reshape(u.shape) - nearest


def scattered(count: int, rng: np.random.Generator, candidates: int = 12) -> Float[np.ndarray, "count 2"]:
    """Points spread evenly over the torus: each is the farthest of some candidates from those before."""
    points = [rng.random(2)]
    for _ in range(count - 1):
        choice = rng.random((candidates, 2))
        gap = np.abs(choice[:, None] - np.array(points)[None])
        gap = np.minimum(gap, 1 - gap)
        points.append(choice[np.argmax((gap**2).sum(axis=-1).min(axis=1))])
    return np.array(points)


def joint(position: Plane, width: float, softness: float) -> Plane:
    """1 in the joint, 0 beyond it, for a distance from its middle in the same unit as `width`."""
    covered: Plane = 1 - np.clip((np.abs(position) - width / 2) / softness + 0.5, 0, 1)
    return covered


def to_edge(x: Plane) -> Plane:
    """Distance of x from the nearest whole number."""
    distance: Plane = np.abs(x - np.round(x))
    return distance


def colour(code: str) -> Colour:
    """sRGB in [0, 1] of a code as 'c8a06b'."""
    return np.array([int(code[place : place + 2], 16) for place in (0, 2, 4)]) / 255


def colours(codes: str) -> Float[np.ndarray, "count 3"]:
    """Several colours, as 'c8a06b-5d3a22'."""
    return np.stack([colour(code) for code in codes.split("-")])


def mix(first: Picture | Colour, second: Picture | Colour, share: Plane) -> Picture:
    """`second` in the share given, `first` elsewhere."""
    weight = np.clip(share, 0, 1)[..., None]
    blended: Picture = first * (1 - weight) + second * weight
    return blended


def toned(picture: Picture | Colour, tone: Plane) -> Picture:
    """Lighter where `tone` is positive, darker where it is negative; 0.1 is ten per cent."""
    result: Picture = picture * (1 + tone)[..., None]
    return result


def as_image(picture: Picture) -> UInt8[np.ndarray, "height width 3"]:
    """8-bit sRGB."""
    image: np.ndarray = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return image
