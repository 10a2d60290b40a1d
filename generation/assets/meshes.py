"""Mesh files of the user's: finding them in a folder, and reading one into the frame of a shape.

Formats are read by `generation.assets.reading`, each with the textures it names. What a file says of its look
and a `ShapeMesh` can't hold is in the mesh's notes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from generation.assets.mesh import ShapeMesh, bounding_diagonal, normalised
from generation.assets.reading import blender, gltf, obj, partnet, plain
from generation.assets.reading.pieces import Piece, Reading, UnusableMesh, face_normals

READER_VERSION = 4
"""Raised whenever a file comes to be read into another mesh or another look."""

_READ_HERE = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
SUFFIXES = (*_READ_HERE, *blender.SUFFIXES)

#: Files of shapes that nothing here reads; they are named, so that nobody looks for them in vain.
_NOT_READ = (
    *(".3ds", ".3mf", ".abc", ".c4d", ".iges", ".igs", ".lwo", ".ma", ".max", ".mb", ".skp", ".step", ".stp"),
    *(".vrml", ".wrl", ".x3d", ".xyz", ".pcd"),
)
_ARCHIVES = (".zip", ".sh3f", ".rar", ".7z", ".tar", ".gz", ".tgz")

#: Names of folders that say nothing of what lies in them.
_BARE_FOLDERS = {"mesh", "meshes", "model", "models", "obj", "objs", "gltf", "glb", "fbx", "source", "usd"}

Up = Literal["y", "z"]
Front = Literal["+z", "-z"]

_MAX_COORDINATE = 1e9


@dataclass(frozen=True)
class Limits:
    """What is too large to be a piece of furniture.

    Attributes:
        max_file_mb: size of a mesh file, in millions of bytes.
        max_faces: number of triangles.
    """

    max_file_mb: float = 100.0
    max_faces: int = 500_000


@dataclass(frozen=True)
class Fit:
    """Size and orientation that the catalogue of a library gives a mesh file, in the file's axes.

    Attributes:
        size: of the bounding box along x, y and z, after the rotation; the mesh is stretched to it.
        rotation: of the file's vectors, row by row; None: as they are.
    """

    size: tuple[float, float, float]
    rotation: tuple[float, ...] | None = None

    @classmethod
    def of_params(cls, params: Mapping[str, bool | int | float | str]) -> "Fit | None":
        """Inverse of `params`; None where there are none."""
        if "size" not in params:
            return None
        width, height, depth = (float(word) for word in str(params["size"]).split())
        rotation = tuple(float(word) for word in str(params.get("rotation", "")).split())
        return cls((width, height, depth), rotation or None)

    def params(self) -> dict[str, str]:
        """As parameters of an asset."""
        words = {"size": self.size, "rotation": self.rotation}
        return {name: " ".join(map(repr, values)) for name, values in words.items() if values is not None}

    def applied(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces, rotated and stretched together; a side of no extent stays as it is."""
        rotation = np.eye(3) if self.rotation is None else np.reshape(self.rotation, (3, 3))
        used = [piece.vertices[np.unique(piece.faces)] for piece in pieces if len(piece.faces)]
        if not used:
            return pieces
        extent = np.ptp(np.concatenate(used) @ rotation.T, axis=0)
        stretch = np.where(extent > 0, self.size / np.where(extent > 0, extent, 1.0), 1.0)
        return [
            replace(
                piece,
                vertices=piece.vertices @ rotation.T * stretch,
                normals=None if piece.normals is None else _unit(piece.normals @ rotation.T / stretch),
            )
            for piece in pieces
        ]


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Vectors of length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: np.ndarray = vectors / np.where(length > 0, length, 1.0)
    return unit


@dataclass(frozen=True)
class FolderContent:
    """What a folder of meshes holds; all paths relative to it, sorted.

    Attributes:
        meshes: one file a shape.
        doubles: files of shapes that another file holds too, and that one.
        unread: files of shapes that can't be read, and why.
    """

    meshes: list[Path]
    doubles: list[tuple[Path, Path]]
    unread: list[tuple[Path, str]]


def scan_folder(folder: Path) -> FolderContent:
    """Look through a folder and all below it; hidden files and folders are left out.

    A folder with PartNet-Mobility's `mobility.urdf` is one shape. Of 3D-FUTURE's two models of an object the
    normalised one is taken, and of one name in several formats the first of `_READ_HERE`, if there is any.
    """
    found = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    objects = {path.parent for path in found if path.name == partnet.DESCRIPTION}
    meshes, doubles, unread = [], [], []
    here = {path for path in found if path.suffix.lower() in _READ_HERE}
    by_stem: dict[Path, list[Path]] = {}
    for path in here:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    for path in found:
        suffix = path.suffix.lower()
        if path.name == partnet.DESCRIPTION:
            meshes.append(path)
        elif not objects.isdisjoint(path.parents):
            continue
        elif suffix in _READ_HERE:
            normalised_model = path.with_name("normalized_model.obj")
            if path.name == "raw_model.obj" and normalised_model in here:
                doubles.append((path, normalised_model))
            else:
                meshes.append(path)
        elif suffix in (*blender.SUFFIXES, *_NOT_READ):
            same = by_stem.get(path.with_suffix(""))
            if same:
                doubles.append((path, min(same, key=lambda other: _READ_HERE.index(other.suffix.lower()))))
            elif suffix in blender.SUFFIXES:
                meshes.append(path)
            else:
                unread.append((path, f"{suffix} files can't be read; export GLB"))
        elif suffix in _ARCHIVES:
            unread.append((path, "archives are not looked into; unpack it"))
    return FolderContent(meshes, doubles, unread)


def family_of(path: Path) -> str:
    """Name of the nearest folder that says what lies in it; 'mesh' where none does."""
    names = (folder.name for folder in path.parents)
    return next((name for name in names if name and name.lower() not in _BARE_FOLDERS), "mesh")


def up_of(path: Path, requested: Literal["auto", "y", "z"]) -> Up:
    """The axis that points up: y of glTF and mostly of OBJ, z of scans and of CAD (PLY, STL, OFF).

    Formats that Blender imports say it themselves, and come to be y-up.
    """
    if path.suffix.lower() in blender.SUFFIXES:
        return "y"
    if requested != "auto":
        return requested
    return "z" if path.suffix.lower() in (".ply", ".stl", ".off") else "y"


def importer_of(path: Path) -> str | None:
    """What reads the file, where that isn't this package alone: part of what a shape is made from."""
    return blender.importer() if path.suffix.lower() in blender.SUFFIXES else None


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """Files that a mesh file names: as it names them, and where they are (None: missing).

    Args:
        path: the mesh file.
        root: the folder that the user gave, outside of which nothing is read; None for the one above the
            file's.
    """
    named: list[tuple[str, Path | None]] = _reader(path).companions(path, root)
    return named


def content_sha256(path: Path, root: Path | None = None) -> str:
    """Hash of a mesh file and of everything it names.

    Raises:
        UnusableMesh: it is no file of its kind, or names another one by what is no text.
    """
    digest = hashlib.sha256(_file_sha256(path))
    for name, companion in companions(path, root):
        try:
            digest.update(name.encode(errors="surrogateescape"))
        except UnicodeEncodeError as error:
            raise UnusableMesh(f"it names a file {name!r}, which is no text") from error
        digest.update(b"missing" if companion is None else _file_sha256(companion))
    return digest.hexdigest()


def load_mesh(
    path: Path,
    up: Up,
    front: Front = "+z",
    limits: Limits | None = None,
    root: Path | None = None,
    fit: Fit | None = None,
) -> ShapeMesh:
    """Read a mesh file into the frame of a shape.

    Args:
        path: of one of SUFFIXES.
        up: the file's upward axis.
        front: of y-up files, where the front looks: glTF's +z, ShapeNet's -z. It comes to look along -y.
        limits: what to refuse; None for the usual.
        root: as for `companions`.
        fit: what the catalogue of a library states; None: size and orientation are the file's.
    Raises:
        UnusableMesh: it can't be read, is empty, too large, degenerate, not finite, or misses a texture.
    """
    limits = limits or Limits()
    size_mb = path.stat().st_size / 1e6
    if size_mb > limits.max_file_mb:
        raise UnusableMesh(f"the file has {size_mb:.1f} MB, more than the limit of {limits.max_file_mb:g} MB")
    if size_mb == 0:
        raise UnusableMesh("the file is empty")
    try:
        # numbers that overflow are found, and named, once all are read
        with np.errstate(over="ignore", invalid="ignore"):
            reading = _read(path, root)
            if fit is not None:
                reading = Reading(fit.applied(reading.pieces), reading.notes)
    except UnusableMesh:
        raise
    except Exception as error:  # whatever a reader of foreign files may raise on a broken one
        raise UnusableMesh(f"can't be read ({type(error).__name__}: {error})") from error
    return _assembled(reading, up, front, limits)


def _reader(path: Path) -> ModuleType:
    suffix = path.suffix.lower()
    if path.name == partnet.DESCRIPTION:
        return partnet
    if suffix in blender.SUFFIXES:
        return blender
    return {".obj": obj, ".gltf": gltf, ".glb": gltf}.get(suffix, plain)


def _read(path: Path, root: Path | None) -> Reading:
    suffix = path.suffix.lower()
    if path.name == partnet.DESCRIPTION:
        return partnet.read_object(path, root)
    if suffix in blender.SUFFIXES:
        return blender.read_imported(path, root)
    if suffix == ".obj":
        return obj.read_obj(path, root)
    if suffix in (".gltf", ".glb"):
        return gltf.read_gltf(path, root)
    return plain.read_plain(path, root)


def _joined(
    pieces: list[Piece], limits: Limits
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
    """Vertices and faces of all pieces, without vertices that no face has.

    Raises:
        UnusableMesh: there are no faces, too many, or numbers that cannot be.
    """
    total = sum(len(piece.faces) for piece in pieces)
    if not total:
        raise UnusableMesh("it holds no triangles")
    if total > limits.max_faces:
        raise UnusableMesh(f"it has {total} triangles, more than the limit of {limits.max_faces}")
    vertices = np.concatenate([piece.vertices for piece in pieces])
    offsets = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])[:-1]
    faces = np.concatenate([piece.faces + offset for piece, offset in zip(pieces, offsets, strict=True)])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise UnusableMesh(f"a face names vertex {int(faces.max())}, and there are {len(vertices)}")
    used, faces = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], faces.reshape(-1, 3)
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise UnusableMesh(f"{bad} of its {len(vertices)} vertices are not finite numbers")
    reach = float(np.abs(vertices).max())
    if reach > _MAX_COORDINATE:
        raise UnusableMesh(f"its coordinates reach {reach:.3g}, expected at most {_MAX_COORDINATE:.0e}")
    return vertices, faces


def _assembled(reading: Reading, up: Up, front: Front, limits: Limits) -> ShapeMesh:
    """All pieces as one shape."""
    pieces = reading.pieces
    vertices, faces = _joined(pieces, limits)
    part = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    corners = {
        name: _corner_values(pieces, name, filler)
        for name, filler in (("uv", np.zeros(2)), ("normals", np.zeros(3)), ("colours", np.ones(3)))
    }

    keep = sound_faces(vertices, faces)
    if not keep.any():
        raise UnusableMesh("all its triangles have no area")
    faces, part = faces[keep], part[keep]
    corners = {name: None if values is None else values[keep] for name, values in corners.items()}
    used, faces = np.unique(faces, return_inverse=True)
    diagonal = bounding_diagonal(vertices[used])
    placed = _placed(vertices[used], up, front)
    # files repeat vertices along texture seams; joined, a surface is one, and can be shaded as one
    placed, place = np.unique(placed, axis=0, return_inverse=True)
    faces = place.reshape(-1)[faces.reshape(-1, 3)]

    inward = inside_out(placed, faces)
    faces[inward] = faces[inward][:, ::-1]
    for values in corners.values():
        if values is not None:
            values[inward] = values[inward][:, ::-1]
    normals = corners["normals"]
    if normals is not None:
        normals = _upright(normals.reshape(-1, 3), up, front).reshape(normals.shape)
        normals[inward] *= -1
        # those that look away from their face's front, or nowhere, are mistakes of the file
        along = np.einsum("fci,fi->fc", normals, face_normals(placed, faces))
        normals = np.where((np.isfinite(normals).all(axis=2) & (along > 0))[..., None], normals, 0.0)
    return ShapeMesh(
        placed,
        faces,
        part,
        tuple(piece.material for piece in pieces),
        uv=corners["uv"],
        diagonal=diagonal,
        normals=normals,
        colours=corners["colours"],
        notes=reading.notes,
    )


def _corner_values(
    pieces: list[Piece], name: str, filler: Float[np.ndarray, " width"]
) -> Float[np.ndarray, "faces 3 width"] | None:
    """Values of all face corners, `filler` for pieces without; None where no piece has any."""
    if all(getattr(piece, name) is None for piece in pieces):
        return None
    return np.concatenate(
        [
            np.tile(filler, (len(piece.faces), 3, 1))
            if getattr(piece, name) is None
            else getattr(piece, name)
            for piece in pieces
        ]
    )


def inside_out(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Bool[np.ndarray, " faces"]:
    """Faces of closed surfaces, of one winding each, that look inwards."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    owner = np.repeat(np.arange(len(faces)), 3)
    forward = edges[:, 0] < edges[:, 1]
    key = edges.min(axis=1) * len(vertices) + edges.max(axis=1)
    order = np.argsort(key, kind="stable")
    key, forward, owner = key[order], forward[order], owner[order]
    same = key[1:] == key[:-1]
    links = coo_array((np.ones(same.sum()), (owner[:-1][same], owner[1:][same])), shape=(len(faces),) * 2)
    count, body = connected_components(links, directed=False)
    # closed: every edge runs once each way
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    sums = np.add.reduceat(np.where(forward, 1, -1), first)
    sound = np.repeat((times == 2) & (sums == 0), times)
    open_edges = np.bincount(body[owner], weights=~sound, minlength=count)
    corners = vertices[faces] - vertices.mean(axis=0)
    volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    volume = np.bincount(body, weights=volumes, minlength=count)
    inward: np.ndarray = ((open_edges == 0) & (volume < 0))[body]
    return inward


def sound_faces(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Bool[np.ndarray, " faces"]:
    """Which faces to keep: those with an area; of several at the same place (often one is inside out) the one
    that looks away from the middle of the shape."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    extent = float(np.ptp(vertices, axis=0).max())
    area = np.linalg.norm(normals, axis=1)
    solid: np.ndarray = area > 1e-12 * max(extent, 1e-30) ** 2
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    outward = np.einsum("ij,ij->i", normals, corners.mean(axis=1) - middle) >= 0
    # the same place, whatever the vertices' numbers: files repeat vertices along seams
    triple = np.sort(_places(vertices, 1e-6 * extent)[faces], axis=1)
    order = np.lexsort((~outward, ~solid, triple[:, 2], triple[:, 1], triple[:, 0]))
    first = np.ones(len(faces), dtype=bool)
    first[1:] = (np.diff(triple[order], axis=0) != 0).any(axis=1)
    chosen = np.zeros(len(faces), dtype=bool)
    chosen[order[first]] = True
    kept: np.ndarray = chosen & solid
    return kept


def _places(vertices: Float[np.ndarray, "vertices 3"], reach: float) -> Int[np.ndarray, " vertices"]:
    """A number for each vertex, the same for those within `reach` of one another.

    Rounding would part neighbours wherever a boundary runs between them.
    """
    distinct, number = np.unique(vertices, axis=0, return_inverse=True)
    pairs = cKDTree(distinct).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(distinct),) * 2)
    place: np.ndarray = connected_components(links, directed=False)[1][number.reshape(-1)]
    return place


def _placed(
    vertices: Float[np.ndarray, "vertices 3"], up: Up, front: Front
) -> Float[np.ndarray, "vertices 3"]:
    try:
        placed = normalised(_upright(vertices, up, front))
    except ValueError as error:
        raise UnusableMesh(str(error)) from error
    size = np.ptp(placed, axis=0)
    if size.min() < 1e-3:
        raise UnusableMesh(
            f"it is flat: its bounding box is {size[0]:.3g} × {size[1]:.3g} × {size[2]:.3g} of its diagonal"
        )
    return placed


def _upright(vectors: Float[np.ndarray, "n 3"], up: Up, front: Front) -> Float[np.ndarray, "n 3"]:
    """Vectors of a file in the axes of a shape."""
    if up == "z":
        return vectors
    x, y, z = vectors.T
    # both are rotations; the second one turns by half a circle more
    return np.column_stack([x, -z, y] if front == "+z" else [-x, z, y])


def _file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
