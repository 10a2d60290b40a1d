"""Mesh files of the user's: finding them in a folder, and reading one into the frame of a shape.

GLB, glTF, OBJ and PLY, each with the textures it names. Only positions, faces, texture coordinates, base
colours and base-colour images are taken; transparency is not (ShapeNet's is often inverted).
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import EpsImagePlugin, Image

from generation.assets.mesh import PartMaterial, ShapeMesh, bounding_diagonal, normalised
from objnerf.dataset.untrusted import MAX_PIXELS, opened_picture
from objnerf.errors import InputError

SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
Up = Literal["y", "z"]
Front = Literal["+z", "-z"]

_MAX_TEXTURE_SIDE = 1024
_MAX_COORDINATE = 1e9
_MAX_PLY_HEADER = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNREADABLE = {
    "KHR_draco_mesh_compression",
    "EXT_meshopt_compression",
    "KHR_mesh_quantization",
    "KHR_texture_basisu",
}


class UnusableMesh(Exception):
    """A mesh file that can't be used; the message says why, without the file's name."""


@dataclass(frozen=True)
class Limits:
    """What is too large to be a piece of furniture.

    Attributes:
        max_file_mb: size of a mesh file, in millions of bytes.
        max_faces: number of triangles.
    """

    max_file_mb: float = 100.0
    max_faces: int = 500_000


def find_meshes(folder: Path) -> list[Path]:
    """Mesh files below a folder, relative to it and sorted; hidden files and folders are left out."""
    found = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def up_of(path: Path, wish: Literal["auto", "y", "z"]) -> Up:
    """The axis that points up: glTF says y, OBJ mostly means y, PLY (scans) mostly z."""
    if wish != "auto":
        return wish
    return "z" if path.suffix.lower() == ".ply" else "y"


def companions(path: Path) -> list[tuple[str, Path | None]]:
    """Files that a mesh file names: as it names them, and where they are (None: missing).

    For OBJ these are material files and the base-colour images those name; for glTF its buffers and images;
    for PLY the image of a comment "TextureFile".
    """
    suffix = path.suffix.lower()
    if suffix == ".gltf":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries = [*content.get("buffers", []), *content.get("images", [])]
            names = [str(entry["uri"]) for entry in entries if "uri" in entry]
        except (ValueError, AttributeError, TypeError) as error:
            raise UnusableMesh(f"is not valid glTF: {error}") from error
        return [
            (name, find_companion(path.parent, unquote(name)))
            for name in names
            if not name.startswith("data:")
        ]
    if suffix == ".ply":
        return [(name, find_companion(path.parent, name)) for name in _texture_of_ply(path)]
    if suffix != ".obj":
        return []
    named: list[tuple[str, Path | None]] = []
    for library in dict.fromkeys(_values(path, "mtllib")):
        material = find_companion(path.parent, library)
        named.append((library, material))
        if material is not None:
            images = dict.fromkeys(_image_name(value) for value in _values(material, "map_kd"))
            named += [(image, find_companion(material.parent, image)) for image in images if image]
    return named


def find_companion(folder: Path, name: str) -> Path | None:
    """A file named by a mesh or material file in `folder`: as written, else by its name in images/ nearby.

    Nothing outside the folder and its parent is read, whatever the file says.
    """
    if "\0" in name:
        return None
    written = Path(name.strip().replace("\\", "/"))
    nearby = folder.parent.resolve()
    for candidate in (
        folder / written,
        folder / written.name,
        folder / "images" / written.name,
        folder.parent / "images" / written.name,
    ):
        if candidate.resolve().is_relative_to(nearby) and candidate.is_file():
            return candidate
    return None


def content_sha256(path: Path) -> str:
    """Hash of a mesh file and of everything it names."""
    digest = hashlib.sha256(_file_sha256(path))
    for name, companion in companions(path):
        digest.update(name.encode())
        digest.update(b"missing" if companion is None else _file_sha256(companion))
    return digest.hexdigest()


def load_mesh(path: Path, up: Up, front: Front = "+z", limits: Limits | None = None) -> ShapeMesh:
    """Read a mesh file into the frame of a shape.

    Args:
        path: GLB, glTF, OBJ or PLY.
        up: the file's upward axis.
        front: of y-up files, where the front looks: glTF's +z, ShapeNet's -z. It comes to look along -y.
        limits: what to refuse; None for the usual.
    Raises:
        UnusableMesh: it can't be read, is empty, too large, degenerate, not finite, or misses a texture.
    """
    limits = limits or Limits()
    size_mb = path.stat().st_size / 1e6
    if size_mb > limits.max_file_mb:
        raise UnusableMesh(f"the file has {size_mb:.1f} MB, more than the limit of {limits.max_file_mb:g} MB")
    if size_mb == 0:
        raise UnusableMesh("the file is empty")
    unreadable = _UNREADABLE & set(_required_extensions(path))
    if unreadable:
        raise UnusableMesh(f"it needs {min(unreadable)}, which can't be read; export it without compression")
    missing = [
        name for name, found in companions(path) if found is None and not name.lower().endswith(".mtl")
    ]
    if missing:
        raise UnusableMesh(f"its file {missing[0]!r} is missing")
    try:
        with _without_ghostscript():
            pieces = list(_read_pieces(path))
    except UnusableMesh:
        raise
    except Exception as error:  # whatever a reader of foreign files may raise on a broken one
        raise UnusableMesh(f"can't be read ({type(error).__name__}: {error})") from error
    total = sum(len(piece.faces) for piece in pieces)
    if not total:
        raise UnusableMesh("it holds no triangles")
    if total > limits.max_faces:
        raise UnusableMesh(f"it has {total} triangles, more than the limit of {limits.max_faces}")
    vertices = np.concatenate([piece.vertices for piece in pieces])
    if not len(vertices):
        raise UnusableMesh("its triangles have no vertices")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise UnusableMesh(f"{bad} of its {len(vertices)} vertices are not finite numbers")
    reach = float(np.abs(vertices).max())
    if reach > _MAX_COORDINATE:
        raise UnusableMesh(f"its coordinates reach {reach:.3g}, expected at most {_MAX_COORDINATE:.0e}")
    offsets = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])[:-1]
    faces = np.concatenate([piece.faces + offset for piece, offset in zip(pieces, offsets, strict=True)])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise UnusableMesh(f"a face names vertex {int(faces.max())}, and there are {len(vertices)}")
    part = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    uv = np.concatenate([piece.uv for piece in pieces]) if any(piece.textured for piece in pieces) else None

    keep = sound_faces(vertices, faces)
    if not keep.any():
        raise UnusableMesh("all its triangles have no area")
    faces, part, uv = faces[keep], part[keep], None if uv is None else uv[keep]
    used, faces = np.unique(faces, return_inverse=True)
    placed = _placed(vertices[used], up, front)
    # files repeat vertices along texture seams; joined, a surface is one, and can be shaded as one
    placed, place = np.unique(placed, axis=0, return_inverse=True)
    faces = place.reshape(-1)[faces.reshape(-1, 3)]
    materials = tuple(piece.material for piece in pieces)
    return ShapeMesh(placed, faces, part, materials, uv, bounding_diagonal(vertices[used]))


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
    _, place = np.unique(np.round(vertices / max(extent, 1e-30), 7), axis=0, return_inverse=True)
    triple = np.sort(place.reshape(-1)[faces], axis=1)
    order = np.lexsort((~outward, ~solid, triple[:, 2], triple[:, 1], triple[:, 0]))
    first = np.ones(len(faces), dtype=bool)
    first[1:] = (np.diff(triple[order], axis=0) != 0).any(axis=1)
    chosen = np.zeros(len(faces), dtype=bool)
    chosen[order[first]] = True
    kept: np.ndarray = chosen & solid
    return kept


def _placed(
    vertices: Float[np.ndarray, "vertices 3"], up: Up, front: Front
) -> Float[np.ndarray, "vertices 3"]:
    if up == "y":
        x, y, z = vertices.T
        # both are rotations; the second one turns by half a circle more
        vertices = np.column_stack([x, -z, y] if front == "+z" else [-x, z, y])
    try:
        placed = normalised(vertices)
    except ValueError as error:
        raise UnusableMesh(str(error)) from error
    size = np.ptp(placed, axis=0)
    if size.min() < 1e-3:
        raise UnusableMesh(
            f"it is flat: its bounding box is {size[0]:.3g} × {size[1]:.3g} × {size[2]:.3g} of its diagonal"
        )
    return placed


@dataclass(frozen=True, eq=False)
class _Piece:
    """Triangles of one material, in the file's frame."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    material: PartMaterial
    uv: Float[np.ndarray, "faces 3 2"]
    textured: bool


def _read_pieces(path: Path) -> Iterator[_Piece]:
    import trimesh

    files = _named_files(path)
    for name, content in files.items():
        if not name.lower().endswith((".mtl", ".bin")):
            _check_image(name, content)
    with path.open("rb") as file:
        scene = trimesh.load_scene(file, file_type=path.suffix[1:].lower(), resolver=files, process=False)
    for mesh in scene.dump():
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            continue
        faces = np.asarray(mesh.faces, dtype=np.int64)
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise UnusableMesh(f"its vertices are an array of {vertices.shape}, expected three numbers each")
        material, uv = _material(mesh, len(vertices), gltf=path.suffix.lower() in (".gltf", ".glb"))
        corners = np.zeros((len(faces), 3, 2)) if uv is None else uv[faces]
        yield _Piece(vertices, faces, material, corners, uv is not None)


@contextmanager
def _without_ghostscript() -> Iterator[None]:
    """Pillow hands images that are PostScript, which a GLB may hold, to Ghostscript: not here."""
    before = EpsImagePlugin.gs_binary
    EpsImagePlugin.gs_binary = False
    try:
        yield
    finally:
        EpsImagePlugin.gs_binary = before


def _check_image(name: str, content: bytes) -> None:
    """The reader leaves out images that it can't read, without a word."""
    try:
        with opened_picture(content, "the file") as image:
            image.load()
    except InputError as error:
        raise UnusableMesh(f"its texture {_image_name(name)!r} can't be read ({error})") from error


def _required_extensions(path: Path) -> list[str]:
    """What a glTF or GLB file says a reader must understand; nothing where that can't be told."""
    suffix = path.suffix.lower()
    if suffix not in (".gltf", ".glb"):
        return []
    content = path.read_bytes()
    if suffix == ".glb":
        # a header of 12 bytes, then the JSON chunk: its length, its type, its text
        if len(content) < 20:
            return []
        content = content[20 : 20 + int.from_bytes(content[12:16], "little")]
    try:
        required = json.loads(content).get("extensionsRequired", [])
    except (ValueError, AttributeError):
        return []
    return [str(name) for name in required] if isinstance(required, list) else []


def _named_files(path: Path) -> dict[str, bytes]:
    """What a mesh file names, by the name as it stands in the file: all that the reader gets to see."""
    files: dict[str, bytes] = {}

    def add(name: str, found: Path | None) -> None:
        if found is not None:
            content = found.read_bytes()
            if found.suffix.lower() == ".mtl":
                content = content.removeprefix(_BYTE_ORDER_MARK)
            files[name] = files[unquote(name)] = content

    if path.suffix.lower() != ".obj":
        for name, found in companions(path):
            add(name, found)
        return files
    for library in _values(path, "mtllib"):
        material = find_companion(path.parent, library)
        add(library, material)
        if material is not None:
            for value in _values(material, "map_kd"):
                add(value, find_companion(material.parent, _image_name(value)))
    return files


def _material(
    mesh: Any, n_vertices: int, *, gltf: bool
) -> tuple[PartMaterial, Float[np.ndarray, "vertices 2"] | None]:
    """A mesh's own look; glTF's colours of factors and vertices are linear (glTF 2.0, 3.9.2 and 3.7.2.1)."""
    visual = mesh.visual
    encode = _srgb if gltf else _triple
    if visual.kind == "vertex" or visual.kind == "face":
        colours = np.asarray(visual.vertex_colors if visual.kind == "vertex" else visual.face_colors)
        return PartMaterial("own", encode(colours[:, :3].mean(axis=0) / 255)), None
    material = getattr(visual, "material", None)
    if material is None:
        # The default material of glTF is white (3.9); other formats leave the look open.
        return (PartMaterial("own", (1.0, 1.0, 1.0)) if gltf else PartMaterial("paint")), None
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None:
        factor = getattr(material, "diffuse", None)
    share = None if factor is None else np.asarray(factor, dtype=np.float64)[:3] / 255
    colour = None if share is None else encode(share)
    uv = getattr(visual, "uv", None)
    if image is not None and uv is not None and len(uv) == n_vertices and np.isfinite(uv).all():
        pixels = _texture(image)
        if gltf and share is not None and share.min() < 1.0:
            pixels = _multiplied(pixels, share)
        return PartMaterial("own", colour, pixels), np.asarray(uv, dtype=np.float64)[:, :2]
    if colour is None:
        colour = (1.0, 1.0, 1.0) if gltf else None
    return (PartMaterial("paint") if colour is None else PartMaterial("own", colour)), None


def _multiplied(
    pixels: UInt8[np.ndarray, "height width 3"], factor: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A texture times a factor, as light: glTF's base colour is the product of both, linear."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    tables = [np.rint(_srgb_of(linear * share) * 255).astype(np.uint8) for share in factor]
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)], axis=-1)


def _texture(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    if image.width * image.height > MAX_PIXELS:
        raise UnusableMesh(f"its texture has {image.width} × {image.height} pixels, too many to be read")
    # alpha is dropped, not composited: which of its ends means opaque is not certain in these files
    if image.mode.startswith("I"):
        # Pillow clips 16 bits to 8 instead of scaling them.
        deep = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(np.clip(deep / 257, 0, 255)).astype(np.uint8))
    picture = image.convert("RGBA").convert("RGB")
    picture.thumbnail((_MAX_TEXTURE_SIDE, _MAX_TEXTURE_SIDE))
    pixels: np.ndarray = np.asarray(picture, dtype=np.uint8)
    return pixels


def _triple(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    red, green, blue = (float(np.clip(value, 0, 1)) for value in values)
    return red, green, blue


def _srgb(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    return _triple(np.round(_srgb_of(np.clip(values, 0, 1)), 9))


def _srgb_of(linear: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    """Linear light in [0, 1] as sRGB."""
    root = np.maximum(linear, 1e-9) ** (1 / 2.4)
    coded: np.ndarray = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * root - 0.055)
    return coded


def _texture_of_ply(path: Path) -> list[str]:
    """Images that the header of a PLY file names, as MeshLab writes them: ``comment TextureFile NAME``."""
    with path.open("rb") as file:
        header = file.read(_MAX_PLY_HEADER).split(b"end_header", 1)[0]
    names = re.findall(rb"^comment\s+TextureFile\s+(.+?)\s*$", header, re.MULTILINE)
    return [name.decode("utf-8", errors="replace") for name in dict.fromkeys(names)]


def _values(path: Path, keyword: str) -> list[str]:
    """What follows a keyword at the beginning of lines of an OBJ or MTL file."""
    content = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    values = []
    # a plain search first: a pattern anchored to lines takes seconds on a large OBJ
    for match in re.finditer(keyword.encode(), content, re.IGNORECASE):
        before = content[content.rfind(b"\n", 0, match.start()) + 1 : match.start()]
        end = content.find(b"\n", match.end())
        after = content[match.end() : end if end >= 0 else len(content)]
        if not before.strip() and after[:1] in (b" ", b"\t") and after.strip():
            values.append(after.strip().decode("utf-8", errors="replace"))
    return values


def _image_name(value: str) -> str:
    """The file name behind the options of a `map_Kd` line, as in '-s 1 1 1 wood grain.png'."""
    return re.sub(r"^(-\w+(\s+(-?\d+(\.\d*)?|on|off))*\s+)*", "", value).strip()


def _file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
