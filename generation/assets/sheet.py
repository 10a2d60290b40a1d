"""Contact sheets of shapes and floors, drawn without Blender by a small software rasteriser."""

import hashlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from generation.assets.mesh import ShapeMesh

_ELEVATION_DEG, _TURN_DEG = 24.0, 32.0
_LIGHT = np.array([-0.45, -0.55, 0.9]) / np.linalg.norm([-0.45, -0.55, 0.9])
_PAPER = np.array([0.93, 0.93, 0.92])

_WOODS = ((0.72, 0.52, 0.33), (0.55, 0.35, 0.20), (0.82, 0.66, 0.46), (0.38, 0.24, 0.16), (0.63, 0.40, 0.26))
_FABRICS = (
    (0.30, 0.42, 0.58),
    (0.66, 0.28, 0.25),
    (0.36, 0.50, 0.36),
    (0.80, 0.66, 0.32),
    (0.45, 0.42, 0.48),
    (0.24, 0.47, 0.50),
    (0.78, 0.55, 0.50),
    (0.70, 0.67, 0.60),
)
_PAINTS = (
    (0.92, 0.90, 0.85),
    (0.30, 0.36, 0.42),
    (0.55, 0.66, 0.62),
    (0.84, 0.72, 0.48),
    (0.62, 0.30, 0.28),
    (0.40, 0.52, 0.68),
    (0.72, 0.62, 0.66),
    (0.22, 0.24, 0.26),
    (0.50, 0.58, 0.40),
)


def draw_shape(
    mesh: ShapeMesh, colours: list[tuple[float, float, float]], size: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Picture of a shape in three-quarter view on light paper, with its shadow.

    Args:
        mesh: in the frame of a shape.
        colours: sRGB in [0, 1], one a part; a part with a texture is drawn in the texture's mean colour.
        size: pixels a side.
    """
    fine = 2 * size
    turn, elevation = np.deg2rad(_TURN_DEG), np.deg2rad(_ELEVATION_DEG)
    right = np.array([np.cos(turn), np.sin(turn), 0.0])
    ahead = np.array([-np.sin(turn), np.cos(turn), 0.0])
    view = np.stack(
        [
            right,
            -np.sin(elevation) * ahead - np.array([0, 0, np.cos(elevation)]),
            np.cos(elevation) * ahead - np.array([0, 0, np.sin(elevation)]),
        ]
    )
    shadow_points = mesh.vertices - mesh.vertices[:, 2:] * _LIGHT / _LIGHT[2]
    seen, shadow = mesh.vertices @ view.T, shadow_points @ view.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    scale = 0.84 * fine / max(float((high - low)[:2].max()), 1e-9)
    offset = fine / 2 - scale * (low + high)[:2] / 2

    def to_pixels(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return np.column_stack([points[:, :2] * scale + offset, points[:, 2]])

    image = np.broadcast_to(_PAPER, (fine, fine, 3)).copy()
    dark = rasterise(to_pixels(shadow), mesh.faces, fine) >= 0
    image *= 1 - 0.35 * gaussian_filter(dark.astype(np.float64), 0.008 * fine)[..., None]

    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-15)
    lit = 0.42 + 0.13 * normals[:, 2] + 0.5 * np.clip(normals @ _LIGHT, 0, None)
    looked_up = np.array([_mean_colour(mesh, part, colours[part]) for part in range(len(mesh.materials))])
    shaded = np.clip(looked_up[mesh.part_of_face] * lit[:, None] * 1.15, 0, 1)
    face = rasterise(to_pixels(seen), mesh.faces, fine)
    image[face >= 0] = shaded[face[face >= 0]]
    coarse = image.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    return np.round(coarse * 255).astype(np.uint8)


def _mean_colour(
    mesh: ShapeMesh, part: int, colour: tuple[float, float, float]
) -> tuple[float, float, float]:
    image = mesh.materials[part].image
    if image is None:
        return mesh.materials[part].colour or colour
    red, green, blue = (image.reshape(-1, 3).mean(axis=0) / 255).tolist()
    return red, green, blue


def rasterise(
    points: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], size: int
) -> Int[np.ndarray, "size size"]:
    """Index of the nearest face in each pixel, -1 where there is none.

    Args:
        points: x, y in pixels (y down) and depth, smaller is nearer.
        faces: vertex indices.
        size: of the square picture.
    """
    corners = points[faces]
    low = np.clip(np.ceil(corners[..., :2].min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners[..., :2].max(axis=1) - 0.5), -1, size - 1).astype(np.int64)
    spans = np.maximum(high - low + 1, 0)
    counts = spans[:, 0] * spans[:, 1]
    which = np.repeat(np.arange(len(faces)), counts)
    rank = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = spans[which, 0]
    x = low[which, 0] + rank % np.maximum(width, 1)
    y = low[which, 1] + rank // np.maximum(width, 1)
    a, b, c = (corners[which, corner] for corner in range(3))
    px, py = x + 0.5, y + 0.5

    def side(
        start: Float[np.ndarray, "pairs 3"], end: Float[np.ndarray, "pairs 3"]
    ) -> Float[np.ndarray, " pairs"]:
        return (end[:, 0] - start[:, 0]) * (py - start[:, 1]) - (end[:, 1] - start[:, 1]) * (px - start[:, 0])

    weights = np.stack([side(b, c), side(c, a), side(a, b)])
    area = weights.sum(axis=0)
    solid = np.abs(area) > 1e-12
    weights = weights / np.where(solid, area, 1.0)
    inside: Bool[np.ndarray, " pairs"] = solid & (weights >= -1e-9).all(axis=0)
    depth = weights[0] * a[:, 2] + weights[1] * b[:, 2] + weights[2] * c[:, 2]
    pixel, depth, which = (y * size + x)[inside], depth[inside], which[inside]
    # far to near, so that the nearest face is the last to be written
    order = np.argsort(-depth, kind="stable")
    picture = np.full(size * size, -1, dtype=np.int64)
    picture[pixel[order]] = which[order]
    return picture.reshape(size, size)


def role_colours(mesh: ShapeMesh, key: str) -> list[tuple[float, float, float]]:
    """A colour a part by its role, chosen by the digits of `key`, so that a shape always looks the same."""
    digest = hashlib.sha256(key.encode()).digest()
    grey = 0.25 + 0.5 * digest[3] / 255
    fabric = _FABRICS[digest[1] % len(_FABRICS)]
    palette: dict[str, tuple[float, float, float]] = {
        "wood": _WOODS[digest[0] % len(_WOODS)],
        "fabric": fabric,
        "accent": _FABRICS[(digest[1] + 1 + digest[2] % (len(_FABRICS) - 1)) % len(_FABRICS)],
        "metal": (grey, grey, grey * 1.03),
        "plastic": _FABRICS[digest[4] % len(_FABRICS)],
        "paint": _PAINTS[digest[5] % len(_PAINTS)],
        "linen": (0.93, 0.91, 0.87),
        "shade": (0.96, 0.90, 0.76),
    }
    return [palette.get(role, (0.7, 0.7, 0.7)) for role in mesh.roles]


def tile_pictures(
    pictures: Iterable[tuple[str, UInt8[np.ndarray, "h w 3"]]], columns: int, size: int
) -> Image.Image:
    """Pictures of `size` pixels in rows, each with its name below."""
    named = list(pictures)
    label, gap = 14, 4
    rows = -(-len(named) // columns)
    sheet = Image.new(
        "RGB", (columns * (size + gap) + gap, rows * (size + label + gap) + gap), (255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(10)
    for index, (name, picture) in enumerate(named):
        x, y = gap + index % columns * (size + gap), gap + index // columns * (size + label + gap)
        sheet.paste(Image.fromarray(picture).resize((size, size)), (x, y))
        draw.text((x + 2, y + size), name, fill=(60, 60, 60), font=font)
    return sheet
