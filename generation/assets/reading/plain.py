"""PLY, STL and OFF, read by trimesh."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from generation.assets.images import mean_colour, pixels_of
from generation.assets.mesh import PartMaterial
from generation.assets.reading.companions import MAX_TEXTURE_SIDE, Surroundings, decoded
from generation.assets.reading.pieces import Piece, Reading, UnusableMesh
from generation.srgb import linear_from_srgb

_MAX_PLY_HEADER = 1 << 16


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """Images that the header of a PLY file names, as MeshLab writes them: ``comment TextureFile NAME``."""
    if path.suffix.lower() != ".ply":
        return []
    with path.open("rb") as file:
        header = file.read(_MAX_PLY_HEADER).split(b"end_header", 1)[0]
    found = re.findall(rb"^comment\s+TextureFile\s+(.+?)\s*$", header, re.MULTILINE)
    names = [name.decode("utf-8", errors="replace") for name in dict.fromkeys(found)]
    around = Surroundings.of(path, root)
    return [(name, around.find(name)) for name in names]


def read_plain(path: Path, root: Path | None = None) -> Reading:
    """Triangles of a file that holds no materials: colours of vertices or faces, or one image."""
    import trimesh

    textures = []
    for name, found in companions(path, root):
        if found is None:
            raise UnusableMesh(Surroundings.of(path, root).why_missing(name))
        textures.append(found)
    with path.open("rb") as file:
        scene = trimesh.load_scene(file, file_type=path.suffix[1:].lower(), process=False)
    pieces, notes = [], [f"{len(textures)} textures named, the first taken"] if len(textures) > 1 else []
    for mesh in scene.dump():
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            continue
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise UnusableMesh(f"its vertices are an array of {vertices.shape}, expected three numbers each")
        visual: Any = mesh.visual
        piece = Piece(vertices, faces, PartMaterial("paint"))
        if visual.kind == "vertex":
            colours = _linear(visual.vertex_colors)[faces]
            piece = replace(piece, material=PartMaterial("own", (1.0, 1.0, 1.0)), colours=colours)
        elif visual.kind == "face":
            colours = np.repeat(_linear(visual.face_colors)[:, None], 3, axis=1)
            piece = replace(piece, material=PartMaterial("own", (1.0, 1.0, 1.0)), colours=colours)
        elif textures:
            pixels = pixels_of(decoded(textures[0].read_bytes(), textures[0].name), MAX_TEXTURE_SIDE)[..., :3]
            uv = getattr(visual, "uv", None)
            if uv is not None and len(uv) == len(vertices) and np.isfinite(uv).all():
                piece = replace(
                    piece, material=PartMaterial("own", image=pixels), uv=np.asarray(uv, np.float64)[faces]
                )
            else:
                piece = replace(piece, material=PartMaterial("own", mean_colour(pixels)))
                notes.append(f"no texture coordinates for {textures[0].name!r}: its mean colour taken")
        pieces.append(piece)
    return Reading(pieces, tuple(notes))


def _linear(colours: np.ndarray) -> np.ndarray:
    linear: np.ndarray = linear_from_srgb(np.asarray(colours)[:, :3] / 255)
    return linear
