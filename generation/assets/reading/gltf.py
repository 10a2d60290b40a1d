"""glTF 2.0 and GLB, as the specification says: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.

The scene as it stands in the file, without animation: nodes, skins, morph weights and instances are applied.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import DracoPy
import numpy as np
from jaxtyping import Float, Int, Num
from PIL import Image

from generation.assets.images import mean_colour, multiplied, pixels_of, rounded
from generation.assets.mesh import PartMaterial, Wrap
from generation.assets.reading.companions import MAX_TEXTURE_SIDE, Surroundings, decoded
from generation.assets.reading.pieces import Piece, Reading, UnusableMesh, face_normals
from generation.srgb import linear_from_srgb, srgb_from_linear
from objnerf.dataset.untrusted import parse_json

#: Extensions that a file may require. Those of the second line change shine or add what is left out.
_UNDERSTOOD = {
    "KHR_draco_mesh_compression",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "KHR_materials_emissive_strength",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_unlit",
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    *("KHR_lights_punctual", "KHR_materials_variants", "KHR_materials_clearcoat", "KHR_materials_ior"),
    *("KHR_materials_sheen", "KHR_materials_specular", "KHR_materials_anisotropy", "KHR_xmp_json_ld"),
    *("KHR_materials_iridescence", "KHR_materials_dispersion"),
}

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
_MAX_ELEMENTS = 50_000_000

Matrix = Float[np.ndarray, "4 4"]
Attributes = dict[str, Num[np.ndarray, "vertices width"]]


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """Buffers and images in files of their own."""
    around = Surroundings.of(path, root)
    content = _chunks(path)[0]
    try:
        entries = [*content.get("buffers", []), *content.get("images", [])]
        names = [entry["uri"] for entry in entries if "uri" in entry]
        return [(name, around.find(unquote(name))) for name in names if not name.startswith("data:")]
    except (AttributeError, TypeError) as error:
        raise UnusableMesh(f"is not valid glTF: {error}") from error


def read_gltf(path: Path, root: Path | None = None) -> Reading:
    """Triangles of the file's scene, y up.

    Raises:
        UnusableMesh: it is malformed, needs an extension that is not understood, or misses a file.
    """
    content, binary = _chunks(path)
    required = content.get("extensionsRequired", [])
    unknown = sorted(str(name) for name in required if name not in _UNDERSTOOD)
    if unknown:
        raise UnusableMesh(f"it requires {unknown[0]}, which is not understood; export it without")
    document = _Document(content, binary, Surroundings.of(path, root))
    pieces = [piece for node in document.scene_nodes() for piece in document.pieces(node)]
    return Reading(pieces, tuple(document.notes))


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON of a file and, for GLB, its binary chunk."""
    raw = path.read_bytes()
    binary = b""
    if raw[:4] == b"glTF":
        # a header of 12 bytes, then chunks: length, type, content
        text, place = b"", 12
        while place + 8 <= len(raw):
            length, kind = int.from_bytes(raw[place : place + 4], "little"), raw[place + 4 : place + 8]
            chunk = raw[place + 8 : place + 8 + length]
            if len(chunk) < length:
                raise UnusableMesh(f"can't be read: it ends {length - len(chunk)} bytes too early")
            text, binary = (chunk if kind == b"JSON" else text), (chunk if kind == b"BIN\0" else binary)
            place += 8 + length
        raw = text
    try:
        content = parse_json(raw)
    except (ValueError, RecursionError) as error:
        raise UnusableMesh(f"can't be read: is not valid glTF ({error})") from error
    if not isinstance(content, dict):
        raise UnusableMesh("can't be read: is not valid glTF (no object at the top)")
    asset = content.get("asset", {})
    if not isinstance(asset, dict):
        raise UnusableMesh("can't be read: is not valid glTF (its asset is no object)")
    version = str(asset.get("version", "2.0"))
    if not version.startswith("2."):
        raise UnusableMesh(f"it is glTF {version}, expected 2.0")
    return content, binary


@dataclass(frozen=True, eq=False)
class _Look:
    """A material, and where on its images a texture coordinate lies."""

    material: PartMaterial
    texcoord: int = 0
    transform: Float[np.ndarray, "2 3"] | None = None


@dataclass(frozen=True, eq=False)
class _Texture:
    """A reference to an image: which, and how it lies on the surface."""

    image: int
    texcoord: int
    transform: tuple[float, float, float, float, float]
    wrap: tuple[Wrap, Wrap]

    @property
    def placement(self) -> tuple:
        return self.texcoord, self.transform, self.wrap

    @property
    def matrix(self) -> Float[np.ndarray, "2 3"] | None:
        """Of KHR_texture_transform: offset · rotation · scale."""
        x, y, angle, width, height = self.transform
        if self.transform == (0, 0, 0, 1, 1):
            return None
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array([[cos * width, sin * height, x], [-sin * width, cos * height, y]])


@dataclass(frozen=True, eq=False)
class _Surface:
    """What a file says of a material's surface.

    Attributes:
        colour: linear RGBA, by which the image is multiplied.
        base: image of colours.
        metallic_roughness: image of roughness and metalness.
    """

    colour: Float[np.ndarray, "4"]
    roughness: float
    metallic: float
    base: _Texture | None
    metallic_roughness: _Texture | None


class _Document:
    """The content of a file, with what its indices stand for."""

    def __init__(self, content: dict[str, Any], binary: bytes, around: Surroundings) -> None:
        self._content, self._binary, self._around = content, binary, around
        self.notes: dict[str, None] = {}
        # a file's materials and accessors are used again and again
        self._look = cache(self._read_look)
        self._accessor = cache(self._read_accessor)
        self._buffer = cache(self._read_buffer)
        self._image = cache(self._read_image)

    def _of(self, kind: str, index: int) -> dict[str, Any]:
        entry = self._content[kind][index]
        if not isinstance(entry, dict) or index < 0:
            raise UnusableMesh(f"can't be read: {kind}[{index}] is not there")
        return entry

    def scene_nodes(self) -> Iterator[int]:
        """Nodes of the default scene, else all."""
        nodes = self._content.get("nodes", [])
        scenes = self._content.get("scenes")
        waiting = list(scenes[self._content.get("scene", 0)].get("nodes", [])) if scenes else self._roots()
        seen: set[int] = set()
        while waiting:
            index = waiting.pop(0)
            if index in seen:
                raise UnusableMesh(f"can't be read: node {index} is below two others, or itself")
            seen.add(index)
            yield index
            waiting += nodes[index].get("children", [])

    def _roots(self) -> list[int]:
        return [index for index in range(len(self._content.get("nodes", []))) if index not in self._parents]

    @cached_property
    def _parents(self) -> dict[int, int]:
        nodes = self._content.get("nodes", [])
        return {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}

    def _world(self, index: int) -> Matrix:
        """World from node."""
        matrix = _local(self._of("nodes", index))
        above = self._parents.get(index)
        for _ in range(len(self._parents)):
            if above is None:
                return matrix
            matrix = _local(self._of("nodes", above)) @ matrix
            above = self._parents.get(above)
        return matrix

    def pieces(self, index: int) -> Iterator[Piece]:
        """Triangles of a node, in world coordinates."""
        node = self._of("nodes", index)
        if "mesh" not in node:
            return
        mesh = self._of("meshes", node["mesh"])
        weights = node.get("weights", mesh.get("weights", []))
        places = [self._world(index)]
        instances = node.get("extensions", {}).get("EXT_mesh_gpu_instancing")
        if instances is not None:
            places = [places[0] @ place for place in self._instances(instances.get("attributes", {}))]
        for primitive in mesh.get("primitives", []):
            piece, attributes = self._primitive(primitive, weights)
            if piece is None:
                continue
            if "skin" in node and "JOINTS_0" in attributes:
                yield _moved(piece, self._skinning(node["skin"], attributes))
                continue
            for place in places:
                yield _moved(piece, place)

    def _instances(self, attributes: dict[str, int]) -> list[Matrix]:
        columns = {name: self._accessor(number).astype(np.float64) for name, number in attributes.items()}
        count = len(next(iter(columns.values()), ()))
        return [
            _local({name.lower(): values[i] for name, values in columns.items() if not name.startswith("_")})
            for i in range(count)
        ]

    def _skinning(self, index: int, attributes: Attributes) -> Float[np.ndarray, "n 4 4"]:
        """World from mesh, of each vertex: its joints as they stand in the file, blended."""
        skin = self._of("skins", index)
        joints = np.stack([self._world(joint) for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            bound = self._accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4)
            joints = joints @ bound[: len(joints)].astype(np.float64).transpose(0, 2, 1)
        blended = np.zeros((len(attributes["JOINTS_0"]), 4, 4))
        total = np.zeros(len(blended))
        number = 0
        while f"JOINTS_{number}" in attributes and f"WEIGHTS_{number}" in attributes:
            named, weights = attributes[f"JOINTS_{number}"], attributes[f"WEIGHTS_{number}"]
            for column in range(4):
                blended += weights[:, column, None, None] * joints[named[:, column].astype(np.int64)]
            total += weights.sum(axis=1)
            number += 1
        blended[total <= 0] = np.eye(4)
        matrices: np.ndarray = blended / np.where(total > 0, total, 1.0)[:, None, None]
        return matrices

    def _primitive(self, primitive: dict[str, Any], weights: list[float]) -> tuple[Piece | None, Attributes]:
        """A primitive in its mesh's frame, and its attributes."""
        mode = primitive.get("mode", 4)
        if mode not in (4, 5, 6):
            self.notes["points and lines left out"] = None
            return None, {}
        attributes, indices = self._attributes(primitive)
        if "POSITION" not in attributes:
            return None, {}
        vertices = attributes["POSITION"].astype(np.float64)
        for target, weight in zip(primitive.get("targets", []), weights, strict=False):
            if weight and "POSITION" in target:
                vertices = vertices + weight * self._accessor(target["POSITION"])
        corners = np.arange(len(vertices)) if indices is None else indices.reshape(-1).astype(np.int64)
        faces = _faces(corners, mode)
        if len(faces) and faces.max() >= len(vertices):
            raise UnusableMesh(f"a face names vertex {faces.max()}, and there are {len(vertices)}")
        look = self._look(primitive.get("material"))
        material, uv = look.material, attributes.get(f"TEXCOORD_{look.texcoord}")
        if material.textured and uv is None:
            self.notes["no texture coordinates for a texture: its mean colour taken"] = None
            material = _without_images(material)
        normals = attributes.get("NORMAL")
        colours = attributes.get("COLOR_0")
        flat = np.repeat(face_normals(vertices, faces)[:, None], 3, axis=1) if normals is None else None
        return Piece(
            vertices,
            faces,
            material,
            _placed_uv(uv.astype(np.float64), look.transform)[faces]
            if uv is not None and material.textured
            else None,
            # without normals, faces are flat (3.7.2.1)
            normals.astype(np.float64)[faces] if normals is not None else flat,
            None if colours is None else np.clip(colours[:, :3].astype(np.float64), 0, 1)[faces],
        ), attributes

    def _attributes(self, primitive: dict[str, Any]) -> tuple[Attributes, Num[np.ndarray, "..."] | None]:
        named = primitive.get("attributes", {})
        draco = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
        if draco is None:
            indices = primitive.get("indices")
            found = {name: self._accessor(number) for name, number in named.items()}
            return found, None if indices is None else self._accessor(indices)
        mesh = DracoPy.decode(self._view(draco["bufferView"])[0])
        by_id = {entry["unique_id"]: entry["data"] for entry in mesh.attributes}
        found = {}
        for name, number in named.items():
            if name in draco["attributes"]:
                values = np.asarray(by_id[draco["attributes"][name]])
                found[name] = _normalised(values, self._of("accessors", number))
            else:
                found[name] = self._accessor(number)
        return found, np.asarray(mesh.faces)

    def _read_accessor(self, index: int) -> Num[np.ndarray, "count width"]:
        accessor = self._of("accessors", index)
        dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = int(accessor["count"])
        if not 0 <= count <= _MAX_ELEMENTS:
            raise UnusableMesh(f"can't be read: accessor {index} has {count} elements")
        if "bufferView" in accessor:
            values = self._elements(
                accessor["bufferView"], accessor.get("byteOffset", 0), count, dtype, width
            )
        else:
            values = np.zeros((count, width), dtype)
        sparse = accessor.get("sparse")
        if sparse is not None:
            values, places = values.copy(), sparse["indices"]
            kind = np.dtype(_COMPONENTS[places["componentType"]])
            where = self._elements(
                places["bufferView"], places.get("byteOffset", 0), sparse["count"], kind, 1
            )
            new = sparse["values"]
            values[where[:, 0]] = self._elements(
                new["bufferView"], new.get("byteOffset", 0), sparse["count"], dtype, width
            )
        return _normalised(values, accessor)

    def _elements(
        self, view: int, offset: int, count: int, dtype: np.dtype, width: int
    ) -> Num[np.ndarray, "count width"]:
        content, stride = self._view(view)
        if not count:
            return np.zeros((0, width), dtype)
        step = stride or dtype.itemsize * width
        return np.ndarray((count, width), dtype, content, offset, (step, dtype.itemsize))

    def _view(self, index: int) -> tuple[bytes, int | None]:
        """Bytes of a buffer view, and the distance of its elements where it says one."""
        view = self._of("bufferViews", index)
        if "EXT_meshopt_compression" in view.get("extensions", {}):
            raise UnusableMesh("it needs EXT_meshopt_compression, which is not understood; export it without")
        start = view.get("byteOffset", 0)
        return self._buffer(view["buffer"])[start : start + view["byteLength"]], view.get("byteStride")

    def _read_buffer(self, index: int) -> bytes:
        uri = self._of("buffers", index).get("uri")
        if uri is None:
            return self._binary
        content = _data(uri)
        if content is not None:
            return content
        found = self._around.find(unquote(uri))
        if found is None:
            raise UnusableMesh(self._around.why_missing(unquote(uri)))
        return found.read_bytes()

    def _read_image(self, index: int) -> Image.Image:
        entry = self._of("images", index)
        uri = entry.get("uri")
        if uri is None:
            name = entry.get("name") or f"image {index}"
            return decoded(self._view(entry["bufferView"])[0], name)
        content = _data(uri)
        if content is not None:
            return decoded(content, entry.get("name") or f"image {index}")
        found = self._around.find(unquote(uri))
        if found is None:
            raise UnusableMesh(self._around.why_missing(unquote(uri)))
        return decoded(found.read_bytes(), unquote(uri))

    def _texture(self, info: dict[str, Any] | None) -> _Texture | None:
        if info is None:
            return None
        texture = self._of("textures", info["index"])
        extensions = texture.get("extensions", {})
        source = extensions.get("EXT_texture_webp", {}).get("source", texture.get("source"))
        if source is None:
            kind = "a KTX2 image" if "KHR_texture_basisu" in extensions else "no image that can be read"
            raise UnusableMesh(f"its texture {info['index']} is {kind}; convert it to PNG, JPEG or WebP")
        sampler = self._of("samplers", texture["sampler"]) if "sampler" in texture else {}
        move = info.get("extensions", {}).get("KHR_texture_transform", {})
        x, y = move.get("offset", (0.0, 0.0))
        width, height = move.get("scale", (1.0, 1.0))
        wrap = (_WRAPS[sampler.get("wrapS", 10497)], _WRAPS[sampler.get("wrapT", 10497)])
        return _Texture(
            source,
            move.get("texCoord", info.get("texCoord", 0)),
            (float(x), float(y), float(move.get("rotation", 0)), float(width), float(height)),
            wrap,
        )

    def _read_look(self, index: int | None) -> _Look:
        """A material of the file; without one, white (3.9), and no metal: nobody has meant that."""
        if index is None:
            return _Look(PartMaterial("own", (1.0, 1.0, 1.0)))
        entry = self._of("materials", index)
        surface = self._surface(entry)
        emission, glow = self._emission(entry)
        self._note_what_is_left_out(entry)
        material = PartMaterial(
            "own",
            rounded(srgb_from_linear(surface.colour[:3])),
            roughness=surface.roughness,
            metallic=surface.metallic,
            emission=emission,
        )
        main = surface.base or surface.metallic_roughness or glow
        if main is None:
            return _Look(material)
        material = replace(material, wrap=main.wrap)
        if surface.base is not None:
            material = self._with_base_colour(material, entry, surface.colour, surface.base)
        if surface.metallic_roughness is not None:
            material = self._with_metallic_roughness(material, surface.metallic_roughness, main)
        if glow is not None:
            material = self._with_glow(material, glow, main)
        return _Look(material, main.texcoord, main.matrix)

    def _surface(self, entry: dict[str, Any]) -> _Surface:
        """Colour, roughness and metalness of a material, in either of the ways in which files state them."""
        extensions = entry.get("extensions", {})
        glossy = extensions.get("KHR_materials_pbrSpecularGlossiness")
        stated = entry.get("pbrMetallicRoughness", {})
        if glossy is None or "baseColorTexture" in stated or "baseColorFactor" in stated:
            surface = _Surface(
                np.array(stated.get("baseColorFactor", (1, 1, 1, 1)), dtype=np.float64),
                float(stated.get("roughnessFactor", 1.0)),
                float(stated.get("metallicFactor", 1.0)),
                self._texture(stated.get("baseColorTexture")),
                self._texture(stated.get("metallicRoughnessTexture")),
            )
        else:
            surface = _Surface(
                np.array(glossy.get("diffuseFactor", (1, 1, 1, 1)), dtype=np.float64),
                float(1.0 - glossy.get("glossinessFactor", 1.0)),
                0.0,
                self._texture(glossy.get("diffuseTexture")),
                None,
            )
            if "specularGlossinessTexture" in glossy or max(glossy.get("specularFactor", (1, 1, 1))) > 0.25:
                self.notes["specular colours left out (KHR_materials_pbrSpecularGlossiness)"] = None
        if "KHR_materials_unlit" in extensions:
            surface = replace(surface, roughness=1.0, metallic=0.0, metallic_roughness=None)
        return surface

    def _emission(self, entry: dict[str, Any]) -> tuple[tuple[float, float, float], _Texture | None]:
        """Emitted light, linear RGB, and its image."""
        extensions = entry.get("extensions", {})
        strength = extensions.get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1.0)
        emission = strength * np.array(entry.get("emissiveFactor", (0, 0, 0)), dtype=np.float64)
        glow = self._texture(entry.get("emissiveTexture")) if emission.any() else None
        return (float(emission[0]), float(emission[1]), float(emission[2])), glow

    def _with_base_colour(
        self,
        material: PartMaterial,
        entry: dict[str, Any],
        colour: Float[np.ndarray, "4"],
        base: _Texture,
    ) -> PartMaterial:
        """With the image of its colours, and of its holes where it has some."""
        pixels = pixels_of(self._image(base.image), MAX_TEXTURE_SIDE)
        colours = pixels[..., :3] if colour[:3].min() >= 1 else multiplied(pixels[..., :3], colour[:3])
        material = replace(material, image=colours)
        if entry.get("alphaMode") != "MASK":
            return material
        solid = pixels[..., 3] / 255 * colour[3] >= entry.get("alphaCutoff", 0.5)
        return replace(material, cutout=None if solid.all() else solid)

    def _with_metallic_roughness(
        self, material: PartMaterial, texture: _Texture, main: _Texture
    ) -> PartMaterial:
        """With the image of roughness and metalness, or its mean where it lies otherwise than the main."""
        # roughness is green, metalness blue (3.9.2)
        pixels = pixels_of(self._image(texture.image), MAX_TEXTURE_SIDE)[..., 1:3]
        shares = np.rint(pixels * np.array([material.roughness, material.metallic])).astype(np.uint8)
        if texture.placement == main.placement:
            return replace(material, metallic_roughness=shares)
        self.notes["roughness texture placed otherwise than the colour: mean taken"] = None
        rough, metal = (shares.reshape(-1, 2).mean(axis=0) / 255).tolist()
        return replace(material, roughness=rough, metallic=metal)

    def _with_glow(self, material: PartMaterial, texture: _Texture, main: _Texture) -> PartMaterial:
        """With the image of emitted light, or its mean where it lies otherwise than the main one."""
        pixels = pixels_of(self._image(texture.image), MAX_TEXTURE_SIDE)[..., :3]
        material = replace(material, emission_image=pixels)
        if texture.placement == main.placement:
            return material
        self.notes["emission texture placed otherwise than the colour: mean taken"] = None
        return _without_emission_image(material)

    def _note_what_is_left_out(self, material: dict[str, Any]) -> None:
        extensions = material.get("extensions", {})
        if material.get("alphaMode") == "BLEND":
            self.notes["transparency left out (alphaMode BLEND)"] = None
        for name in ("KHR_materials_transmission", "KHR_materials_diffuse_transmission"):
            if name in extensions:
                self.notes[f"transparency left out ({name})"] = None
        if "normalTexture" in material:
            self.notes["normal map left out"] = None


def _local(node: dict[str, Any]) -> Matrix:
    """Parent from node, of a matrix or of translation, rotation and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    length = x * x + y * y + z * z + w * w
    s = 2 / length if length > 0 else 0.0
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _moved(piece: Piece, matrix: Float[np.ndarray, "*vertices 4 4"]) -> Piece:
    """A piece under one transform, or one a vertex; a mirroring one turns the faces over (3.5.3)."""
    linear, shift = matrix[..., :3, :3], matrix[..., :3, 3]
    vertices = np.einsum("...ij,...j->...i", linear, piece.vertices) + shift
    normals = piece.normals
    if normals is not None:
        # the inverse transpose up to a positive factor: cofactors, with the determinant's sign
        rows = linear[..., 0, :], linear[..., 1, :], linear[..., 2, :]
        cofactors = np.stack(
            [np.cross(rows[1], rows[2]), np.cross(rows[2], rows[0]), np.cross(rows[0], rows[1])], axis=-2
        )
        cofactors = cofactors * np.sign(np.linalg.det(linear))[..., None, None]
        if matrix.ndim == 3:
            cofactors = cofactors[piece.faces]
        normals = np.einsum("...ij,...j->...i", cofactors, normals)
    moved = replace(piece, vertices=vertices, normals=normals)
    if matrix.ndim == 2 and np.linalg.det(linear) < 0:
        return _turned_over(moved)
    return moved


def _turned_over(piece: Piece) -> Piece:
    return replace(
        piece,
        faces=piece.faces[:, ::-1],
        uv=None if piece.uv is None else piece.uv[:, ::-1],
        normals=None if piece.normals is None else piece.normals[:, ::-1],
        colours=None if piece.colours is None else piece.colours[:, ::-1],
    )


def _faces(corners: Int[np.ndarray, " corners"], mode: int) -> Int[np.ndarray, "faces 3"]:
    """Triangles of a list (4), a strip (5) or a fan (6)."""
    if mode == 4:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    count = max(len(corners) - 2, 0)
    start = np.arange(count)
    if mode == 6:
        places = np.stack([start + 1, start + 2, np.zeros_like(start)], axis=1)
    else:
        odd = start % 2
        places = np.stack([start, start + 1 + odd, start + 2 - odd], axis=1)
    faces: np.ndarray = corners[places]
    return faces


def _normalised(values: Num[np.ndarray, "..."], accessor: dict[str, Any]) -> Num[np.ndarray, "..."]:
    """Integers that stand for shares of their largest value, as shares (3.6.2.2)."""
    if not accessor.get("normalized") or values.dtype.kind == "f":
        return values
    shares: np.ndarray = np.maximum(values / np.iinfo(values.dtype).max, -1.0)
    return shares


def _placed_uv(
    uv: Float[np.ndarray, "n 2"], transform: Float[np.ndarray, "2 3"] | None
) -> Float[np.ndarray, "n 2"]:
    """Texture coordinates on the image, v upwards; glTF's v is down."""
    if transform is not None:
        uv = uv @ transform[:, :2].T + transform[:, 2]
    return np.column_stack([uv[:, 0], 1 - uv[:, 1]])


def _without_images(material: PartMaterial) -> PartMaterial:
    if material.image is not None:
        material = replace(material, colour=mean_colour(material.image), image=None, cutout=None)
    if material.metallic_roughness is not None:
        rough, metal = (material.metallic_roughness.reshape(-1, 2).mean(axis=0) / 255).tolist()
        material = replace(material, roughness=rough, metallic=metal, metallic_roughness=None)
    return _without_emission_image(material)


def _without_emission_image(material: PartMaterial) -> PartMaterial:
    if material.emission_image is None:
        return material
    mean = linear_from_srgb(np.array(mean_colour(material.emission_image))) * material.emission
    return replace(material, emission=(mean[0], mean[1], mean[2]), emission_image=None)


def _data(uri: str) -> bytes | None:
    """Content of a data URI; None of any other."""
    if not uri.startswith("data:"):
        return None
    head, _, body = uri.partition(",")
    return base64.b64decode(body) if head.endswith(";base64") else unquote_to_bytes(body)
