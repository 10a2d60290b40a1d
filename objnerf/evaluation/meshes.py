"""Objects as meshes: closed, coloured, where they stand in the world.

A slot is asked for its density on a regular grid over the locality box. A surface is a level set of it, and
which one depends on the object. One that is dense has its surface where half of the light would pass a
stretch as long as a cell of the coarsest sensible grid (``SURFACE_CELL``). One that is thick and half
transparent reaches that density nowhere, and is seen all the same. So of some levels, the one is taken whose
surface covers what the slot covers, seen along the three axes. Meshes are closed at the ground and at the
box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from objnerf.console import Progress, no_progress
from objnerf.dataset.files import atomic_path
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.visualization.mesh import GLB_FROM_WORLD, WORLD_NODE

SURFACE_CELL = 1 / 18
"""Stretch that half of the light passes at the surface, in half sides of the box."""

LEVELS = 2.0 ** np.arange(-5, 2.5, 0.5)
"""Levels that are tried, as factors of that density."""

MARGIN = 1.1
"""Half side of what is looked at, in half sides of the locality box: objects may stick out a little."""

CHUNK = 65536
"""Points that are asked at once."""

SPECK = 0.02
"""Connected parts with less than this share of the largest one's volume are left out."""


@dataclass(frozen=True)
class ObjectMesh:
    """One slot's surface."""

    slot: int
    vertices: Float[np.ndarray, "vertices 3"]
    """World frame, world units."""
    faces: Int[np.ndarray, "faces 3"]
    """Counter-clockwise seen from outside."""
    colours: UInt8[np.ndarray, "vertices 3"]
    """sRGB."""


@torch.no_grad()
def slot_meshes(
    model: SceneModel,
    code: SceneCode,
    *,
    slots: Sequence[int] | None = None,
    resolution: int = 96,
    progress: Progress = no_progress,
) -> list[ObjectMesh]:
    """Surfaces of the foreground slots of one scene.

    Args:
        model: that made ``code``.
        code: of a single scene, perhaps edited.
        slots: which; all that are present when None.
        resolution: points along each side of the box.
        progress: called after each layer.
    Returns:
        One mesh for each slot that has a surface, in the order of ``slots``. Each one is watertight.
    """
    wanted = [
        slot
        for slot in (range(1, code.slots.shape[1]) if slots is None else slots)
        if bool(code.active[0, slot])
    ]
    half = MARGIN * model.geometry.obj_scale + float(code.offsets.abs().max())
    side = np.linspace(-half, half, resolution)
    step = side[1] - side[0]
    heights = np.arange(0.5, np.ceil(half / step) + 0.5) * step
    density = _densities(model, code, side, heights, wanted, progress)
    usual = np.log(2) / (SURFACE_CELL * model.geometry.obj_scale) * model.geometry.depth_range
    meshes = []
    for place, slot in enumerate(wanted):
        level = surface_level(density[place], usual, step / model.geometry.depth_range)
        mesh = _surface(density[place], level, side[0], heights[0], step)
        if mesh is None:
            continue
        vertices, faces = mesh
        meshes.append(ObjectMesh(slot, vertices, faces, _colours(model, code, vertices, slot)))
    return meshes


def _densities(
    model: SceneModel,
    code: SceneCode,
    side: np.ndarray,
    heights: np.ndarray,
    slots: Sequence[int],
    progress: Progress,
) -> Float[np.ndarray, "slots layers rows columns"]:
    """Each slot's share-weighted density, per (far - near), on the grid."""
    device = code.slots.device
    y, x = np.meshgrid(side, side, indexing="ij")
    found = np.empty((len(slots), len(heights), len(side), len(side)), np.float32)
    for layer, z in enumerate(heights):
        points = torch.tensor(np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3), dtype=torch.float32)
        parts = []
        for some in points.split(CHUNK):
            density = model.decode(code, some[None].to(device), locality=True).density[0]
            # As compositing mixes slots: a slot counts where it has the greater part.
            density = density * density / density.sum(0, keepdim=True).clamp(min=1e-6)
            parts.append(density[list(slots)].cpu().numpy())
        found[:, layer] = np.concatenate(parts, axis=1).reshape(len(slots), len(side), len(side))
        progress(layer + 1, len(heights), "meshes")
    return found


def surface_level(density: Float[np.ndarray, "layers rows columns"], usual: float, step: float) -> float:
    """The level whose surface covers best what lets less than half of the light pass, seen along the axes.

    Args:
        density: on a grid.
        usual: level of dense objects: of two that are equally good, the one that is nearer to it is taken.
        step: of the grid, in units of length of ``density``.
    """
    sides = [(density.max(axis), density.sum(axis) * step > np.log(2)) for axis in range(3)]
    best, found = -1.0, usual
    for level in usual * np.array(sorted(LEVELS, key=lambda factor: abs(np.log(factor)))):
        covers = [(peaks >= level, seen) for peaks, seen in sides]
        overlap = float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in covers]))
        if overlap > best + 1e-6:
            best, found = overlap, float(level)
    return found


def _surface(
    density: Float[np.ndarray, "layers rows columns"], level: float, low: float, bottom: float, step: float
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]] | None:
    """The largest parts of the surface at ``level``, in world units; None where there is none."""
    import trimesh
    from skimage.measure import marching_cubes

    # In logarithms the surface lies better between grid points; empty air around closes the mesh.
    values = np.log(np.maximum(density, 1e-3 * level) / level)
    values = np.pad(values, 1, constant_values=np.log(1e-3))
    if values.max() <= 0:
        return None
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    # From (layer, row, column) to (x, y, z); that turns the faces inside out, so they are turned back.
    vertices = (vertices[:, ::-1] - 1) * step + np.array([low, low, bottom])
    mesh = trimesh.Trimesh(vertices, faces, process=True)
    if mesh.volume < 0:
        mesh.invert()
    parts = mesh.split(only_watertight=True)
    if len(parts) == 0:
        return None
    sizes = [abs(part.volume) for part in parts]
    kept = [part for part, size in zip(parts, sizes, strict=True) if size >= SPECK * max(sizes)]
    joined = trimesh.util.concatenate(kept) if len(kept) > 1 else kept[0]
    assert isinstance(joined, trimesh.Trimesh)
    return np.asarray(joined.vertices), np.asarray(joined.faces)


def _colours(
    model: SceneModel, code: SceneCode, vertices: np.ndarray, slot: int
) -> UInt8[np.ndarray, "vertices 3"]:
    """The slot's colour at the vertices."""
    points = torch.tensor(vertices, dtype=torch.float32, device=code.slots.device)
    parts = [
        model.decode(code, some[None], locality=False).colour[0, slot].cpu().numpy()
        for some in points.split(CHUNK)
    ]
    return np.clip(np.rint(np.concatenate(parts) * 255), 0, 255).astype(np.uint8)


@torch.no_grad()
def ground_mesh(model: SceneModel, code: SceneCode, *, resolution: int = 96) -> ObjectMesh:
    """The ground z = 0 around the objects, as the background colours it; a slab, so that it is closed."""
    import trimesh

    half = 1.5 * model.geometry.obj_scale
    side = np.linspace(-half, half, resolution)
    y, x = np.meshgrid(side, side, indexing="ij")
    top = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    cell = np.arange(resolution * (resolution - 1)).reshape(resolution - 1, resolution)[:, :-1].ravel()
    faces = np.concatenate(
        [
            np.stack([cell, cell + 1, cell + resolution], -1),
            np.stack([cell + 1, cell + resolution + 1, cell + resolution], -1),
        ]
    )
    border = np.concatenate(
        [
            np.arange(resolution),
            np.arange(1, resolution) * resolution + resolution - 1,
            (resolution - 1) * resolution + np.arange(resolution - 2, -1, -1),
            np.arange(resolution - 2, 0, -1) * resolution,
        ]
    )
    lower = top[border] - [0, 0, 0.02 * half]
    first, count = len(top), len(border)
    here, after = np.arange(count), (np.arange(count) + 1) % count
    walls = np.concatenate(
        [
            np.stack([border[here], first + here, border[after]], -1),
            np.stack([border[after], first + here, first + after], -1),
        ]
    )
    centre = np.array([[0, 0, -0.02 * half]])
    bottom = np.stack([first + here, np.full(count, first + count), first + after], -1)
    mesh = trimesh.Trimesh(
        np.concatenate([top, lower, centre]), np.concatenate([faces, walls, bottom]), process=False
    )
    vertices = np.asarray(mesh.vertices)
    # Asked a hair below the ground, where decode answers for it.
    colours = _colours(model, code, vertices * [1, 1, 0] - [0, 0, 1e-3], 0)
    return ObjectMesh(0, vertices, np.asarray(mesh.faces), colours)


def write_meshes(meshes: Sequence[ObjectMesh], path: Path) -> Path:
    """Write meshes as binary glTF with a node for each: ``object_N`` for slot N, ``ground`` for slot 0.

    The file is y up, as glTF asks; the root node ``dataset_world_z_up`` turns the dataset's world to that,
    so that viewers and Blender show objects where they stood. Colours are those of the vertices. Atomic.
    """
    import trimesh

    scene = trimesh.Scene(base_frame="world")
    scene.graph.update(frame_from="world", frame_to=WORLD_NODE, matrix=GLB_FROM_WORLD)
    for mesh in meshes:
        colours = np.concatenate([_linear(mesh.colours), np.full((len(mesh.colours), 1), 255, np.uint8)], 1)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
        name = f"object_{mesh.slot}" if mesh.slot else "ground"
        scene.add_geometry(solid, node_name=name, geom_name=name, parent_node_name=WORLD_NODE)
    content: bytes = scene.export(file_type="glb", include_normals=True)
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return path


def _linear(colours: UInt8[np.ndarray, "vertices 3"]) -> UInt8[np.ndarray, "vertices 3"]:
    """sRGB to the linear values that glTF's vertex colours are (glTF 2.0, 3.7.2.1)."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 255).astype(np.uint8)
