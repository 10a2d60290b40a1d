"""Wavefront OBJ and its material files.

Read here, and not by a library, for what files of the wild hold: polygons with notches, indices that count
backwards, material files that are missing or begin with a byte order mark, and options of `map_Kd`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import mapbox_earcut
import numpy as np
from jaxtyping import Float, Int

from generation.assets.images import mean_colour, pixels_of, rounded
from generation.assets.mesh import PartMaterial, Wrap
from generation.assets.reading.companions import MAX_TEXTURE_SIDE, Surroundings, decoded
from generation.assets.reading.pieces import Piece, Reading, UnusableMesh, face_normals
from generation.srgb import linear_from_srgb, srgb_from_linear

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: How many words follow an option of a texture statement; those of _NUMBERS are up to three numbers.
_OPTION_WORDS = {
    **dict.fromkeys(("-blendu", "-blendv", "-boost", "-texres", "-clamp", "-bm", "-imfchan", "-type"), 1),
    **dict.fromkeys(("-cc", "-colorspace"), 1),
    "-mm": 2,
}
_NUMBERS = ("-o", "-s", "-t")


@dataclass(frozen=True)
class TextureStatement:
    """What follows `map_Kd`.

    Attributes:
        name: of the image, as written.
        scale, offset: of texture coordinates: u · scale + offset.
        clamped: whether the image is not repeated.
    """

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamped: bool = False

    @classmethod
    def parse(cls, value: str) -> "TextureStatement":
        """From the words after the keyword, options first; the rest is the name, blanks and all."""
        scale, offset, clamped = (1.0, 1.0), (0.0, 0.0), False
        rest = value.replace("\t", " ").strip()
        while True:
            option, _, after = rest.partition(" ")
            key = option.lower()
            if key in _NUMBERS:
                numbers, after = _leading_numbers(after)
                rest_of_pair = (1.0, 1.0) if key == "-s" else (0.0, 0.0)
                u, v = (*numbers[:2], *rest_of_pair[len(numbers) :])[:2]
                if key == "-s":
                    scale = (u, v)
                elif key == "-o":
                    offset = (u, v)
            elif key in _OPTION_WORDS:
                words = after.split(maxsplit=_OPTION_WORDS[key])
                clamped = clamped or (key == "-clamp" and words[:1] == ["on"])
                after = words[_OPTION_WORDS[key]] if len(words) > _OPTION_WORDS[key] else ""
            else:
                return cls(rest, scale, offset, clamped)
            rest = after.strip()


def _leading_numbers(text: str) -> tuple[list[float], str]:
    numbers: list[float] = []
    rest = text.strip()
    while len(numbers) < 3:
        word, _, after = rest.partition(" ")
        try:
            numbers.append(float(word))
        except ValueError:
            break
        rest = after.strip()
    return numbers, rest


@dataclass
class _Material:
    """A `newmtl` of a material file."""

    # linear; the format names no default, this is Blender's
    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    texture: TextureStatement | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roughness: float = 0.5
    metallic: float = 0.0
    left_out: set[str] = field(default_factory=set)


#: Statements of material files that change the look and are not taken, and what they are to people.
_LEFT_OUT = {
    "map_d": "transparency (map_d)",
    "map_ka": "ambient texture (map_Ka)",
    "map_ke": "emission texture (map_Ke)",
    "map_bump": "normal or bump map",
    "bump": "normal or bump map",
    "norm": "normal or bump map",
    "disp": "displacement map",
    "map_ks": "specular texture (map_Ks)",
    "map_pr": "roughness texture (map_Pr)",
    "map_pm": "metalness texture (map_Pm)",
}


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """Material files, and the base-colour images those name."""
    around = Surroundings.of(path, root)
    named: list[tuple[str, Path | None]] = []
    for library in dict.fromkeys(_libraries(path.read_bytes())):
        found = around.find(library)
        named.append((library, found))
        if found is not None:
            images = {
                statement.name: None
                for keyword, value in _statements(found.read_bytes())
                if keyword == "map_kd" and (statement := TextureStatement.parse(value)).name
            }
            named += [(image, around.find(image, found.parent)) for image in images]
    return named


def read_obj(path: Path, root: Path | None = None) -> Reading:
    """Triangles of an OBJ file.

    Raises:
        UnusableMesh: it is malformed, or misses a texture.
    """
    around = Surroundings.of(path, root)
    content = _Content.parse(path.read_bytes())
    notes: dict[str, None] = {}
    materials: dict[str, _Material] = {}
    folders: dict[str, Path] = {}
    for library in dict.fromkeys(content.libraries):
        found = around.find(library)
        if found is None:
            notes[f"its material file {library!r} is missing"] = None
            continue
        for name, material in _read_library(found.read_bytes()).items():
            materials.setdefault(name, material)
            folders.setdefault(name, found.parent)
    pieces = []
    for used, triangles in content.triangles():
        known = None if used is None else materials.get(used)
        if used is not None and known is None and materials:
            notes[f"material {used!r} is in none of its material files"] = None
        piece, said = _piece(content, triangles, known, folders.get(used or "", path.parent), around)
        notes.update(dict.fromkeys(said))
        pieces.append(piece)
    return Reading(pieces, tuple(notes))


@dataclass(frozen=True, eq=False)
class _Triangles:
    """Corners as indices from 0, -1 where a corner has none; and how their faces are shaded."""

    vertex: Int[np.ndarray, "faces 3"]
    texture: Int[np.ndarray, "faces 3"]
    normal: Int[np.ndarray, "faces 3"]
    flat: np.ndarray


@dataclass
class _Content:
    """The statements of an OBJ file, in numbers; polygons by material and number of corners."""

    positions: list[list[str]] = field(default_factory=list)
    texture: list[list[str]] = field(default_factory=list)
    normal: list[list[str]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    polygons: dict[tuple[str | None, int], list[list[tuple[int, int, int]]]] = field(default_factory=dict)
    flat: dict[tuple[str | None, int], list[bool]] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes) -> "_Content":
        content = cls()
        material: str | None = None
        flat = False
        counts = (content.positions, content.texture, content.normal)
        # A polygon that names the vertices of an earlier one, in any order, lies in the same place; Blender
        # keeps the first as well.
        seen: set[tuple[int, ...]] = set()
        for number, (keyword, value) in enumerate(_statements(raw)):
            if keyword == "v":
                content.positions.append(value.split())
            elif keyword == "vt":
                content.texture.append(value.split()[:2])
            elif keyword == "vn":
                content.normal.append(value.split()[:3])
            elif keyword == "f":
                polygon = [_corner(word, counts, number) for word in value.split()]
                vertices = tuple(sorted(vertex for vertex, *_ in polygon))
                if len(polygon) >= 3 and vertices not in seen:
                    seen.add(vertices)
                    key = material, len(polygon)
                    content.polygons.setdefault(key, []).append(polygon)
                    content.flat.setdefault(key, []).append(flat)
            elif keyword == "usemtl":
                material = value
            elif keyword == "mtllib":
                content.libraries.append(value)
            elif keyword == "s":
                flat = value.lower() in ("off", "0")
        return content

    @cached_property
    def vertices(self) -> Float[np.ndarray, "vertices 3"]:
        if any(len(words) < 3 for words in self.positions):
            raise UnusableMesh("a vertex has fewer than three numbers")
        return np.array([words[:3] for words in self.positions], dtype=np.float64).reshape(-1, 3)

    @cached_property
    def colours(self) -> Float[np.ndarray, "vertices 3"] | None:
        """Linear colours of vertices, where they stand behind the positions: sRGB in [0, 1], or up to 255."""
        if not self.positions or any(len(words) < 6 for words in self.positions):
            return None
        values = np.array([words[3:6] for words in self.positions], dtype=np.float64)
        if not np.isfinite(values).all():
            return None
        linear: np.ndarray = linear_from_srgb(np.clip(values / (255 if values.max() > 1 else 1), 0, 1))
        return linear

    @cached_property
    def texture_coordinates(self) -> Float[np.ndarray, "coordinates 2"]:
        padded = [[*words, "0", "0"][:2] for words in self.texture]
        return np.array(padded, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def normals(self) -> Float[np.ndarray, "normals 3"]:
        return np.array([[*words, "0", "0", "0"][:3] for words in self.normal], dtype=np.float64).reshape(
            -1, 3
        )

    def triangles(self) -> Iterator[tuple[str | None, _Triangles]]:
        """Of each material in turn, in the order in which the file uses them first."""
        vertices = self.vertices
        by_material: dict[str | None, list[_Triangles]] = {}
        for (material, corners), polygons in self.polygons.items():
            table = np.array(polygons, dtype=np.int64)
            if table[..., 0].max() >= len(vertices):
                raise UnusableMesh(
                    f"a face names vertex {int(table[..., 0].max()) + 1}, and there are {len(vertices)}"
                )
            polygon, corner = triangulated(vertices[table[..., 0]])
            picked = table[polygon[:, None], corner]
            flat = np.array(self.flat[material, corners])[polygon]
            by_material.setdefault(material, []).append(
                _Triangles(picked[..., 0], picked[..., 1], picked[..., 2], flat)
            )
        for material, parts in by_material.items():
            yield (
                material,
                _Triangles(
                    *(
                        np.concatenate([getattr(part, name) for part in parts])
                        for name in ("vertex", "texture", "normal", "flat")
                    )
                ),
            )


def triangulated(
    polygons: Float[np.ndarray, "polygons corners 3"],
) -> tuple[Int[np.ndarray, " triangles"], Int[np.ndarray, "triangles 3"]]:
    """Cut polygons with equally many corners into triangles; notches stay open.

    Where corners are not in one plane the cuts decide about the surface: they are those of Blender, for
    quadrilaterals and for polygons without a notch.

    Returns:
        For each triangle its polygon, and its corners' places in the polygon, in the polygon's sense.
    """
    count, corners = polygons.shape[:2]
    cuts = np.broadcast_to(_alternate_ears(corners), (count, corners - 2, 3)).copy()
    # Newell's normal: of any polygon, flat or not
    following = np.roll(polygons, -1, axis=1)
    normals = np.cross(polygons, following).sum(axis=1)
    turns = np.cross(polygons - np.roll(polygons, 1, axis=1), following - polygons)
    reflex = np.einsum("pci,pi->pc", turns, normals) < 0
    if corners == 4:
        # the first corner's diagonal, unless both others lie on one side of it
        to_second, diagonal, to_last = (polygons[:, corner] - polygons[:, 0] for corner in (1, 2, 3))
        sides = np.cross(to_second, diagonal), np.cross(to_last, diagonal)
        cuts[:] = [[0, 1, 2], [0, 2, 3]]
        cuts[np.einsum("pi,pi->p", *sides) > 0] = [[1, 2, 3], [1, 3, 0]]
    elif corners > 4:
        for index in np.flatnonzero(reflex.any(axis=1)):
            clipped = _ear_clipped(polygons[index], normals[index])
            if clipped is not None:
                cuts[index] = clipped
    return np.repeat(np.arange(count), corners - 2), cuts.reshape(-1, 3)


def _alternate_ears(corners: int) -> Int[np.ndarray, "triangles 3"]:
    """Triangles of a polygon without a notch: every other corner is cut off, around and around."""
    left = list(range(corners))
    triangles = []
    tip = 0
    while len(left) > 3:
        triangles.append((left[tip - 1], left[tip], left[(tip + 1) % len(left)]))
        del left[tip]
        # the corner at `tip` is now the neighbour of the one that is gone
        tip = (tip + 1) % len(left)
    return np.array([*triangles, tuple(left)])


def _ear_clipped(
    polygon: Float[np.ndarray, "corners 3"], normal: Float[np.ndarray, "3"]
) -> Int[np.ndarray, "triangles 3"] | None:
    """Triangles of a polygon seen along its normal, padded with empty ones; None where it has no area."""
    first, second = (axis for axis in range(3) if axis != int(np.abs(normal).argmax()))
    flat = np.ascontiguousarray(polygon[:, [first, second]] - polygon[0, [first, second]])
    ears = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], dtype=np.uint32))
    triangles = ears.reshape(-1, 3).astype(np.int64)
    if not len(triangles):
        return None
    backwards = face_normals(polygon, triangles) @ normal < 0
    triangles[backwards] = triangles[backwards][:, ::-1]
    # collinear corners give fewer triangles than a fan
    padding = np.zeros((len(polygon) - 2 - len(triangles), 3), dtype=np.int64)
    return np.concatenate([triangles, padding])


def _piece(
    content: _Content, triangles: _Triangles, material: _Material | None, folder: Path, around: Surroundings
) -> tuple[Piece, list[str]]:
    """Triangles of one material, and what of it is not shown."""
    notes = [f"{what} left out" for what in sorted(material.left_out)] if material is not None else []
    vertices, faces = content.vertices, triangles.vertex
    colours = None if content.colours is None else content.colours[faces]
    uv = None
    if material is None:
        look = PartMaterial("paint") if colours is None else PartMaterial("own", (1.0, 1.0, 1.0))
    else:
        look = PartMaterial(
            "own",
            rounded(srgb_from_linear(np.array(material.colour))),
            roughness=material.roughness,
            metallic=material.metallic,
            emission=material.emission,
        )
        statement = material.texture
        if statement is not None:
            name = statement.name
            found = around.find(name, folder)
            if found is None:
                raise UnusableMesh(around.why_missing(name, folder))
            pixels = pixels_of(decoded(found.read_bytes(), found.name), MAX_TEXTURE_SIDE)[..., :3]
            inside = (triangles.texture >= 0) & (triangles.texture < len(content.texture_coordinates))
            if inside.all() and np.isfinite(content.texture_coordinates).all():
                uv = content.texture_coordinates[triangles.texture] * statement.scale + statement.offset
                wrap: Wrap = "clamp" if statement.clamped else "repeat"
                look = replace(look, image=pixels, wrap=(wrap, wrap))
            else:
                look = replace(look, colour=mean_colour(pixels))
                notes.append(f"no texture coordinates for {name!r}: its mean colour taken")
            if colours is not None:
                # both at once are two answers to one question; the material's is the later one
                colours = None
                notes.append("vertex colours left out where there is a texture")
    used, corners = np.unique(faces, return_inverse=True)
    placed = vertices[used], corners.reshape(-1, 3)
    return Piece(*placed, look, uv, _normals(content, triangles), colours), notes


def _normals(content: _Content, triangles: _Triangles) -> Float[np.ndarray, "faces 3 3"] | None:
    given = (triangles.normal >= 0) & (triangles.normal < len(content.normals))
    if not given.any() and not triangles.flat.any():
        return None
    normals = np.zeros((*triangles.vertex.shape, 3))
    flat = face_normals(content.vertices, triangles.vertex)
    normals[triangles.flat] = flat[triangles.flat, None]
    normals[given] = content.normals[triangles.normal[given]]
    return normals


def _read_library(raw: bytes) -> dict[str, _Material]:
    materials: dict[str, _Material] = {}
    current = _Material()
    for keyword, value in _statements(raw):
        if keyword == "newmtl":
            current = materials.setdefault(value, _Material())
        elif keyword == "kd":
            current.colour = _colour(value) or current.colour
        elif keyword == "map_kd":
            statement = TextureStatement.parse(value)
            current.texture = statement if statement.name else current.texture
        elif keyword == "ke":
            current.emission = _colour(value) or current.emission
        elif keyword in ("pr", "pm"):
            numbers, _ = _leading_numbers(value)
            share = float(np.clip(numbers[0], 0, 1)) if numbers else 0.5
            if keyword == "pr":
                current.roughness = share
            else:
                current.metallic = share
        elif keyword in ("d", "tr"):
            numbers, _ = _leading_numbers(value)
            if numbers and 0 < numbers[0] < 1:
                current.left_out.add("transparency (d)")
        elif keyword in _LEFT_OUT:
            current.left_out.add(_LEFT_OUT[keyword])
    return materials


def _colour(value: str) -> tuple[float, float, float] | None:
    """Linear RGB, as Blender takes it, of `Kd r g b` or `Kd grey`."""
    numbers, _ = _leading_numbers(value)
    if not numbers or not np.isfinite(numbers).all():
        return None
    return rounded(np.array(numbers if len(numbers) == 3 else numbers[:1] * 3))


def _corner(word: str, counts: Sequence[list], number: int) -> tuple[int, int, int]:
    """Indices of 'v', 'v/vt', 'v//vn' or 'v/vt/vn', from 0; -1 for what is not given.

    Indices below 0 count backwards from what the file has said so far.
    """
    parts = word.split("/")
    indices = [-1, -1, -1]
    for place, part in enumerate(parts[:3]):
        if not part:
            continue
        try:
            index = int(part)
        except ValueError:
            raise UnusableMesh(f"statement {number + 1}: {word[:40]!r} is no corner of a face") from None
        indices[place] = index - 1 if index > 0 else len(counts[place]) + index
    if indices[0] < 0:
        raise UnusableMesh(f"statement {number + 1}: a face names vertex {parts[0]}, which is not there")
    return indices[0], max(indices[1], -1), max(indices[2], -1)


def _statements(raw: bytes) -> Iterator[tuple[str, str]]:
    """Keyword, in lower case, and the rest of each line; lines that end in a backslash go on in the next.

    Bytes that are no UTF-8 stay apart from one another, so that names in Latin-1 still match.
    """
    text = raw.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="surrogateescape")
    text = re.sub(r"\\[ \t]*\r?\n", " ", text)
    for line in text.replace("\r", "\n").split("\n"):
        words = line.split(None, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            yield words[0].lower(), words[1].strip()


def _libraries(raw: bytes) -> Iterator[str]:
    """Names of material files, without parsing all of a large file."""
    for match in re.finditer(rb"mtllib[ \t]+[^\r\n]*", raw, re.IGNORECASE):
        line = raw[raw.rfind(b"\n", 0, match.start()) + 1 : match.start()]
        if not line.removeprefix(_BYTE_ORDER_MARK).strip():
            yield from (value for keyword, value in _statements(match.group()) if keyword == "mtllib")
