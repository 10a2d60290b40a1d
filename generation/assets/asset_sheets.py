"""Contact sheets of shapes and floors, drawn without Blender by a small software rasteriser."""

import hashlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from generation.assets.catalogue import (
    Catalogue,
    FloorAsset,
    ShapeAsset,
    WallAsset,
    build_mesh,
    floor_texture,
    wall_texture,
)
from generation.assets.mesh import ShapeMesh
from generation.assets.sampling import is_solid, surface_colours
from generation.srgb import srgb_from_linear
from objnerf.errors import InputError
from objnerf.visualization.contact_sheets import contact_sheet

_COLUMNS = 12

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
        colours: sRGB in [0, 1], one a part; a part with a texture is drawn in the texture's.
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
    dark = rasterise(to_pixels(shadow), mesh.faces, fine, mesh)[0] >= 0
    image *= 1 - 0.35 * gaussian_filter(dark.astype(np.float64), 0.008 * fine)[..., None]

    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-15)
    lit = 0.42 + 0.13 * normals[:, 2] + 0.5 * np.clip(normals @ _LIGHT, 0, None)
    face, weights = rasterise(to_pixels(seen), mesh.faces, fine, mesh)
    there = face >= 0
    surface = surface_colours(mesh, face[there], weights[there], colours)
    light = lit[face[there], None] * 1.15
    glow = np.array([material.emission for material in mesh.materials])[mesh.part_of_face[face[there]]]
    image[there] = np.clip(surface * light + srgb_from_linear(glow), 0, 1)
    coarse = image.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    return np.round(coarse * 255).astype(np.uint8)


def rasterise(
    points: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    size: int,
    mesh: ShapeMesh | None = None,
) -> tuple[Int[np.ndarray, "size size"], Float[np.ndarray, "size size 3"]]:
    """Index of the nearest face in each pixel, -1 where there is none; and where on it, barycentric.

    Args:
        points: x, y in pixels (y down) and depth, smaller is nearer.
        faces: vertex indices.
        size: of the square picture.
        mesh: whose faces these are, where some may be cut out.
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
    if mesh is not None:
        inside[inside] = is_solid(mesh, which[inside], weights[:, inside].T)
    pixel, depth, which = (y * size + x)[inside], depth[inside], which[inside]
    place = weights[:, inside].T
    # far to near, so that the nearest face is the last to be written
    order = np.argsort(-depth, kind="stable")
    picture = np.full(size * size, -1, dtype=np.int64)
    picture[pixel[order]] = which[order]
    places = np.zeros((size * size, 3))
    places[pixel[order]] = place[order]
    return picture.reshape(size, size), places.reshape(size, size, 3)


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


def draw_sheet(
    catalogue: Catalogue,
    shape_source: str,
    shapes: int,
    floors: int,
    seed: int = 0,
    size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """One picture of shapes, floors and walls, each with its family and the end of its id.

    Args:
        catalogue: where they are from.
        shape_source: entry or family of the manifest.
        shapes: how many shapes, or as many as there are; 0 for none.
        floors: how many floors (and half as many walls), or as many as there are; 0 for none.
        seed: which shapes.
        size: pixels of a picture.
        progress: called with (pictures so far, pictures in all).
    Raises:
        InputError: nothing was asked for, or nothing of it can be used.
    """
    chosen = catalogue.offered_shapes(shape_source, shapes, seed) if shapes else []
    grounds = catalogue.offered_floors(floors) if floors else []
    coverings = catalogue.walls(-(-floors // 2)) if floors else []
    total, done = len(chosen) + len(grounds) + len(coverings), 0
    sections = []
    for title, assets in (("shapes", chosen), ("floors", grounds), ("walls", coverings)):
        pictures, labels = [], []
        for asset in assets:
            if isinstance(asset, ShapeAsset):
                mesh = build_mesh(asset, catalogue.roots)
                pictures.append(draw_shape(mesh, role_colours(mesh, asset.id), size))
            elif isinstance(asset, FloorAsset):
                pictures.append(_two_tiles(floor_texture(asset, 256, catalogue.roots), size))
            else:
                pictures.append(_two_tiles(wall_texture(asset, 256, catalogue.roots), size))
            labels.append(_label(asset))
            done += 1
            if progress is not None:
                progress(done, total)
        if pictures:
            heading = f"{len(pictures)} {title}"
            sections.append(contact_sheet(pictures, labels, _COLUMNS, title=heading, cell_width=size))
    if not sections:
        raise InputError("a sheet of no shapes and no floors was asked for; ask for at least one of either.")
    sheet = Image.new(
        "RGB", (max(s.width for s in sections), sum(s.height for s in sections)), (255, 255, 255)
    )
    top = 0
    for section in sections:
        sheet.paste(section, (0, top))
        top += section.height
    return sheet


def _two_tiles(texture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Two by two tiles, so that a seam would show."""
    half = Image.fromarray(texture).resize((size // 2, size // 2), Image.Resampling.BOX)
    tiled: np.ndarray = np.tile(np.asarray(half), (2, 2, 1))
    return tiled


def _label(asset: ShapeAsset | FloorAsset | WallAsset) -> str:
    end = asset.id.rpartition("/")[2]
    return f"{asset.family} {end[:7]}"
